// Choosing, dropping, pasting or linking an image, and showing it with its tiles.

import { address, fileOf, fromFile, fromLink, release } from "./picture.js";
import { cutOf, draw, inWords } from "./tiling.js";

const at = (id) => document.getElementById(id);

export class Chooser {
  picture = null;
  #cut = null;
  #turn = 0;

  /** `keyOf` gives the API key; `changed` is called whenever there is another image. */
  constructor({ keyOf, changed, say }) {
    Object.assign(this, { keyOf, changed, say });
    at("file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.useFile(file);
    });
    at("example").addEventListener("click", () => this.#useExample());
    at("link-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#useLink(at("link").value.trim());
    });
    at("link").addEventListener("input", () => at("link").setCustomValidity(""));
    at("show-tiles").addEventListener("change", () => this.#overlay());
    this.#listenForDrops();
    document.addEventListener("paste", (event) => this.#pasted(event));
  }

  /** The image as a request carries it. */
  address() {
    return address(this.picture);
  }

  /** Show that the model reads the tiles, or that it has. */
  reading(now) {
    at("tiles").classList.toggle("reading", now);
  }

  async useFile(file) {
    const turn = ++this.#turn;
    const picture = await fromFile(file);
    if (turn !== this.#turn) return release(picture);
    this.#show(picture);
    this.say(`Image ${picture.name} is ready${picture.size ? "" : ", without a preview"}.`);
    return this.refresh();
  }

  /** Ask again how the image is cut, for instance with another key. */
  async refresh() {
    const turn = this.#turn;
    const size = this.picture?.size;
    if (!size) return;
    try {
      const cut = await cutOf(size.width, size.height, this.keyOf());
      if (turn !== this.#turn) return;
      this.#cut = cut;
      at("tiling").textContent = cut ? inWords(cut) : "seen in the model's own way";
    } catch (error) {
      at("tiling").textContent = `tiles unknown: ${error.message}`;
    }
    this.#overlay();
  }

  async #useExample() {
    const response = await fetch("static/example.png");
    await this.useFile(new File([await response.blob()], "example.png", { type: "image/png" }));
    at("run").focus();
  }

  #useLink(text) {
    const field = at("link");
    try {
      const picture = fromLink(text);
      this.#turn += 1;
      this.#show(picture);
      this.say("The link is ready.");
    } catch {
      field.setCustomValidity("Enter a full address that starts with https://");
      field.reportValidity();
    }
  }

  #show(picture) {
    release(this.picture);
    this.picture = picture;
    this.#cut = null;
    const { size } = picture;
    at("empty").hidden = true;
    at("shown").hidden = !size;
    at("unshown").hidden = Boolean(size);
    at("cut").hidden = false;
    at("show-tiles").parentElement.hidden = !size;
    at("tiling").textContent = "";
    if (size) {
      at("preview").src = picture.shown;
      at("preview").alt = `The image to caption: ${picture.name}`;
      at("frame").style.setProperty("--ratio", size.width / size.height);
      at("size").textContent = `${picture.name}, ${size.width} × ${size.height} px`;
    } else {
      at("unshown-name").textContent = picture.name;
      at("unshown-why").textContent = picture.link
        ? "The server fetches this image. There is no preview: this page contacts no other host."
        : "This browser cannot show the file. The server may still support its format.";
      const bytes = picture.file?.size.toLocaleString("en");
      at("size").textContent = picture.link ? "Linked image" : `${bytes} bytes`;
    }
    this.#overlay();
    this.changed();
  }

  #overlay() {
    const cut = at("show-tiles").checked ? this.#cut : null;
    draw(at("tiles"), cut);
    const thumbnail = at("thumbnail");
    thumbnail.hidden = !this.#cut?.thumbnail;
    if (!thumbnail.hidden) thumbnail.src = this.picture.shown;
  }

  #listenForDrops() {
    let depth = 0;
    const mark = (change) => {
      depth = Math.max(0, change);
      at("stage").classList.toggle("over", depth > 0);
    };
    document.addEventListener("dragenter", (event) => {
      event.preventDefault();
      mark(depth + 1);
    });
    document.addEventListener("dragleave", () => mark(depth - 1));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      mark(0);
      const file = fileOf(event.dataTransfer);
      const text = event.dataTransfer?.getData("text/uri-list");
      if (file) this.useFile(file);
      else if (text) this.#useLink(text);
    });
  }

  #pasted(event) {
    const file = fileOf(event.clipboardData);
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    const typing = event.target.closest?.("input, textarea");
    if (file) {
      event.preventDefault();
      this.useFile(file);
    } else if (!typing && /^https:\/\/\S+$/.test(text)) {
      at("link").value = text;
      this.#useLink(text);
    }
  }
}
