"""The options of commands, and what `capstan scale` sets."""

from typing import Any

import pytest

from k8s.commands.options import parse_duration, parse_strategy
from k8s.commands.scale import default_values, replica_values
from k8s.errors import UsageError


@pytest.mark.parametrize(
    ("replicas", "bounds", "pairs"),
    [
        (3, (None, None), [("models.main.replicas", 3), ("models.main.autoscaling", None)]),
        (
            None, (1, 4),
            [("models.main.replicas", None), ("models.main.autoscaling.minReplicas", 1),
             ("models.main.autoscaling.maxReplicas", 4)],
        ),
    ],
)  # fmt: skip
def test_scaling(replicas: int | None, bounds: tuple[int | None, int | None], pairs: list[Any]) -> None:
    """Scaling sets a fixed number or bounds, and takes the other away."""
    assert list(replica_values("main", replicas, bounds)) == pairs


@pytest.mark.parametrize(
    ("replicas", "bounds"), [(None, (None, None)), (None, (1, None)), (2, (1, 3)), (None, (4, 2))]
)
def test_scaling_refused(replicas: int | None, bounds: tuple[int | None, int | None]) -> None:
    """Scaling to numbers that contradict is refused."""
    with pytest.raises(UsageError):
        replica_values("main", replicas, bounds)


def test_scaling_another_model() -> None:
    """Scaling a model that the release does not serve is refused, with the names of those it serves."""
    with pytest.raises(UsageError, match="does not serve model 'other'; it serves main"):
        default_values({"models": {"main": {}}}, "other")


def test_default_model_is_named_in_full() -> None:
    """The chart's default model, which no values name, keeps its pool and its lack of GPUs."""
    assert dict(default_values({}, "embedded")) == {
        "nodePools.cpu.gpusPerNode": 0,
        "models.embedded.gpusPerReplica": 0,
    }


def test_strategies() -> None:
    """A strategy is one of two."""
    assert parse_strategy("replace")
    assert not parse_strategy("alongside")
    with pytest.raises(UsageError, match="alongside, replace"):
        parse_strategy("blue")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400)])
def test_duration(text: str, value: float) -> None:
    """Durations are seconds, or numbers with units."""
    assert parse_duration(text, "--timeout") == value


@pytest.mark.parametrize("text", ["", "m", "-5s", "1d", "0", "5 m"])
def test_duration_refused(text: str) -> None:
    """What is no duration is refused with an example of one."""
    with pytest.raises(UsageError, match=r"--timeout .* write 90s, 20m"):
        parse_duration(text, "--timeout")
