"""The number of replicas from what they report, without Ray's controller."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from service.autoscaling.policy import QUEUED, RATE, WorkPolicy, replicas_for


def context(*, requests: float = 0.0, target: float = 2.0, **series: list[list[float]]) -> Any:
    """What Serve's controller passes: for each metric the values of each replica, the last one last."""
    raw = {
        name: {
            f"replica {number}": [SimpleNamespace(value=value) for value in values]
            for number, values in enumerate(replicas)
        }
        for name, replicas in series.items()
    }
    config = SimpleNamespace(get_target_ongoing_requests=lambda: target)
    return SimpleNamespace(raw_metrics=raw, total_num_requests=requests, config=config)


@pytest.mark.parametrize(
    ("rates", "queued", "replicas"),
    [
        ([], [], 0.0),
        ([0.0], [0.0], 0.0),
        ([0.35], [0.0], 0.5),
        ([0.7], [0.0], 1.0),
        ([1.0], [0.0], 1.43),
        ([1.0], [5.0], 2.43),
        ([1.0, 1.0], [5.0, 10.0], 5.86),
        ([0.1, 0.1, 0.1], [0.0, 0.0, 0.0], 0.43),
    ],
)
def test_replicas_do_the_work_and_drain_the_queue(
    rates: list[float], queued: list[float], replicas: float
) -> None:
    """The work of a second at 70 % utilization, and the queue in 5 s more."""
    assert replicas_for(rates, queued, utilization=0.7, drain_seconds=5.0) == pytest.approx(
        replicas, abs=0.01
    )


def test_the_last_report_counts() -> None:
    """A rise is seen with the first report that has it."""
    found, state = WorkPolicy()(context(**{RATE: [[0.1, 0.1, 0.7], [0.7]], QUEUED: [[0.0, 5.0], []]}))
    assert (found, state) == (pytest.approx(3.0), {})


def test_without_reports_requests_are_counted() -> None:
    """Replicas that report no work, as those in front of another server, are scaled by their requests."""
    assert WorkPolicy()(context(requests=7.0, target=2.0)) == (3.5, {})


def test_serve_takes_the_policy_by_its_import_path() -> None:
    """The controller gets a policy that works with the arguments of a config file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        from ray.serve.config import AutoscalingPolicy  # noqa: PLC0415
    policy = AutoscalingPolicy(
        policy_function="service.autoscaling.policy:WorkPolicy", policy_kwargs={"utilization": 0.5}
    )
    scale = policy.get_policy()(**policy.policy_kwargs)
    assert scale(context(**{RATE: [[0.5]]})) == (pytest.approx(1.0), {})
