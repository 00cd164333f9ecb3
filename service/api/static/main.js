// The page: an image and a prompt go out, a caption comes in.

import { Answer } from "./answer.js";
import { Chooser } from "./chooser.js";
import { Code } from "./code.js";
import { body } from "./request.js";
import { ApiError, complete, failure, headers } from "./stream.js";

const at = (id) => document.getElementById(id);
const KEY = "capstan.key";
const STAYS = at("key-note").textContent;
const BASE = new URL("v1", document.baseURI).href;

let model = null;
let running = null;

const key = () => at("key").value.trim();
const say = (text) => (at("status").textContent = text);
const number = (id) => (at(id).value === "" ? null : at(id).valueAsNumber);

const answer = new Answer();
const code = new Code({ say });
const chooser = new Chooser({ keyOf: key, changed: showCode, say });

/** What is asked, but for the image's bytes. */
function request() {
  const { picture } = chooser;
  return {
    model: model ?? "MODEL",
    prompt: at("prompt").value,
    maxTokens: number("max-tokens"),
    temperature: number("temperature"),
    link: picture?.link ?? null,
    name: picture?.name ?? "image.png",
    type: picture?.type ?? "image/png",
  };
}

function showCode() {
  code.show(request(), { base: BASE, withKey: key() !== "" });
}

async function findModel() {
  try {
    const response = await fetch("v1/models", { headers: headers(key()) });
    if (!response.ok) throw await failure(response);
    const card = (await response.json()).data[0];
    model = card.id;
    const { device, dtype } = card.engine ?? {};
    at("model").textContent = [model, device, dtype].filter(Boolean).join(" · ");
    at("key").removeAttribute("aria-invalid");
    at("key-note").textContent = STAYS;
  } catch (error) {
    at("model").textContent = "";
    if (error.status === 401 || error.status === 403) {
      at("key").setAttribute("aria-invalid", "true");
      at("key-note").textContent = key()
        ? "The server rejected this key."
        : `This server requires a key. ${STAYS}`;
    } else {
      answer.fail(error);
    }
  }
  showCode();
}

async function run() {
  if (!chooser.picture) {
    say("Choose an image first.");
    at("ending").textContent = "Choose an image first.";
    at("file").focus();
    return;
  }
  if (model === null) await findModel();
  running = new AbortController();
  busy(true);
  try {
    const asked = body({ ...request(), url: await chooser.address() });
    answer.begin();
    say("Generating the caption.");
    for await (const chunk of complete(asked, { key: key(), signal: running.signal })) {
      answer.add(chunk);
      if (answer.text) chooser.reading(false);
    }
    say(answer.end({ stopped: false }));
  } catch (error) {
    if (running.signal.aborted) say(answer.end({ stopped: true }));
    else answer.fail(error instanceof ApiError ? error : new ApiError(unreachable(error)));
  } finally {
    busy(false);
    running = null;
  }
}

function unreachable(error) {
  const message = error instanceof TypeError ? "the server cannot be reached" : error.message;
  return { message, code: null, requestId: null, status: null };
}

function busy(now) {
  // Before its button goes, the focus moves to the other one.
  const focused = document.activeElement;
  at("run").hidden = now;
  at("stop").hidden = !now;
  if (focused === at(now ? "run" : "stop")) at(now ? "stop" : "run").focus();
  chooser.reading(now);
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) run();
});
at("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) at("ask").requestSubmit();
  if (event.key === "Escape") running?.abort();
});
for (const id of ["prompt", "max-tokens", "temperature", "key"]) at(id).addEventListener("input", showCode);
at("key").addEventListener("change", () => {
  if (key()) sessionStorage.setItem(KEY, key());
  else sessionStorage.removeItem(KEY);
  findModel();
  chooser.refresh();
});

at("key").value = sessionStorage.getItem(KEY) ?? "";
showCode();
findModel();
