"""The whole render without values."""

from tests.chart.rendering import render_text
from tests.chart.snapshot import SNAPSHOT


def test_the_default_render_is_the_committed_one() -> None:
    """The default render equals the committed one; `python -m tests.chart.snapshot` updates that."""
    assert render_text("{}", "test") == SNAPSHOT.read_text()
