"""The documentation site."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ERRORS
from tests.support.server import ROOT
from tools.site_hooks import on_page_markdown
from tools.troubleshoot import doctor_lines


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Every page is in the navigation, every link leads somewhere, and mkdocs warns of nothing."""
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    assert (tmp_path / "index.html").exists()
    index = (tmp_path / "index.html").read_text()
    pages = {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f'href="{page}"' not in index} == set()


def test_troubleshooting_is_complete() -> None:
    """The page has every error code and every line of `capstan doctor` that is not ok."""
    page = (ROOT / "docs" / "troubleshoot.md").read_text()
    lines = list(doctor_lines())
    assert len(lines) > 20
    assert [line for line in lines if not line[0] or not line[1].strip(". ")] == []
    assert all(f"| `{code}` |" in page for code in ERRORS)
    assert all(f"| {text} | {fix} |" in page for _, text, fix in lines)


def test_a_link_out_of_the_site_is_named() -> None:
    """A link to a file of the repository becomes its name."""
    assert on_page_markdown("see [the chart](../helm/x.yaml)") == "see the chart (`helm/x.yaml`)"


def test_the_readme_is_short() -> None:
    """README.md has less than 150 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
