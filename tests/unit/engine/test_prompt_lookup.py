"""Answers whose next tokens are guessed from what the sequence holds: the same tokens in fewer steps."""

from collections.abc import Sequence as AbstractSequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching import ContinuousBatcher
from service.engine.lookup import PromptLookup
from service.engine.pages import PageTable
from service.engine.runner.fused import FusedRunner
from service.engine.scheduler import Chunk, Scheduler
from service.engine.sequence import Sequence
from service.engine_options import RunnerName
from service.protocol.request import FinishReason, Request, Sampling
from tests.support.running import answer, ask, embedded, mixed_requests, picture, running, without_stops

VOCABULARY = 23
PAGE_TOKENS = 4
STOP = 22


def following(tokens: AbstractSequence[int]) -> int:
    """What the model of these tests writes: it repeats itself, with an exception now and then."""
    if len(tokens) % 11 == 0:
        return sum(tokens) % VOCABULARY
    return (3 * tokens[-1] + tokens[-2] if len(tokens) > 1 else tokens[-1]) % 7


class CachedTokens:
    """An executor whose cache holds the tokens themselves; it computes from what it finds there alone."""

    def __init__(self, pages: int) -> None:
        self.cells = torch.full((pages, PAGE_TOKENS), -1)

    def compute(self, chunks: AbstractSequence[Chunk]) -> torch.Tensor:
        """A one at the token that follows, [R, V]."""
        rows = list[int]()
        for chunk in chunks:
            at = torch.arange(chunk.end)
            pages, cells = torch.tensor(chunk.sequence.pages)[at // PAGE_TOKENS], at % PAGE_TOKENS
            new = slice(chunk.start, chunk.end)
            self.cells[pages[new], cells[new]] = torch.tensor(chunk.tokens)
            seen = self.cells[pages, cells].tolist()
            assert -1 not in seen
            rows += [following(seen[:end]) for end in range(chunk.end - len(chunk.draft), chunk.end + 1)]
        return torch.nn.functional.one_hot(torch.tensor(rows), VOCABULARY).float()

    def clear(self, page: int) -> None:
        """Forget a page."""
        self.cells[page] = -1

    def drop(self, sequence: Sequence) -> None:
        """Nothing is held."""


def batcher(
    pages: int, lookup: int, *, stop: int = STOP, executor: CachedTokens | None = None
) -> ContinuousBatcher:
    executor = executor or CachedTokens(pages)
    scheduler = Scheduler(
        PageTable(pages, PAGE_TOKENS), slots=4, step_tokens=8, chunk_tokens=3, clear=executor.clear
    )
    return ContinuousBatcher(
        executor,
        scheduler,
        name="tokens",
        stop_ids=frozenset((stop,)),
        context_length=1000,
        cache_bytes=0,
        prompt_lookup=lookup,
    )


def sequence_of(prompt: list[int], limit: int, **sampling: float) -> Sequence:
    return Sequence(Sampling(limit, **sampling), prompt=prompt, limit=limit)  # type: ignore[arg-type]


def served(one: ContinuousBatcher, sequences: list[Sequence]) -> int:
    """The steps until all have ended."""
    for sequence in sequences:
        one.add(sequence)
    steps = 0
    while one.step(lambda: None):
        steps += 1
        one.retire()
    return steps


def alone(prompt: list[int], limit: int, stop: int = STOP) -> tuple[list[int], FinishReason]:
    """An answer, token by token."""
    found = list[int]()
    while len(found) < limit:
        token = following(prompt + found)
        if token == stop:
            return found, FinishReason.STOP
        found.append(token)
    return found, FinishReason.LENGTH


def test_the_latest_place_of_the_longest_match_is_taken() -> None:
    """Three equal tokens count for more than two, and a late place for more than an early one."""
    lookup = PromptLookup([1, 2, 3, 50, 51, 9, 2, 3, 60, 61, 8, 2, 3, 70, 71], 2)
    assert lookup.draft([2, 3], 9) == (70, 71)
    assert lookup.draft([2, 3, 7, 1, 2, 3], 9) == (50, 51)


def test_a_repetition_goes_on_repeating() -> None:
    """A draft that is longer than what repeats repeats it again, within its bounds."""
    lookup = PromptLookup([4, 5, 6], 7)
    assert lookup.draft([4, 5, 6], 9) == (4, 5, 6, 4, 5, 6, 4)
    assert lookup.draft([4, 5, 6, 4], 2) == (5, 6)


def test_new_text_has_no_draft() -> None:
    """Where the last two tokens have not been seen before, nothing is guessed."""
    lookup = PromptLookup([1, 2, 3], 4)
    assert lookup.draft([], 9) == ()
    assert lookup.draft([2, 4], 9) == ()
    assert PromptLookup([1], 4).draft([], 9) == ()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(6, 12), min_size=1, max_size=12), st.integers(1, 40)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 6),
    st.sampled_from((14, 20, 60)),
    st.sampled_from((5, 8, STOP)),
)
def test_answers_are_those_without_guesses(
    asked: list[tuple[list[int], int]], lookup: int, pages: int, stop: int
) -> None:
    """Stops and limits inside a draft, few pages, chunks: each answer ends at the same token as alone."""
    sequences = [sequence_of(prompt, limit) for prompt, limit in asked]
    one = batcher(pages, lookup, stop=stop)
    served(one, sequences)
    found = [(sequence.answer, sequence.finish) for sequence in sequences]
    assert found == [alone(prompt, limit, stop) for prompt, limit in asked]
    assert one.table.used == 0


