"""Every metric, declared once: name, kind, meaning, labels and buckets. docs/metrics.md is generated from it.

Source of the naming rules: prometheus.io/docs/practices/naming.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# Seconds. A whole request may last for minutes, a stage of it is mostly far below a second.
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
INTERVAL_BUCKETS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. Every metric has the label `model` as well."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels."""
        return ("model", *self.labels)


def _stage(name: str, text: str) -> Definition:
    return Definition(name, "histogram", text, buckets=STAGE_BUCKETS)


REQUESTS = Definition(
    "capstan_requests_total",
    "counter",
    "Requests that have ended. `code` is that of the error (docs/errors.md), `ok`, or `disconnected` where "
    "the client left first.",
    ("route", "code"),
)
REQUEST_SECONDS = Definition(
    "capstan_request_seconds",
    "histogram",
    "Seconds from the first byte of a request to the last of its response.",
    ("route",),
    REQUEST_BUCKETS,
)
REFUSALS = Definition(
    "capstan_refusals_total",
    "counter",
    "Requests that were refused before any work. `reason` says which limit: `queue`, `queue_share`, "
    "`bodies`, `concurrent_requests`, `requests_per_minute`, `images_per_minute`; else the error's code.",
    ("reason",),
)

FETCH_SECONDS = _stage("capstan_fetch_seconds", "Seconds to read one image from its URL or path.")
QUEUE_SECONDS = _stage(
    "capstan_queue_seconds",
    "Seconds that a request waited, before its preparation and before its first step.",
)
PREPARATION_SECONDS = _stage(
    "capstan_preparation_seconds",
    "Seconds to decode and cut the images of a request and tokenize its prompt.",
)
PREFILL_SECONDS = _stage(
    "capstan_prefill_seconds", "Seconds from the first step of a request to its first token."
)
FIRST_TOKEN_SECONDS = _stage(
    "capstan_first_token_seconds", "Seconds from the arrival of a request in the engine to its first token."
)
DECODE_SECONDS = _stage("capstan_decode_seconds", "Seconds from the first token of an answer to its last.")
TOKEN_INTERVAL_SECONDS = Definition(
    "capstan_token_interval_seconds",
    "histogram",
    "Mean seconds between the tokens of an answer; one observation for each answer of two tokens or more.",
    buckets=INTERVAL_BUCKETS,
)

IMAGES = Definition(
    "capstan_images_total", "counter", "Images of requests, also of interrupted ones.", ("key",)
)
IMAGE_TILES = Definition("capstan_image_tiles_total", "counter", "Tiles of those images.", ("key",))
PROMPT_TOKENS = Definition(
    "capstan_prompt_tokens_total",
    "counter",
    "Tokens of prompts, image tokens and those of interrupted answers included.",
    ("key",),
)
COMPLETION_TOKENS = Definition(
    "capstan_completion_tokens_total",
    "counter",
    "Tokens of answers, interrupted ones included.",
    ("key",),
)
GPU_SECONDS = Definition(
    "capstan_gpu_seconds_total",
    "counter",
    "Seconds that answers kept the GPUs of the replica busy (its CPU where it has none); those of a step are "
    "divided among its requests by tokens.",
    ("key",),
)

RUNNING = Definition("capstan_running_requests", "gauge", "Requests that steps of the model advance.")
WAITING = Definition("capstan_waiting_requests", "gauge", "Requests that wait for their first step.")
SLOTS = Definition("capstan_slots", "gauge", "The most requests that can run at once.")
QUEUE_LIMIT = Definition(
    "capstan_queue_limit",
    "gauge",
    "The most requests that can wait: CAPSTAN_MAX_QUEUE_SECONDS of work at the model's present speed, at "
    "most CAPSTAN_MAX_WAITING.",
)
STEPS = Definition("capstan_steps_total", "counter", "Steps of the model.")
STEP_SECONDS = Definition(
    "capstan_step_seconds_total",
    "counter",
    "Seconds in steps: its rate is the part of time that the model is busy.",
)
STEP_REQUESTS = Definition(
    "capstan_step_requests_total",
    "counter",
    "Requests in all steps: its rate over that of steps is the batch size.",
)
PREFILL_TOKENS = Definition(
    "capstan_prefill_tokens_total", "counter", "Prompt tokens that the model has read."
)
DECODE_TOKENS = Definition("capstan_decode_tokens_total", "counter", "Tokens that the model has written.")
DRAFT_TOKENS = Definition(
    "capstan_draft_tokens_total",
    "counter",
    "Tokens that were guessed (CAPSTAN_PROMPT_LOOKUP); `result` is `accepted` or `rejected`.",
    ("result",),
)
PREFIX_TOKENS = Definition(
    "capstan_prefix_tokens_total", "counter", "Prompt tokens that were in the key-value cache already."
)
SHARED = Definition(
    "capstan_shared_requests_total", "counter", "Requests that were answered by the run of an equal one."
)
CACHE_PAGES = Definition(
    "capstan_cache_pages", "gauge", "Pages of the key-value cache; `state` is `used` or `free`.", ("state",)
)
PREEMPTIONS = Definition(
    "capstan_preemptions_total", "counter", "Requests that lost their pages to older ones, to be read again."
)
FEATURE_LOOKUPS = Definition(
    "capstan_feature_lookups_total",
    "counter",
    "Images looked up in the cache of features; `result` is `hit` or `miss`.",
    ("result",),
)
FEATURE_BYTES = Definition(
    "capstan_feature_cache_bytes", "gauge", "Bytes of the image features that are kept."
)
GPU_MEMORY = Definition(
    "capstan_gpu_memory_bytes",
    "gauge",
    "Memory of the replica's first GPU, by all processes; `state` is `used` or `free`. 0 without a GPU.",
    ("state",),
)
LOAD_SECONDS = Definition(
    "capstan_load_seconds", "gauge", "Seconds that a phase of the start took.", ("phase",)
)
INFO = Definition(
    "capstan_info", "gauge", "Always 1; the labels say what serves.", ("version", "runner", "device", "dtype")
)

DEFINITIONS = (
    REQUESTS,
    REQUEST_SECONDS,
    REFUSALS,
    FETCH_SECONDS,
    QUEUE_SECONDS,
    PREPARATION_SECONDS,
    PREFILL_SECONDS,
    FIRST_TOKEN_SECONDS,
    DECODE_SECONDS,
    TOKEN_INTERVAL_SECONDS,
    IMAGES,
    IMAGE_TILES,
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    GPU_SECONDS,
    RUNNING,
    WAITING,
    SLOTS,
    QUEUE_LIMIT,
    STEPS,
    STEP_SECONDS,
    STEP_REQUESTS,
    PREFILL_TOKENS,
    DECODE_TOKENS,
    DRAFT_TOKENS,
    PREFIX_TOKENS,
    SHARED,
    CACHE_PAGES,
    PREEMPTIONS,
    FEATURE_LOOKUPS,
    FEATURE_BYTES,
    GPU_MEMORY,
    LOAD_SECONDS,
    INFO,
)
