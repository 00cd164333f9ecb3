"""Progress of training: a bar in a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# The weight of the newest batch in the running loss.
NEWEST = 0.02


class Report:
    """A context in which training reports its progress, from 0.0 to 1.0."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("training", total=1.0)
        self.loss: float | None = None
        self.held_out: float | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, number: int, *, loss: float, progress: float) -> None:
        """Report a batch; `progress` is the completed share of the training."""
        self.loss = loss if self.loss is None else self.loss + NEWEST * (loss - self.loss)
        self.bar.update(self.task, completed=progress, description=f"step {number}, {self._label()}")

    def measured(self, number: int, *, accuracy: float, seconds: float, progress: float) -> None:
        """Report the accuracy on held-out images; without a terminal, print it."""
        self.held_out = accuracy
        if not self.console.is_terminal:
            left = seconds / max(progress, 1e-6) * (1 - progress)
            self.console.print(
                f"step {number}, {self._label()}, {seconds:.0f} s, {left:.0f} s left", highlight=False
            )

    def _label(self) -> str:
        loss = "-" if self.loss is None else f"{self.loss:.4f}"
        accuracy = "-" if self.held_out is None else f"{self.held_out:.1%}"
        return f"loss {loss}, held-out accuracy {accuracy}"
