"""What is asked of the engine and what it gives back."""

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]

# Headers for requests that are made for the current one to servers of ours; none while tracing is off.
# Source: W3C Trace Context, section 3.
TRACE_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("trace_headers", default={})  # noqa: B039 - never changed


@dataclass(frozen=True)
class EncodedImage:
    """An image file as it came from outside; it is decoded only when its features are not known yet.

    `max_tiles` bounds its tiles (None: the model's own bound).
    """

    data: bytes
    max_tiles: int | None = None

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for the file's content."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """The frames of a video in their order, each an image file."""

    frames: tuple[EncodedImage, ...]


Content = str | EncodedImage | EncodedVideo


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation: texts, images and videos in the order in which they are to be read.

    `passed` are further fields for the chat template or another engine, such as `tool_calls`.
    """

    role: Role
    content: tuple[Content, ...]
    passed: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Grammar:
    """What an answer must match: a JSON schema, a regular expression, or a string of a JSON list.

    The text of `tool_calls` is a JSON object: `functions`, of which at least one is called, or with `single`
    exactly one. `source` is the request's field that it came from, which errors name.
    """

    kind: Literal["json_schema", "regex", "choice", "tool_calls"]
    text: str
    source: str = field(default="grammar", compare=False)


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop. Temperature 0 is greedy: top_p, top_k, min_p, seed are unused.

    Before `min_tokens` neither a stop token nor a stop string ends the answer; with `ignore_eos` no stop
    token does. `top_logprobs` of the likeliest tokens are reported with each (None: not even its own).
    `logit_bias` pairs token ids with what is added to their logits.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_p: float = 0.0
    min_tokens: int = 0
    ignore_eos: bool = False
    grammar: Grammar | None = None
    top_logprobs: int | None = None

    @property
    def deterministic(self) -> bool:
        """Whether equal requests have equal answers."""
        return self.temperature == 0 or self.seed is not None

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before a token is chosen."""
        return (
            self.repetition_penalty != 1.0
            or bool(self.presence_penalty or self.frequency_penalty or self.logit_bias)
            or self.min_tokens > 0
            or self.grammar is not None
        )

    @property
    def plain(self) -> bool:
        """Whether each token is the likeliest by the model's own logits, of which nothing else is asked."""
        return self.temperature == 0 and not self.adjusts and self.top_logprobs is None


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to be continued.

    `deadline` is a moment of ``time.monotonic()``; a request that is not done by then ends with
    `deadline_exceeded`. A request whose prompt and `max_tokens` together exceed the context is refused, or,
    with `shorten`, gets the tokens that are left after the prompt: right if `max_tokens` is a default.
    Requests that wait are taken from one `client` after another; those without a client are one. `passed` are
    variables of the chat template, or parameters for another engine as they came.
    """

    turns: tuple[Turn, ...]
    sampling: Sampling
    deadline: float | None = None
    shorten: bool = False
    client: str = ""
    passed: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The log probability of a token of an answer, and the likeliest `top` ones at its place, by token id."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SpelledLogprobs:
    """The same with the bytes of the tokens."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


class FinishReason(StrEnum):
    """Why a text ended: at a stop token or stop string, or at `max_tokens`."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost. `prompt_tokens` counts image tokens too."""

    prompt_tokens: int
    image_tiles: int
    completion_tokens: int

    @property
    def without_prompt(self) -> "Usage":
        """That of a further answer to the same prompt."""
        return Usage(0, 0, self.completion_tokens)


@dataclass
class RankTimeline:
    """The stages on a rank: moments of ``time.monotonic()``, which all processes of a machine share.

    0 for a stage that has not been reached. `compute` is the sequence's part of the seconds of its steps.
    """

    running: float = 0.0
    first_token: float = 0.0
    compute: float = 0.0


@dataclass(frozen=True, slots=True)
class Timings:
    """The seconds of a request's stages, one after the other, and the tokens of its answer.

    `queue` lasts until the preparation begins, which decodes images and tokenizes the prompt; `ready` until
    the first step of the model, `prefill` until the first token, `decode` until the last. Requests that share
    a run have its timings. `compute` is the request's part of the time of the steps that it was in, which
    they divide by tokens: the sum over all requests is the time that the model was busy.
    """

    queue: float
    preparation: float
    ready: float
    prefill: float
    decode: float
    compute: float
    tokens: int

    @property
    def first_token(self) -> float:
        """Seconds until the first token."""
        return self.queue + self.preparation + self.ready + self.prefill


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished text, without the stop token or stop string that ended it."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[SpelledLogprobs, ...] = ()
