"""The table of docs/security.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROW = re.compile(r"^\| \d+ \| .+ \| .+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


def test_every_test_of_the_table_exists() -> None:
    """Each of at least 40 attacks names a test that is there."""
    text = (ROOT / "docs" / "security.md").read_text()
    rows = ROW.findall(text)
    assert len(rows) == len(re.findall(r"^\| \d+ \|", text, re.MULTILINE)) >= 40
    missing = [f"{path}::{name}" for path, name in rows if name not in _tests(ROOT / path)]
    assert missing == []


def _tests(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
