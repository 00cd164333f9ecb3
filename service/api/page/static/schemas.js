// JSON Schema as tables: each field with its type, bounds, default and sentence.

import { code, element as make, prose } from "./elements.js";

const DEEPEST = 4;
const BOUNDS = {
  minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<",
  minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "pattern",
};

export class Schemas {
  /** `named` are the components that a reference may mean. */
  constructor(named) {
    this.named = named;
  }

  /** A body of some media type: its fields, then its examples. */
  media(media) {
    const parts = [];
    const schema = this.#resolved(media.schema ?? {});
    const rows = this.#rows(schema);
    if (rows.length) parts.push(this.table(rows));
    const given = media.examples ? Object.entries(media.examples) : [];
    const examples = media.example === undefined ? given.map(([name, one]) => [one.summary ?? name, one.value]) : [["Example", media.example]];
    if (!examples.length) examples.push(...(schema.examples ?? []).map((one) => ["Example", one]));
    for (const [name, value] of examples) {
      const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
      parts.push(make("figure", { class: "example" }, make("figcaption", {}, name), make("pre", { tabindex: 0 }, text)));
    }
    return parts;
  }

  /** A table of fields, those of objects within them indented. */
  table(rows, depth = 0) {
    const lines = rows.flatMap((row) => this.#lines(row, depth));
    const head = make("tr", {}, ...["Field", "Type", ""].map((name) => make("th", { scope: "col" }, name)));
    return make("div", { class: "fields" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
  }

  #lines({ name, required, schema }, depth) {
    const known = this.#resolved(schema);
    const label = make("td", { class: `depth-${depth}` }, code(name), ...(required ? [make("span", { class: "needed" }, " required")] : []));
    const said = known.description ? prose(known.description, "span") : [];
    const line = make("tr", {}, label, make("td", { class: "type" }, this.#type(schema)), make("td", {}, ...spaced(said), ...this.#limits(known)));
    if (depth >= DEEPEST) return [line];
    return [line, ...this.#rows(known).flatMap((row) => this.#lines(row, depth + 1))];
  }

  /** The fields of an object, of a list's objects, or of each object that may stand here. */
  #rows(schema) {
    const known = this.#resolved(schema);
    if (known.properties) {
      const needed = new Set(known.required ?? []);
      return Object.entries(known.properties).map(([name, one]) => ({ name, required: needed.has(name), schema: one }));
    }
    if (known.items) return this.#rows(known.items);
    const seen = new Set();
    return (known.anyOf ?? known.oneOf ?? []).flatMap((one) => this.#rows(one)).filter(({ name }) => !seen.has(name) && seen.add(name));
  }

  #resolved(schema) {
    if (schema.$ref) {
      const name = schema.$ref.split("/").pop();
      return { ...this.named[name], ...schema, $ref: undefined };
    }
    if (schema.allOf?.length === 1) return { ...this.#resolved(schema.allOf[0]), ...schema, allOf: undefined };
    return schema;
  }

  #type(schema) {
    const known = this.#resolved(schema);
    const choices = known.anyOf ?? known.oneOf;
    if (choices) return [...new Set(choices.map((one) => this.#type(one)))].filter((one) => one !== "null").join(" or ") || "null";
    if (known.const !== undefined) return JSON.stringify(known.const);
    if (known.enum) return known.enum.map((one) => JSON.stringify(one)).join(", ");
    if (known.type === "array") return `list of ${this.#type(known.items ?? {})}`;
    if (known.format === "binary") return "file";
    return Array.isArray(known.type) ? known.type.join(" or ") : (known.type ?? "any");
  }

  #limits(schema) {
    const bounded = [schema, ...(schema.anyOf ?? [])];
    const found = bounded.flatMap((one) => Object.entries(BOUNDS).filter(([name]) => one[name] !== undefined)
      .map(([name, sign]) => `${sign} ${one[name]}`));
    if (schema.default !== undefined && schema.default !== null) found.push(`default ${JSON.stringify(schema.default)}`);
    return found.length ? [make("span", { class: "limits" }, found.join(", "))] : [];
  }
}

function spaced(parts) {
  return parts.flatMap((part) => [part, " "]);
}
