"""What a replica's metrics say about requests and the engine."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ErrorCode, Refusal
from service.metrics.definitions import DEFINITIONS
from service.metrics.record import Fetch, RequestRecord, route_of
from service.metrics.registry import Metrics
from service.protocol.engine import ServingEngine
from service.protocol.request import Completion, FinishReason, Timings, Usage
from service.protocol.stats import EngineStats

TIMINGS = Timings(queue=0.5, preparation=0.25, ready=0.25, prefill=1.0, decode=2.0, compute=0.125, tokens=9)
ANSWER = Completion("a red circle", FinishReason.STOP, Usage(60, 5, 9), TIMINGS)

STATS = EngineStats(
    waiting=3, running=2, finished=9, cancelled=1, failed=1, refused=4, shared=5, prefill_tokens=600,
    decode_tokens=90, feature_hits=7, feature_misses=8, feature_bytes=1024, slots_free=62, pages_used=10,
    pages_free=90, preempted=6, prefix_tokens=32, steps=40, step_seconds=1.5, step_sequences=80,
    drafted_tokens=9, accepted_tokens=5, memory_used=30, memory_total=80, queue_limit=512,
)  # fmt: skip


class Engine:
    """Says what it is and what it does."""

    def stats(self) -> EngineStats:
        return STATS

    def describe(self) -> Any:
        return SimpleNamespace(runner="fused", device="cpu", dtype="float32")


def record(**changes: Any) -> RequestRecord:
    given: dict[str, Any] = {
        "request_id": "r1", "method": "POST", "path": "/caption", "route": "/caption", "status": 200,
        "code": None, "refusal": None, "key": "alice", "model": "m", "start": 0.0, "seconds": 4.2,
    }  # fmt: skip
    return RequestRecord(**(given | changes))


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels other than the model."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = [f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != "model"]
            assert sample.labels["model"] == "m"
            found[(sample.name, *labels)] = sample.value
    return found


def test_an_answer_counts_everywhere() -> None:
    """An answer counts as a request, as usage of its key and in the histogram of each stage."""
    metrics = Metrics("m", gpus=2)
    metrics.record(record(images=1, completions=(ANSWER,), fetches=(Fetch(0.0, 0.3),)))
    found = samples(metrics)
    assert found["capstan_requests_total", "code=ok", "route=/caption"] == 1
    assert found["capstan_request_seconds_sum", "route=/caption"] == 4.2
    usage = {"images": 1, "image_tiles": 5, "prompt_tokens": 60, "completion_tokens": 9, "gpu_seconds": 0.25}
    for name, amount in usage.items():
        assert found[f"capstan_{name}_total", "key=alice"] == amount
    stages = {
        "fetch": 0.3, "queue": 0.75, "preparation": 0.25, "prefill": 1.0, "first_token": 2.0, "decode": 2.0,
        "token_interval": 0.25,
    }  # fmt: skip
    for name, seconds in stages.items():
        assert found[f"capstan_{name}_seconds_sum",] == seconds
        assert found[f"capstan_{name}_seconds_count",] == 1


def test_an_answer_that_was_broken_off_counts_its_tokens() -> None:
    """A stream whose client left counts as disconnected, with its tokens and without its stages."""
    metrics = Metrics("m")
    metrics.record(record(images=1, broken_off=(Usage(60, 5, 4),)))
    found = samples(metrics)
    assert found["capstan_requests_total", "code=disconnected", "route=/caption"] == 1
    for name, amount in {"images": 1, "image_tiles": 5, "prompt_tokens": 60, "completion_tokens": 4}.items():
        assert found[f"capstan_{name}_total", "key=alice"] == amount
    assert not any("decode_seconds" in key[0] for key in found)


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"status": 503, "code": ErrorCode.OVERLOADED, "refusal": Refusal.QUEUE}, "overloaded", "queue"),
        (
            {"status": 401, "code": ErrorCode.INVALID_API_KEY, "refusal": ErrorCode.INVALID_API_KEY},
            "invalid_api_key",
            "invalid_api_key",
        ),
        ({"status": 504, "code": ErrorCode.DEADLINE_EXCEEDED}, "deadline_exceeded", None),
        ({"status": 0}, "disconnected", None),
    ],
    ids=["refused", "no key", "late", "gone"],
)
def test_a_failure_counts_by_its_code(changes: dict[str, Any], code: str, reason: str | None) -> None:
    """A request without an answer counts by how it ended, and by the limit that refused it."""
    metrics = Metrics("m")
    metrics.record(record(**changes))
    found = samples(metrics)
    assert found["capstan_requests_total", f"code={code}", "route=/caption"] == 1
    refusals = {key[1]: value for key, value in found.items() if key[0] == "capstan_refusals_total"}
    assert {key for key, value in refusals.items() if value} == ({f"reason={reason}"} if reason else set())
    assert len(refusals) == 9


def test_the_engine_is_asked_at_each_scrape() -> None:
    """Each figure of the engine's statistics is a metric."""
    metrics = Metrics("m")
    metrics.watch(cast("ServingEngine", Engine()), load_seconds={"checkpoint": 1.5})
    found = samples(metrics)
    expected = {
        ("capstan_running_requests",): 2,
        ("capstan_waiting_requests",): 3,
        ("capstan_slots",): 64,
        ("capstan_queue_limit",): 512,
        ("capstan_steps_total",): 40,
        ("capstan_step_seconds_total",): 1.5,
        ("capstan_step_requests_total",): 80,
        ("capstan_prefill_tokens_total",): 600,
        ("capstan_decode_tokens_total",): 90,
        ("capstan_draft_tokens_total", "result=accepted"): 5,
        ("capstan_draft_tokens_total", "result=rejected"): 4,
        ("capstan_prefix_tokens_total",): 32,
        ("capstan_shared_requests_total",): 5,
        ("capstan_cache_pages", "state=used"): 10,
        ("capstan_cache_pages", "state=free"): 90,
        ("capstan_preemptions_total",): 6,
        ("capstan_feature_lookups_total", "result=hit"): 7,
        ("capstan_feature_lookups_total", "result=miss"): 8,
        ("capstan_feature_cache_bytes",): 1024,
        ("capstan_gpu_memory_bytes", "state=used"): 30,
        ("capstan_gpu_memory_bytes", "state=free"): 50,
        ("capstan_load_seconds", "phase=checkpoint"): 1.5,
    }
    assert {key: found[key] for key in expected} == expected


