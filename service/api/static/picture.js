// The image that is asked about: a file of this machine, or a link that the server follows.

/** A file, with its size in pixels once the browser has decoded it, and null where it cannot. */
export async function fromFile(file) {
  const shown = URL.createObjectURL(file);
  const size = await measure(shown);
  if (size === null) URL.revokeObjectURL(shown);
  return {
    file,
    link: null,
    name: file.name || "image.png",
    // The server decides by content; the name of a type must only be one of an image.
    type: file.type.startsWith("image/") ? file.type : "image/png",
    shown: size && shown,
    size,
  };
}

/** A link to an image. Throws where it is no https address. */
export function fromLink(text) {
  const url = new URL(text);
  if (url.protocol !== "https:") throw new TypeError("not https");
  return { file: null, link: url.href, name: url.href, type: null, shown: null, size: null };
}

/** What goes into the request: the link, or the file as a data URL. */
export async function address(picture) {
  if (picture.link !== null) return picture.link;
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => {
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("the browser could not read the file; choose it again"));
  });
  reader.readAsDataURL(picture.file);
  const encoded = (await read).split(",", 2)[1] ?? "";
  return `data:${picture.type};base64,${encoded}`;
}

/** Let go of the memory behind a picture. */
export function release(picture) {
  if (picture?.shown) URL.revokeObjectURL(picture.shown);
}

async function measure(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** The first image among the dropped or pasted files; without one, the first file. */
export function fileOf(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}
