"""The committed render of the chart without values: `python -m tests.chart.snapshot` updates it."""

from pathlib import Path

from tests.chart.rendering import render_text

SNAPSHOT = Path(__file__).parent / "default.yaml"

if __name__ == "__main__":
    SNAPSHOT.write_text(render_text("{}", "test"))
