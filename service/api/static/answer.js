// The caption as it comes, what it cost in time, and what went wrong.

const at = (id) => document.getElementById(id);
const NONE = "–";

export class Answer {
  #start = 0;
  #first = null;
  #last = 0;
  #usage = null;
  #finish = null;
  text = "";

  /** A request leaves now. */
  begin() {
    this.#start = performance.now();
    this.#first = this.#usage = this.#finish = null;
    this.text = "";
    at("caption").replaceChildren();
    at("caption").setAttribute("aria-busy", "true");
    at("fault").hidden = true;
    at("ending").textContent = "";
    for (const id of ["first-word", "rate", "total", "tokens"]) at(id).textContent = NONE;
  }

  /** Take one chunk of the stream. */
  add(chunk) {
    if (chunk.usage) this.#usage = chunk.usage;
    for (const choice of chunk.choices ?? []) {
      if (choice.finish_reason) this.#finish = choice.finish_reason;
      this.#write(choice.delta?.content ?? "");
    }
  }

  /** The answer is whole, or stopped. Gives what is to be announced. */
  end({ stopped }) {
    this.#figures();
    at("caption").setAttribute("aria-busy", "false");
    if (stopped) return this.#note(this.text ? "Stopped: the caption is incomplete." : "Stopped.");
    if (this.#finish === "length") this.#note("The caption was cut off at max tokens.");
    return `Caption: ${this.text}`;
  }

  /** The request failed, perhaps in the middle of the answer. */
  fail(error) {
    if (this.#first !== null) this.#figures();
    at("caption").setAttribute("aria-busy", "false");
    const facts = { code: error.code, status: error.status, request_id: error.requestId };
    at("fault").replaceChildren(
      span("what", sentence(error.message)),
      ...Object.entries(facts)
        .filter(([, value]) => value)
        .map(([name, value]) => span("fact", span("label", `${name} `), span("value", value))),
    );
    at("fault").hidden = false;
  }

  #write(piece) {
    const words = this.text ? piece : piece.trimStart();
    if (!words) return;
    this.#last = performance.now();
    if (this.#first === null) {
      this.#first = this.#last;
      at("first-word").textContent = duration(this.#first - this.#start);
    }
    this.text += words;
    at("caption").append(span("piece", words));
  }

  #figures() {
    at("total").textContent = duration(performance.now() - this.#start);
    if (this.#usage === null) return;
    const { prompt_tokens: read, completion_tokens: written } = this.#usage;
    at("tokens").textContent = `${read.toLocaleString("en")}, ${written.toLocaleString("en")}`;
    if (this.#first === null) return;
    // An answer that came as one piece has no time between tokens; its rate counts from the request.
    const pieces = this.#last > this.#first && written > 1;
    const seconds = (this.#last - (pieces ? this.#first : this.#start)) / 1000;
    at("rate").textContent = `${pace((written - (pieces ? 1 : 0)) / seconds)} tokens/s`;
  }

  #note(text) {
    at("ending").textContent = text;
    return text;
  }
}

function span(kind, ...content) {
  const made = document.createElement("span");
  made.className = kind;
  made.append(...content);
  return made;
}

function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "The request failed.";
}

function duration(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

function pace(rate) {
  return rate < 100 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en");
}
