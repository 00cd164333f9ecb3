// The API reference, drawn from this server's own openapi.json.

import { element as make, code, prose } from "./elements.js";
import { Schemas } from "./schemas.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

function operations(api) {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ method, path, ...item[method] })),
  );
}

function anchor({ method, path }) {
  return `${method}-${path}`.replace(/[^a-z0-9]+/gi, "-").replace(/-$/, "").toLowerCase();
}

function route({ method, path }) {
  const verb = make("span", { class: `method ${method}` }, method.toUpperCase());
  return [verb, " ", make("span", { class: "path" }, path)];
}

function contents(found) {
  const link = (one) => make("a", { href: `#${anchor(one)}` }, ...route(one));
  return make("ul", {}, ...found.map((one) => make("li", {}, link(one))));
}

function article(operation, schemas) {
  const parts = [make("h2", { id: anchor(operation) }, ...route(operation))];
  parts.push(...prose(operation.description ?? operation.summary ?? ""));
  const parameters = operation.parameters ?? [];
  if (parameters.length) {
    parts.push(make("h3", {}, "Parameters"), schemas.table(parameters.map((one) => ({
      name: `${one.name} (${one.in})`,
      required: one.required,
      schema: { ...one.schema, description: one.description ?? one.schema?.description },
    }))));
  }
  for (const [type, media] of Object.entries(operation.requestBody?.content ?? {})) {
    parts.push(make("h3", {}, "Body: ", code(type)), ...schemas.media(media));
  }
  parts.push(make("h3", {}, "Answers"));
  for (const [status, answer] of Object.entries(operation.responses ?? {})) {
    parts.push(response(status, answer, schemas));
  }
  return make("article", {}, ...parts);
}

function response(status, answer, schemas) {
  const content = Object.entries(answer.content ?? {});
  const head = [make("span", { class: status < "400" ? "status" : "status refused" }, status), " "];
  const summary = make("summary", {}, ...head, ...prose(answer.description ?? "", "span"));
  if (!content.length) return make("div", { class: "response" }, ...summary.childNodes);
  return make("details", { class: "response", ...(status < "300" ? { open: "" } : {}) }, summary,
    ...content.flatMap(([type, media]) => [
      make("p", { class: "note" }, code(type)),
      // Errors have one form; their examples show it.
      ...(status < "400" ? schemas.media(media) : schemas.examples(media)),
    ]));
}

async function show() {
  const lead = document.getElementById("lead");
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`the server answered with status ${answer.status}`);
    const api = await answer.json();
    const schemas = new Schemas(api.components?.schemas ?? {});
    const found = operations(api);
    document.getElementById("version").textContent = api.info.version;
    document.getElementById("contents").replaceChildren(contents(found));
    lead.replaceWith(make("div", { class: "lead" }, ...prose(api.info.description ?? "")));
    document.getElementById("routes").append(...found.map((one) => article(one, schemas)));
    // The place that the address names has only come to be now.
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    lead.textContent = `openapi.json could not be read: ${error.message}.`;
  }
}

show();
