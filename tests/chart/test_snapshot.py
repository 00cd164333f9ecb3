"""The default render, as a whole."""

from tests.chart.rendering import render_text
from tests.chart.snapshot import SNAPSHOT


def test_the_default_render_is_the_committed_one() -> None:
    """A change of the default render shows in the diff: `python -m tests.chart.snapshot` accepts it."""
    assert render_text("{}", "test") == SNAPSHOT.read_text()
