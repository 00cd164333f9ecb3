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
    if (!request.link) notes.push(`Run it in the directory of ${request.name}.`);
    if (withKey) notes.push("CAPSTAN_API_KEY must contain your key.");
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
    const here = TABS.indexOf(this.#tab);
    // at(-1) is the last one; past it, the first comes again.
    const chosen = {
      ArrowLeft: TABS.at(here - 1),
      ArrowRight: TABS[(here + 1) % TABS.length],
      Home: TABS[0],
      End: TABS.at(-1),
    }[event.key];
    if (!chosen) return;
    event.preventDefault();
    this.#choose(chosen);
    at(chosen).focus();
  }

  async #copy() {
    const done = await copied(this.#texts[this.#tab]);
    this.say(done ? "Copied." : "Copying is not allowed here; the code is selected instead.");
    at("copy").textContent = done ? "Copied" : "Selected";
    setTimeout(() => (at("copy").textContent = "Copy"), COPIED_MS);
  }
}

/** Copy a text. Over plain http browsers give scripts no clipboard, so there it is selected and copied. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(at("snippet"));
    return document.execCommand("copy");
  }
}
