"""What mkdocs does with the pages of docs before it renders them."""

import re
from pathlib import Path
from typing import Any

# A link out of docs: to a file of the repository, which the site does not have.
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - as mkdocs calls it
    """Name files outside docs instead of linking to them."""
    return OUTSIDE.sub(lambda link: link[1] if link[2] in link[1] else f"{link[1]} (`{link[2]}`)", markdown)


def on_config(config: Any) -> Any:  # noqa: ANN401 - as mkdocs calls it
    """Put pages that the navigation does not name at its end."""
    named = str(config["nav"])
    for page in sorted(Path(config["docs_dir"]).glob("*.md")):
        if f"'{page.name}'" not in named:
            config["nav"].append(page.name)
    return config
