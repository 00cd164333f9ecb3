"""Makes docs/settings.md, docs/errors.md and files of the chart: `python docs/reference.py [--check]`."""

import argparse
import sys
from pathlib import Path

import chart
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from service.errors import ERRORS
from service.settings import Settings

HERE = Path(__file__).parent


def settings_page() -> str:
    """The table of settings."""
    rows = [
        f"| `CAPSTAN_{name.upper()}` | {_default(field)} | {_bounds(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        (
            "# Settings",
            "",
            "<!-- Made from service/settings.py by `make docs`. -->",
            "",
            "Environment variables of a replica, or, without the prefix and in small letters, `args` of",
            "`service.app:build` in a Serve config file. An unknown `CAPSTAN_` variable is refused at start.",
            "`HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` work as everywhere.",
            "",
            "| variable | default | bounds | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


def errors_page() -> str:
    """The table of error codes."""
    rows = [f"| `{code}` | {kind.status} | {kind.when} | {kind.remedy} |" for code, kind in ERRORS.items()]
    return "\n".join(
        (
            "# Errors",
            "",
            "<!-- Made from service/errors.py by `make docs`. -->",
            "",
            "Every error has the form of OpenAI's API and a `request_id`, which is also in the",
            "`X-Request-ID` header and in the server's log:",
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


PAGES = {"settings.md": settings_page, "errors.md": errors_page}


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
    """Write the pages, or with --check say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a page is out of date"
    )
    check = parser.parse_args().check
    made = {HERE / name: page() for name, page in PAGES.items()} | chart.pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(HERE.parent)} is out of date; run `make docs`", file=sys.stderr)  # noqa: T201 - a command's output
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
