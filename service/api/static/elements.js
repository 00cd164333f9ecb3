// Elements from data. Text stays text: nothing here reads markup.

/** An element with attributes and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** A piece of code within a line. */
export const code = (text) => element("code", {}, text);

/** Paragraphs of prose, in which `...` is code. */
export function prose(text, name = "p") {
  return text.split(/\n{2,}/).filter((part) => part.trim()).map((part) =>
    element(name, {}, ...part.trim().split(/(`[^`]+`)/).map((piece) =>
      piece.length > 2 && piece.startsWith("`") ? code(piece.slice(1, -1)) : piece.replace(/\s+/g, " "))));
}
