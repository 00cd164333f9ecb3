"""The answer to a request, or to several equal ones, while it is being written."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from service.errors import ErrorCode, RequestError
from service.native.feature_directory import KeptFeatures
from service.native.request_handle import RequestHandle
from service.prompt.detokenizer import Detokenizer
from service.protocol.request import (
    Completion,
    FinishReason,
    RankTimeline,
    Request,
    Sampling,
    SpelledLogprobs,
    Timings,
    TokenLogprobs,
    Usage,
)


@dataclass(slots=True)
class Timeline:
    """The stages of a request: moments of ``time.monotonic()``; 0 for a stage that has not been reached."""

    submitted: float = field(default_factory=monotonic)
    preparing: float = 0.0
    prepared: float = 0.0
    rank: RankTimeline = field(default_factory=RankTimeline)

    def timings(self, *, tokens: int, sharers: int) -> Timings:
        """The stages of a request that ends now; `sharers` requests divide its computing time."""
        rank = self.rank
        return Timings(
            queue=self.preparing - self.submitted,
            preparation=self.prepared - self.preparing,
            ready=max(0.0, rank.running - self.prepared),
            prefill=rank.first_token - rank.running,
            decode=monotonic() - rank.first_token,
            compute=rank.compute / sharers,
            tokens=tokens,
        )


@dataclass(eq=False)
class Answer:
    """What the HTTP process knows of a sequence; its rank has a `Sequence` of the same `number`.

    `handles` are the requests that wait for it, `key` is what equal requests have in common. `kept` are the
    cached features that its images come from or go to. It has `begun` once rank 0 works on it.
    """

    number: int
    request: Request
    handles: list[RequestHandle] = field(default_factory=list)
    key: Hashable | None = None
    kept: list[KeptFeatures] = field(default_factory=list)
    begun: bool = False
    prompt_tokens: int = 0
    image_tiles: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[SpelledLogprobs] = field(default_factory=list)
    spell: Callable[[int], bytes] = lambda _: b""
    detokenizer: Detokenizer | None = None
    finish: FinishReason | None = None
    error: RequestError | None = None
    cancelled: bool = False
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def done(self) -> bool:
        """Whether no more text is needed."""
        return self.finish is not None or self.error is not None or self.cancelled

    def take(
        self,
        tokens: list[int],
        finish: FinishReason | None = None,
        logprobs: list[TokenLogprobs] | None = None,
    ) -> None:
        """Append tokens, and spell out what is read; what comes after a stop string is dropped."""
        text = self.detokenizer
        if text is None or self.done:
            return
        if self.request.sampling.stop:
            for token in tokens:
                if not text.stopped:
                    self.tokens.append(token)
                    text.add([token], may_stop=len(self.tokens) > self.request.sampling.min_tokens)
        else:
            self.tokens += tokens
            if finish is not None or any(handle.streamed for handle in self.handles):
                text.add(self.tokens[text.taken :])
        if finish is not None:
            text.finish()
        self.finish = FinishReason.STOP if text.stopped else finish
        if logprobs:
            left = len(self.tokens) - len(self.logprobs)  # no more than up to a stop string
            self.logprobs += [_spelled(one, self.spell) for one in logprobs[:left]]

    @property
    def usage(self) -> Usage:
        """What has been spent on it."""
        return Usage(self.prompt_tokens, self.image_tiles, completion_tokens=len(self.tokens))

    def completion(self, sharers: int) -> Completion:
        """The finished text, and what it cost each of the requests that share it."""
        return Completion(
            text=self.detokenizer.text if self.detokenizer else "",
            finish_reason=self.finish or FinishReason.STOP,
            usage=self.usage,
            logprobs=tuple(self.logprobs),
            timings=self.timeline.timings(tokens=len(self.tokens), sharers=sharers),
        )


def answers_to(requests: Sequence[Request], numbers: Iterator[int]) -> list[Answer]:
    """The answer of each of several requests that differ in their sampling alone; equal ones may have one."""
    answers = dict[Sampling, Answer]()
    found = list[Answer]()
    for request in requests:
        answer = answers.get(request.sampling)
        if answer is None or not request.sampling.deterministic:
            answer = answers[request.sampling] = Answer(next(numbers), request)
        found.append(answer)
    return found


def _spelled(one: TokenLogprobs, spell: Callable[[int], bytes]) -> SpelledLogprobs:
    top = tuple((spell(token), logprob) for token, logprob in one.top)
    return SpelledLogprobs(spell(one.token), one.logprob, top)


def fault() -> RequestError:
    """What a client gets for an error of the server."""
    return RequestError(ErrorCode.INTERNAL_ERROR, "the server failed on this request; its log says why")


def not_ready() -> RequestError:
    """What a client gets from an engine that ends."""
    return RequestError(ErrorCode.NOT_READY, "the server is shutting down; try again")


def failed() -> RequestError:
    """What a client gets whose request was in progress when the engine failed."""
    return RequestError(
        ErrorCode.INTERNAL_ERROR, "the engine failed while it worked on this request; its log says why"
    )
