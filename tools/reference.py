"""Generates the reference pages of docs, the table in docs/metrics.md and the chart's files.

Also writes the version of pyproject.toml wherever a document, an example or the chart names it.

`python -m tools.reference [--check]`
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from service.errors import ERRORS
from service.metrics.definitions import DEFINITIONS
from service.router.metrics import DEFINITIONS as ROUTER_DEFINITIONS
from service.settings import Settings
from tools import chart, commands_page, dashboard, http_page, sizing_data, troubleshoot

ROOT = Path(__file__).parent.parent
# Files that name the image of this version.
VERSIONED = (
    "README.md",
    "docs/deploy.md",
    "docs/engines.md",
    "docs/gitops.md",
    "docs/own-model.md",
    "docs/upgrading.md",
    "examples/batch/rayjob.yaml",
    "examples/values/internvl2-8b-vllm.yaml",
)


def settings_page() -> str:
    """Return docs/settings.md, one row for each setting."""
    rows = [
        f"| `CAPSTAN_{name.upper()}` | {_default(field)} | {_bounds(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        (
            "# Settings",
            "",
            "<!-- Generated from service/settings.py by `make docs`. -->",
            "",
            "Set these as environment variables of a replica or, in lower case and without the prefix, as",
            "`args` of `service.app:build` in a Serve config file. A replica with an unknown `CAPSTAN_`",
            "variable does not start. `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` work as usual.",
            "",
            "| variable | default | bounds | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


def errors_page() -> str:
    """Return docs/errors.md, one row for each error code."""
    rows = [f"| `{code}` | {kind.status} | {kind.when} | {kind.remedy} |" for code, kind in ERRORS.items()]
    return "\n".join(
        (
            "# Errors",
            "",
            "<!-- Generated from service/errors.py by `make docs`. -->",
            "",
            "Errors have the format of OpenAI's API plus a `request_id`, which is also in the `X-Request-ID`",
            "header and in the server's log:",
            "",
            "```json",
            '{"error": {"message": "...", "type": "invalid_request_error", "code": "invalid_image",',
            '           "param": "image"}, "request_id": "..."}',
            "```",
            "",
            "| code | status | when | what to do |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


def metrics_page() -> str:
    """Return docs/metrics.md with its table of metrics, one row for each."""
    before, start, rest = (ROOT / "docs/metrics.md").read_text().partition("<!-- metrics -->\n")
    _, end, after = rest.partition("<!-- end of metrics -->")
    rows = (
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |"
        for one in (*DEFINITIONS, *ROUTER_DEFINITIONS)
    )
    table = "\n".join(
        ("", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *rows, "", "")
    )
    return f"{before}{start}{table}{end}{after}"


def versioned() -> dict[Path, str]:
    """The files that name our version, with that of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart_file = ROOT / "helm/capstan/Chart.yaml"
    lines = re.sub(r"(?m)^(version|appVersion): .*", rf"\1: {version}", chart_file.read_text())
    named = [ROOT / name for name in VERSIONED]
    return {chart_file: lines} | {
        path: re.sub(r"\b(capstan:|TAG=|tag: )\d+\.\d+\.\d+", rf"\g<1>{version}", path.read_text())
        for path in named
    }


PAGES = {
    "docs/settings.md": settings_page,
    "docs/errors.md": errors_page,
    "docs/metrics.md": metrics_page,
    "docs/cli.md": commands_page.page,
    "docs/http.md": http_page.page,
    "docs/javascripts/sizing_data.js": sizing_data.page,
    "docs/troubleshoot.md": troubleshoot.page,
}


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if field.annotation is ByteSize:
        return f"`{ByteSize(value).human_readable().replace('.0', '')}`"
    text = str(value)
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign} {getattr(rule, name):,}"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f"`{choice}`" for choice in choices)
    return ", ".join(found)


def main() -> int:
    """Write the files, or with --check report those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args().check
    files = (
        versioned()
        | {ROOT / name: page() for name, page in PAGES.items()}
        | chart.files()
        | dashboard.files()
    )
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
