"""Generates the chart's values.yaml, schema, defaults and tables from helm/schema.yaml.

The schema of `models.KEY.settings` comes from service/settings.py, so that a setting is declared once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ByteSize

from service.settings import Settings

HELM = Path(__file__).parent.parent / "helm"
CHART = HELM / "capstan"
WIDTH = 110

# Settings that the chart takes from values of its own, so `settings` must not repeat them.
SET_BY_VALUES = {
    "model": "source",
    "model_revision": "revision",
    "adapter": "adapter.source",
    "adapter_revision": "adapter.revision",
    "served_model_name": "servedModelName",
    "gpus_per_replica": "gpusPerReplica",
    "default_prompt": "generation.prompt",
    "default_max_tokens": "generation.maxTokens",
    "default_temperature": "generation.temperature",
    "keys_file": "apiKeys",
    "engine": "engine.kind",
    "engine_command": "engine.command",
    "engine_url": "engine.url",
    "engine_model": "engine.model",
    "engine_pass": "engine.pass",
}

Node = dict[str, Any]


def files() -> dict[Path, str]:
    """Return every generated file of the chart with its text."""
    source = yaml.safe_load((HELM / "schema.yaml").read_text())["properties"]
    readme = CHART / "README.md"
    generated = {
        CHART / "values.yaml": _values(source),
        CHART / "values.schema.json": _schema(source),
        CHART / "files" / "defaults.yaml": _defaults(source),
    }
    if readme.exists():
        generated[readme] = _with_tables(readme.read_text(), source)
    return generated


def _values(source: Node) -> str:
    lines = ["# Generated from helm/schema.yaml by `make docs`. Each value is explained below its key.", ""]
    for name, node in source.items():
        lines += [*_value(name, node, ""), ""]
    return "\n".join(lines)


def _value(name: str, node: Node, indent: str) -> Iterator[str]:
    inner = indent + "  "
    nested = "properties" in node and node.get("default", {}) is not None
    if nested and not node.get("default"):
        yield f"{indent}{name}:"
        yield from _comment(node, inner)
        for key, child in node["properties"].items():
            yield from _value(key, child, inner)
        return
    yield f"{indent}{name}: {_flow(node.get('default'))}"
    yield from _comment(node, inner)
    if isinstance(node.get("entry"), dict) and "properties" in node["entry"]:
        yield f"{inner}# An entry, with the default of each key:"
        yield f"{inner}#   KEY:"
        for key, child in node["entry"]["properties"].items():
            yield from (f"{inner}#     {line}" for line in _value(key, child, ""))


def _comment(node: Node, indent: str) -> Iterator[str]:
    line = ""
    for word in node["description"].split():
        if line and len(indent) + 2 + len(line) + 1 + len(word) > WIDTH - 8:
            yield f"{indent}# {line}"
            line = word
        else:
            line = f"{line} {word}".strip()
    yield f"{indent}# {line}"


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _schema(source: Node) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft-07/schema#",
        "title": "Values of the chart capstan",
        "description": "Generated from helm/schema.yaml by `make docs`.",
        **_strict({"type": "object", "properties": {**source, "global": {"type": "object", "free": True}}}),
    }
    return json.dumps(schema, indent=2) + "\n"


def _strict(node: Node) -> Node:
    """Return the JSON Schema of a node, with shorthands expanded and unknown keys refused."""
    kept = {
        key: value
        for key, value in node.items()
        if key not in {"default", "properties", "entry", "keyPattern", "free", "settings", "items", "without"}
    }
    if node.get("settings"):
        return {**kept, "type": "object", "properties": _settings(), "additionalProperties": False}
    if "items" in node:
        kept["items"] = node["items"] | (
            {"additionalProperties": False} if "properties" in node["items"] else {}
        )
    if "properties" in node:
        kept["properties"] = {key: _strict(child) for key, child in node["properties"].items()}
        kept["additionalProperties"] = False
    elif "entry" in node:
        kept["additionalProperties"] = _strict(node["entry"])
        kept["propertyNames"] = {"pattern": node["keyPattern"]}
    if "without" in node:
        kept["propertyNames"] = {"not": {"enum": node["without"]}}
    return kept


def _settings() -> Node:
    schema = Settings.model_json_schema()["properties"]
    return {
        name: _setting(schema[name], bytesize=field.annotation is ByteSize)
        for name, field in Settings.model_fields.items()
        if name not in SET_BY_VALUES
    }


def _setting(node: Node, *, bytesize: bool) -> Node:
    kept = {key: value for key, value in node.items() if key not in {"default", "title"}}
    if bytesize:
        kept["type"] = ["integer", "string"]
        kept["pattern"] = r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B?$"
    return kept


def _defaults(source: Node) -> str:
    defaults = {
        name: {key: _entry_default(child) for key, child in node["entry"]["properties"].items()}
        for name, node in source.items()
        if "properties" in node.get("entry", {})
    }
    defaults["autoscaling"] = _inner(source["models"]["entry"]["properties"]["autoscaling"])
    text = yaml.safe_dump(defaults, sort_keys=False, width=WIDTH)
    return f"# Generated from helm/schema.yaml by `make docs`: the defaults of an entry's keys.\n{text}"


def _entry_default(node: Node) -> object:
    if "properties" in node and "default" not in node:
        return _inner(node)
    return node.get("default")


def _inner(node: Node) -> Node:
    return {key: child["default"] for key, child in node["properties"].items() if "default" in child}


def _with_tables(text: str, source: Node) -> str:
    start, end = "<!-- values -->\n", "<!-- end of values -->"
    before, _, rest = text.partition(start)
    after = rest.partition(end)[2]
    rows = "\n".join(_rows(source))
    table = f"\n| value | default | meaning |\n| --- | --- | --- |\n{rows}\n\n"
    return f"{before}{start}{table}{end}{after}"


def _rows(source: Node, prefix: str = "") -> Iterator[str]:
    for key, node in source.items():
        name = prefix + key
        if "properties" in node:
            yield from _rows(node["properties"], f"{name}.")
            continue
        default = _flow(node.get("default")).replace("|", "\\|")
        shown = f"`{default}`" if default not in ("null", "''") else ""
        yield f"| `{name}` | {shown} | {_cell(node)} |"
        if "properties" in node.get("entry", {}):
            yield from _rows(node["entry"]["properties"], f"{name}.KEY.")


def _cell(node: Node) -> str:
    words = " ".join(node["description"].split()).replace("|", "\\|")
    signs = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">"}
    bounds = [f"{sign} {node[word]}" for word, sign in signs.items() if word in node]
    if "enum" in node:
        bounds = [" or ".join(f"`{choice}`" for choice in node["enum"])]
    return f"{words} ({', '.join(bounds)})" if bounds else words
