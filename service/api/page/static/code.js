// The panel with the request as code: two tabs and a button that copies.

import { curl, python } from "./snippets.js";

const at = (id) => document.getElementById(id);
const TABS = ["tab-curl", "tab-python"];
const COPIED_MS = 1500;

export class Code {
  #texts = {};
  #tab = TABS[0];

  constructor({ say }) {
    this.say = say;
    for (const id of TABS) {
      at(id).addEventListener("click", () => this.#choose(id));
      at(id).addEventListener("keydown", (event) => this.#move(event));
    }
    at("copy").addEventListener("click", () => this.#copy());
  }

  /** Write the snippets for a request. */
  show(request, { base, withKey }) {
    this.#texts = {
      "tab-curl": curl(request, { endpoint: `${base}/chat/completions`, withKey }),
      "tab-python": python(request, { base, withKey }),
    };
    const notes = [];
    if (!request.link) notes.push(`Run it where ${request.name} is.`);
    if (withKey) notes.push("CAPSTAN_API_KEY holds your key.");
    at("snippet-note").textContent = notes.join(" ");
    this.#write();
  }

  #choose(chosen) {
    this.#tab = chosen;
    for (const id of TABS) {
      at(id).setAttribute("aria-selected", String(id === chosen));
      at(id).tabIndex = id === chosen ? 0 : -1;
    }
    at("snippet").setAttribute("aria-labelledby", chosen);
    this.#write();
  }

  #write() {
    const lines = this.#texts[this.#tab].split("\n").map((line, index, all) => {
      const made = document.createElement("span");
      made.style.setProperty("--depth", line.search(/\S|$/));
      made.textContent = index < all.length - 1 ? `${line}\n` : line;
      return made;
    });
    at("snippet").replaceChildren(...lines);
  }

  #move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -TABS.length, End: TABS.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const here = TABS.indexOf(this.#tab);
    const next = Math.abs(step) === 1 ? (here + step + TABS.length) % TABS.length : step < 0 ? 0 : TABS.length - 1;
    this.#choose(TABS[next]);
    at(TABS[next]).focus();
  }

  async #copy() {
    const done = await copied(this.#texts[this.#tab]);
    this.say(done ? "Copied." : "Copying is not allowed here; the code is selected instead.");
    at("copy").textContent = done ? "Copied" : "Selected";
    setTimeout(() => (at("copy").textContent = "Copy"), COPIED_MS);
  }
}

/** Copy a text. Over plain http browsers have no clipboard for scripts, so it is selected and copied by hand. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(at("snippet"));
    return document.execCommand("copy");
  }
}
