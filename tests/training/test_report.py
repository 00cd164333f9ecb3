"""What training says while it goes."""

import io

from rich.console import Console

from training.report import Report


def test_lines_without_a_terminal() -> None:
    """Without a terminal, each measurement is one line with loss, accuracy and the time left."""
    out = io.StringIO()
    with Report(Console(file=out, width=120)) as report:
        report.step(50, loss=2.0, progress=0.25)
        report.measured(50, accuracy=0.5, seconds=30, progress=0.25)
    assert out.getvalue() == "step 50, loss 2.0000, held-out accuracy 50.0%, 30 s, 90 s left\n"


def test_a_bar_on_a_terminal() -> None:
    """On a terminal, a bar carries loss and accuracy."""
    out = io.StringIO()
    with Report(Console(file=out, width=120, force_terminal=True)) as report:
        report.step(50, loss=2.0, progress=0.25)
        report.measured(50, accuracy=0.5, seconds=30, progress=0.25)
        report.step(51, loss=2.0, progress=0.5)
    assert "held-out accuracy 50.0%" in out.getvalue()
