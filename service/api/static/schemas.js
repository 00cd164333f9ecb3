// JSON Schema as tables: each field with its type, bounds, default and sentence.

import { code, element as make, prose } from "./elements.js";
import { JSON_FORM, literal } from "./literal.js";

const DEEPEST = 4;
const LISTED = 4;
const OR = " or ";
const BOUNDS = [
  ["", "minimum", "maximum"],
  ["length ", "minLength", "maxLength"],
  ["items ", "minItems", "maxItems"],
];

export class Schemas {
  /** `named` are the components that a reference may mean. */
  constructor(named) {
    this.named = named;
  }

  /** A body of some media type: its fields, then its examples. */
  media(media) {
    const rows = this.#rows(media.schema ?? {});
    return [...(rows.length ? [this.table(rows)] : []), ...this.examples(media)];
  }

  /** The examples of a body, or those of its schema. */
  examples(media) {
    const schema = this.#resolved(media.schema ?? {});
    const named = Object.entries(media.examples ?? {});
    const examples = named.map(([name, one]) => [one.summary ?? name, one.value]);
    if (media.example !== undefined) examples.push(["Example", media.example]);
    if (!examples.length) examples.push(...(schema.examples ?? []).map((one) => ["Example", one]));
    return examples.map(([name, value], index) => {
      const text = typeof value === "string" ? value.trimEnd() : literal(value, JSON_FORM);
      const title = name === "Example" && examples.length > 1 ? `Example ${index + 1}` : name;
      const parts = [make("figcaption", {}, title), make("pre", { tabindex: 0, "aria-label": title }, text)];
      return make("figure", { class: "example" }, ...parts);
    });
  }

  /** A table of fields, those of objects within them indented. */
  table(rows, depth = 0) {
    const lines = rows.flatMap((row) => this.#lines(row, depth));
    const titles = ["Field", "Type", "Meaning"].map((name) => make("th", { scope: "col" }, name));
    const head = make("thead", {}, make("tr", {}, ...titles));
    return make("div", { class: "fields" }, make("table", {}, head, make("tbody", {}, ...lines)));
  }

  #lines({ name, required, schema }, depth) {
    const known = this.#resolved(schema);
    const needed = required ? [make("span", { class: "needed" }, " required")] : [];
    const said = prose(known.description ?? "", "span").flatMap((part) => [part, " "]);
    const line = make(
      "tr",
      {},
      make("td", { class: `depth-${depth}` }, code(name), ...needed),
      make("td", { class: "type" }, this.#type(schema)),
      make("td", {}, ...said, ...this.#limits(known)),
    );
    if (depth >= DEEPEST) return [line];
    return [line, ...this.#rows(known).flatMap((row) => this.#lines(row, depth + 1))];
  }

  /** The fields of an object, of a list's objects, or of each object that may stand here. */
  #rows(schema) {
    const known = this.#resolved(schema);
    if (known.properties) {
      const needed = new Set(known.required ?? []);
      const fields = Object.entries(known.properties);
      return fields.map(([name, one]) => ({ name, required: needed.has(name), schema: one }));
    }
    if (known.items) return this.#rows(known.items);
    const kinds = (known.anyOf ?? known.oneOf ?? []).map((one) => this.#rows(one));
    return merged(kinds.filter((rows) => rows.length));
  }

  #resolved(schema) {
    if (schema.$ref) {
      const name = schema.$ref.split("/").pop();
      return { ...this.named[name], ...schema, $ref: undefined };
    }
    if (schema.allOf?.length === 1) {
      return { ...this.#resolved(schema.allOf[0]), ...schema, allOf: undefined };
    }
    return schema;
  }

  #type(schema) {
    const known = this.#resolved(schema);
    const choices = known.anyOf ?? known.oneOf;
    if (choices) {
      const names = new Set(choices.flatMap((one) => this.#type(one).split(OR)));
      return [...names].filter((one) => one !== "null").join(OR) || "null";
    }
    if (known.const !== undefined) return JSON.stringify(known.const);
    if (known.enum?.length <= LISTED) return known.enum.map((one) => JSON.stringify(one)).join(OR);
    if (known.type === "array") return `list of ${this.#type(known.items ?? {})}`;
    if (known.format === "binary") return "file";
    return Array.isArray(known.type) ? known.type.join(" or ") : (known.type ?? "any");
  }

  #limits(schema) {
    const found = [schema, ...(schema.anyOf ?? [])].map((one) => this.#resolved(one)).flatMap(limits);
    // What can only be one thing needs no default.
    if (schema.default !== undefined && schema.default !== null && schema.const === undefined) {
      found.push(`default ${JSON.stringify(schema.default)}`);
    }
    return found.length ? [make("span", { class: "limits" }, [...new Set(found)].join("; "))] : [];
  }
}

/** The bounds of one schema in words. */
function limits(schema) {
  const found = schema.enum?.length > LISTED ? [`one of ${schema.enum.join(", ")}`] : [];
  for (const [what, least, most] of BOUNDS) {
    const [low, high] = [schema[least], schema[most]].map((one) => one?.toLocaleString("en"));
    if (low && high) found.push(`${what}${low} to ${high}`);
    else if (low) found.push(`${what}at least ${low}`);
    else if (high) found.push(`${what}at most ${high}`);
  }
  if (schema.exclusiveMinimum !== undefined) found.push(`above ${schema.exclusiveMinimum}`);
  if (schema.exclusiveMaximum !== undefined) found.push(`below ${schema.exclusiveMaximum}`);
  return found;
}

/** The fields of several kinds of objects as those of one; required is what all of them require. */
function merged(kinds) {
  const found = new Map();
  for (const row of kinds.flat()) found.set(row.name, [...(found.get(row.name) ?? []), row]);
  return [...found].map(([name, rows]) => {
    const all = rows.map((row) => row.schema);
    const [first] = all;
    const said = all.find((schema) => schema.description)?.description;
    return {
      name,
      required: rows.length === kinds.length && rows.every((row) => row.required),
      schema: all.length === 1 ? first : { anyOf: all, description: said },
    };
  });
}
