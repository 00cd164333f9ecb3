// The same request as commands that run as they stand. A key is named, never shown.

import { JSON_FORM, literal, PYTHON_FORM } from "./literal.js";
import { body } from "./request.js";

// A placeholder for the image. A NUL cannot be typed, so no prompt contains it.
const IMAGE = "\u0000";
const KEY = "CAPSTAN_API_KEY";

/** The request for a POSIX shell. */
export function curl(request, { endpoint, withKey }) {
  const text = literal(body({ ...request, url: request.link ?? IMAGE }), JSON_FORM);
  const lines = [`curl -N ${quoted(endpoint)}`, "  -H 'Content-Type: application/json'"];
  if (withKey) lines.push(`  -H "Authorization: Bearer $${KEY}"`);
  // A file can be longer than a command line may be, so the body comes through a here-document.
  lines.push(`  -d @- <<${request.link ? "'JSON'" : "JSON"}`);
  return `${lines.join(" \\\n")}\n${request.link ? text : expanding(text, request)}\nJSON`;
}

/** The request for OpenAI's own Python client. */
export function python(request, { base, withKey }) {
  const { model, messages, ...options } = body({ ...request, url: request.link ?? IMAGE });
  const file = request.link ? [] : [
    `image = base64.b64encode(Path(${JSON.stringify(request.name)}).read_bytes()).decode()`,
  ];
  const key = withKey ? `os.environ["${KEY}"]` : '"none"';
  const url = request.link ? JSON.stringify(request.link) : `f"data:${request.type};base64,{image}"`;
  const given = Object.entries(options).map(
    ([name, value]) => `    ${name}=${literal(value, PYTHON_FORM, 4)},`,
  );
  return [
    ...(request.link ? [] : ["import base64"]),
    ...(withKey ? ["import os"] : []),
    ...(request.link ? [] : ["from pathlib import Path"]),
    ...(request.link && !withKey ? [] : [""]),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key})`,
    ...file,
    "stream = client.chat.completions.create(",
    `    model=${JSON.stringify(model)},`,
    `    messages=${literal(messages, PYTHON_FORM, 4).replace(JSON.stringify(IMAGE), () => url)},`,
    ...given,
    ")",
    "for chunk in stream:",
    "    for choice in chunk.choices:",
    '        print(choice.delta.content or "", end="", flush=True)',
    "print()",
  ].join("\n");
}

function quoted(word) {
  return /^[\w.:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** JSON for a here-document in which the shell still puts the file in. */
function expanding(text, { name, type }) {
  const file = `data:${type};base64,$(base64 < ${quoted(name)} | tr -d '\\n')`;
  const harmless = text.replace(/[\\$`]/g, "\\$&");
  return harmless.replace(JSON.stringify(IMAGE).replaceAll("\\", "\\\\"), () => `"${file}"`);
}
