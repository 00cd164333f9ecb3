"""Draws docs/images/caption.svg, the README's first picture, from a server on port 8000.

`make serve` in one terminal, `python -m tools.terminal_picture` in another.
"""

import io
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COMMANDS = (
    "curl -s -F image=@examples/images/shapes.png http://127.0.0.1:8000/caption",
    "curl -s -F image=@README.md http://127.0.0.1:8000/caption",
)
OUT = Path(__file__).parent.parent / "docs" / "images" / "caption.svg"
TIMEOUT_SECONDS = 30


def main() -> None:
    """Run the commands and draw their output."""
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(Text("$ make serve", "bold green"))
    for command in COMMANDS:
        console.print(Text(f"$ {command}", "bold green"))
        result = subprocess.run(
            command, shell=True, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
        console.print_json(result.stdout)
    OUT.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="Capstan", theme=MONOKAI)
    # The reader's own fonts will do, so the picture fetches none.
    OUT.write_text(re.sub(r"@font-face\s*{[^}]*}|<!--.*?-->", "", svg))


if __name__ == "__main__":
    main()
