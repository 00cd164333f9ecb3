"""What mkdocs does with a page of docs before it renders it."""

import re
from typing import Any

# A link out of docs: to a file of the repository, which the site does not have.
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - as mkdocs calls it
    """Name files outside docs instead of linking to them."""
    return OUTSIDE.sub(lambda link: link[1] if link[2] in link[1] else f"{link[1]} (`{link[2]}`)", markdown)
