"""Each block of commands in the documents runs here, or says why not.

A comment above a block says which: `<!-- run: shell -->` runs it next to the examples, `<!-- run: server -->`
against a running server, and `<!-- not run: REASON -->` leaves it out.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
PAGES += sorted(ROOT.glob("examples/**/*.md"))
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"^ *```(?:console|shell|bash|sh)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
REASON = re.compile(r"run: (shell|server)|not run: \w.{8,}")
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 60


@dataclass(frozen=True)
class Block:
    """A block of a page, and the comment above it."""

    page: str
    line: int
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """All blocks of commands."""
    found = []
    for page in dict.fromkeys(PAGES):
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(page.relative_to(ROOT)), line, match["mark"] or "", match["text"]))
    return found


def run_as_shown(text: str, directory: Path, address: str = ADDRESS) -> None:
    """Run each command of a block, and compare what it says with what the block shows; ... is anything."""
    (directory / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        # Without a terminal, curl would show its progress.
        quiet = re.sub(r"\bcurl ", "curl -sS ", command.replace(ADDRESS, address))
        done = subprocess.run(  # noqa: S603 - our own documents
            ["/bin/bash", "-c", quiet],
            cwd=directory,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        expected = re.escape(shown.strip()).replace(re.escape("..."), ".*")
        assert re.fullmatch(expected, done.stdout.strip(), re.DOTALL), f"{command} said: {done.stdout}"


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_each_block_runs_or_says_why_not(block: Block) -> None:
    """A block without a comment above it, or with one that gives no reason, fails."""
    assert REASON.fullmatch(block.mark), f"{block}: mark it, as the top of this file says"


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in blocks() if b.mark == "run: shell"], ids=str)
def test_commands_of_a_shell(block: Block, tmp_path: Path) -> None:
    """The commands of the block succeed and say what the block shows."""
    run_as_shown(block.text, tmp_path)


@pytest.mark.service
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("block", [b for b in blocks() if b.mark == "run: server"], ids=str)
def test_commands_with_a_server(block: Block, tmp_path: Path, address: str) -> None:
    """The commands of the block get from a server what the block shows."""
    run_as_shown(block.text, tmp_path, address)