def test_right_guesses_save_steps() -> None:
    """Every right guess is a step less, and is counted."""
    plain, guessed = (sequence_of([6, 8, 6], 90) for _ in range(2))
    every, one = served(batcher(60, 0), [plain]), batcher(60, 4)
    steps = served(one, [guessed])
    stats = one.stats()
    assert guessed.answer == plain.answer
    assert stats.drafted_tokens > stats.accepted_tokens > 0
    assert steps == every - stats.accepted_tokens
    assert stats.decode_tokens == every - 1


def test_preempted_answers_are_the_same() -> None:
    """A sequence that gives its pages up in the middle of its guesses is computed again to the same end."""
    sequences = [sequence_of([6, 8, 6 + number], 40) for number in range(4)]
    one = batcher(16, 4)
    served(one, sequences)
    assert one.stats().preempted > 0
    assert one.stats().accepted_tokens > 0
    assert [sequence.answer for sequence in sequences] == [
        alone(sequence.prompt, 40)[0] for sequence in sequences
    ]


def test_guesses_take_no_page_from_others() -> None:
    """Where no page is free a draft is left out, and no younger sequence is preempted for it."""
    old, young = sequence_of([0, 0, 0], 5), sequence_of([0, 0, 1], 2)
    one = batcher(2, 4)
    served(one, [old, young])
    assert one.stats().preempted == 0
    assert one.stats().accepted_tokens > 0
    assert (old.answer, young.answer) == (alone(old.prompt, 5)[0], alone(young.prompt, 2)[0])


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 1.0}, {"top_logprobs": 0}, {"frequency_penalty": 0.1}, {"min_tokens": 3}],
)
def test_other_requests_are_not_guessed(sampling: dict[str, float]) -> None:
    """Sampling, probabilities and changed logits go token by token."""
    one = batcher(60, 4)
    served(one, [sequence_of([6, 8, 6], 40, **sampling)])
    assert one.stats().drafted_tokens == 0


def test_a_guess_that_is_no_number_ends_the_request() -> None:
    """A NaN after a wrong guess is in the cache as well, so the request fails and its pages are cleared."""

    class Broken(CachedTokens):
        def compute(self, chunks: AbstractSequence[Chunk]) -> torch.Tensor:
            logits = super().compute(chunks)
            if chunks[0].draft:
                logits[-1] = torch.nan
            return logits

    executor = Broken(60)
    one, sequence = batcher(60, 4, executor=executor), sequence_of([6, 8, 6], 40)
    served(one, [sequence])
    assert sequence.failed
    assert (executor.cells == -1).all()


def texts(requests: list[Request], lookup: int, **options: object) -> list[str]:
    with running(
        without_stops(), prompt_lookup=lookup, page_tokens=16, prefill_tokens=50, **options
    ) as engine:
        found = [completion.text for completion in answer(engine, *requests)]
        assert (engine.stats().accepted_tokens > 0) == (lookup > 0)
    return found


@pytest.mark.parametrize("runner", ["auto", "transformers"])
def test_the_model_writes_the_same_text(runner: RunnerName) -> None:
    """Repeating and other text, in a batch with sampled and penalized requests, over small pages."""
    ask_long = partial(ask, max_tokens=60)
    requests = [
        *(request for request in mixed_requests(5, seed=8)),
        ask_long(picture(1), "What is this?"),
        ask_long("a red circle and a blue square, " * 6),
        ask_long(picture(2), "?", temperature=0.8, seed=4),
        ask_long(picture(3), "?", repetition_penalty=1.2),
    ]
    assert texts(requests, 4, runner=runner, slots=5) == texts(requests, 0, runner=runner, slots=5)


def test_the_model_is_preempted_and_writes_the_same_text() -> None:
    """With few pages the model's answers are the same, too."""
    requests = [ask(picture(seed), max_tokens=70) for seed in range(5)]
    few = FusedRunner(embedded()).shape.token_bytes * 300
    assert texts(requests, 4, cache_bytes=few, slots=5) == texts(requests, 0)


def test_a_stop_string_ends_the_text_inside_a_draft() -> None:
    """A stop string in the middle of several new tokens ends the answer where it would end without."""
    request = ask(picture(1), "What is this?", max_tokens=60)
    (whole,) = texts([request], 0)
    word = whole.split()[len(whole.split()) // 2]
    stopped = replace(request, sampling=replace(request.sampling, stop=(word,)))
    with running(without_stops(), prompt_lookup=4) as guessing, running(without_stops()) as plain:
        (one,), (other,) = answer(guessing, stopped), answer(plain, stopped)
    assert (one.text, one.usage, one.finish_reason) == (other.text, other.usage, other.finish_reason)