def test_every_definition_is_exported() -> None:
    """A replica that has answered, and refused, exports every metric of the table and no other."""
    metrics = Metrics("m")
    metrics.watch(cast("ServingEngine", Engine()), load_seconds={"checkpoint": 1.5})
    metrics.record(record(images=1, completions=(ANSWER,), fetches=(Fetch(0.0, 0.3),)))
    metrics.record(record(status=503, code=ErrorCode.OVERLOADED, refusal=Refusal.QUEUE))
    families = {family.name: family for family in metrics.registry.collect()}
    exported = {name + "_total" if one.type == "counter" else name for name, one in families.items()}
    assert exported == {definition.name for definition in DEFINITIONS}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_names_follow_prometheus_rules(definition: Any) -> None:
    """A counter ends in `_total`, a histogram in its unit, and buckets ascend."""
    assert definition.name.startswith("capstan_")
    assert definition.name.endswith("_total") == (definition.kind == "counter")
    assert definition.name.endswith("_seconds") or definition.kind != "histogram"
    assert list(definition.buckets) == sorted(set(definition.buckets))
    assert bool(definition.buckets) == (definition.kind == "histogram")


@pytest.mark.parametrize(
    ("path", "root", "route"),
    [
        ("/caption", "", "/caption"),
        ("/my-api/caption", "/my-api", "/caption"),
        ("/v1/models/embedded", "", "/v1/models"),
        ("/" + "x" * 900, "", "other"),
        ("/static/style.css", "", "other"),
        ("/metrics", "", "/metrics"),
    ],
)
def test_a_path_has_one_of_few_routes(path: str, root: str, route: str) -> None:
    """Whatever clients ask for, the label `route` has few values."""
    assert route_of(path, root) == route


def test_probes_and_scrapes_are_not_counted() -> None:
    """A scrape changes no counter."""
    metrics = Metrics("m")
    metrics.record(record(route="/metrics"))
    assert [name for name in samples(metrics) if "requests_total" in name[0]] == []
