// Values as people write them: what is short on one line, the rest indented.

const WIDTH = 88;

export const JSON_FORM = { step: 2, comma: "", words: { true: "true", false: "false", null: "null" } };
export const PYTHON_FORM = { step: 4, comma: ",", words: { true: "True", false: "False", null: "None" } };

/** A value in the notation of a form; `indent` is that of the line on which it begins. */
export function literal(value, form, indent = 0) {
  if (value === null || typeof value === "boolean") return form.words[value];
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = indent + form.step;
  const list = Array.isArray(value);
  const items = list
    ? value.map((item) => literal(item, form, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, form, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length + indent <= WIDTH && !line.includes("\n")) return line;
  const pad = " ".repeat(inner);
  return `${open}\n${pad}${items.join(`,\n${pad}`)}${form.comma}\n${" ".repeat(indent)}${close}`;
}
