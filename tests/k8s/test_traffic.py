"""Requests a second, from what the pods' HAProxies count."""

import threading

import pytest

from k8s.commands.traffic import APART_S, Count, Sample, TrafficMeter, backend_of, counts, rates
from k8s.errors import UnreachableError
from tests.k8s.objects import RECORDED

RECORDED_TEXT = (RECORDED / "haproxy.txt").read_text()


def test_recorded_counters() -> None:
    """The counter of each backend is read, and none of the gauges."""
    assert counts(RECORDED_TEXT) == {"default_backend": 0, "http-shapes": 71, "stats": 0}


@pytest.mark.parametrize(
    "text", ["", "404 page not found\n", 'haproxy_backend_http_requests_total{proxy="http-shapes"} NaN\n']
)
def test_no_counters(text: str) -> None:
    """A text without counters counts nothing."""
    assert counts(text) == {}


@pytest.mark.parametrize(
    ("model", "backend"), [("main", "http-main"), ("a/b#c d", "http-a.b-c_d"), ("Qwen2.5", "http-Qwen2.5")]
)
def test_backends(model: str, backend: str) -> None:
    """A model's backend is called as Serve calls it."""
    assert backend_of(model) == backend


def sample(at: float, **requests: int) -> Sample:
    """What each pod had counted for the model `main`; a pod that is not named did not answer."""
    return {pod: Count(at, {"http-main": n}) for pod, n in requests.items()}


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        ([], None),
        ([sample(0, a=5)], None),
        ([sample(0, a=5), sample(2, a=9)], 2.0),
        ([sample(0, a=5), sample(2, a=5)], 0.0),
        ([sample(0, a=5, b=100), sample(2, a=9, b=106)], 5.0),
        ([sample(0, a=5), sample(2, a=9, b=1000)], 2.0),  # When b counted its thousand is unknown.
        ([sample(0, a=5, b=7), sample(2, a=9)], 2.0),  # b went, or did not answer in time.
        ([sample(0, a=5), sample(2, b=9)], None),
        ([sample(0, a=500), sample(2, a=8)], 4.0),  # HAProxy restarted.
        ([sample(0, a=0), sample(2, a=10), sample(4, a=2), sample(6, a=6)], 2.67),
        ([sample(0, a=1), {}, sample(4, a=9)], 2.0),
        ([sample(3, a=1), sample(3, a=1)], None),
    ],
)
def test_rates(samples: list[Sample], rate: float | None) -> None:
    """Pods add up, a counter that fell began at zero, and without two samples of a pod nothing is said."""
    assert rates(samples, ["main"]) == {"main": rate}


def test_models_apart() -> None:
    """Each model has its own rate, and one that no HAProxy knows has none."""
    before = {"a": Count(0, {"http-main": 0, "http-small": 0})}
    after = {"a": Count(2, {"http-main": 4, "http-small": 10})}
    assert rates([before, after], ["main", "small", "new"]) == {"main": 2.0, "small": 5.0, "new": None}


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def text(number: int) -> str:
    return f'haproxy_backend_http_requests_total{{proxy="http-main"}} {number}\n'


def test_meter_reads_twice_at_first() -> None:
    """The first measurement waits between two samples; the next one looks back, and no further than 10 s."""
    clock, counted = Clock(), iter([0, 10, 20, 1000])
    meter = TrafficMeter(lambda _: text(next(counted)), monotonic=clock.monotonic, sleep=clock.sleep)
    assert meter.measure(["a"], ["main"]) == {"main": 10 / APART_S}
    clock.now += 2
    assert meter.measure(["a"], ["main"]) == {"main": 5.0}
    assert clock.slept == [APART_S]
    clock.now += 60
    assert meter.measure(["a"], ["main"]) == {"main": None}


def test_meter_does_not_wait_for_nothing() -> None:
    """Where no pod answers, nothing is said and no time is lost."""

    def ask(pod: str) -> str:
        raise UnreachableError(f"{pod} does not answer")

    clock = Clock()
    meter = TrafficMeter(ask, monotonic=clock.monotonic, sleep=clock.sleep)
    assert meter.measure(["a", "b"], ["main"]) == {"main": None}
    assert clock.slept == []


def test_meter_leaves_a_silent_pod_behind() -> None:
    """A pod that never answers does not hold up the measurement of the others."""
    clock, counted, never = Clock(), iter([0, 6]), threading.Event()

    def ask(pod: str) -> str:
        if pod == "silent":
            never.wait()
            raise UnreachableError("too late")
        return text(next(counted))

    meter = TrafficMeter(ask, deadline_s=0.1, monotonic=clock.monotonic, sleep=clock.sleep)
    found = meter.measure(["silent", "well"], ["main"])
    never.set()
    assert found == {"main": 3.0}
