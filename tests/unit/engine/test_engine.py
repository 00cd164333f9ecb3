"""The engine from request to text, over the embedded model."""

import asyncio
import random
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.engine import Engine
from service.engine.request import Completion, EncodedImage, FinishReason, Request, Sampling, Turn, Usage
from service.engine.runner.fused import FusedRunner
from service.errors import EngineStopped, ErrorCode, RequestError
from tests.unit.engine.running import ask, by_generate, embedded, picture, running

DEADLINE_SECONDS = 30.0


def answer(engine: Engine, *requests: Request) -> list[Completion]:
    """The answers to requests that are sent together."""

    async def all_of_them() -> list[Completion]:
        handles = [engine.submit(request) for request in requests]
        return await asyncio.gather(*(handle.result() for handle in handles))

    return asyncio.run(asyncio.wait_for(all_of_them(), DEADLINE_SECONDS))


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0)


def mixed_requests(count: int, seed: int) -> list[Request]:
    """Requests of all sorts: images of several sizes, several images, none, turns, long and short prompts."""
    chance, found = random.Random(seed), list[Request]()
    sizes = [(112, 112), (112, 224), (168, 84), (300, 100)]
    for number in range(count):
        words = " ".join(["describe"] * chance.choice([1, 5, 60]))
        pictures = [picture(seed * 1000 + number * 3 + k, *chance.choice(sizes)) for k in range(2)]
        content: tuple[str | EncodedImage, ...] = (*pictures[: chance.choice([0, 1, 1, 1, 2])], words)
        turns: tuple[Turn, ...] = (Turn("user", content),)
        if chance.random() < 0.2:
            turns = (Turn("user", ("Hello.",)), Turn("assistant", ("a red circle",)), *turns)
        found.append(Request(turns, Sampling(chance.choice([1, 4, 12, 40]))))
    return found


@pytest.mark.slow
def test_answers_equal_generate_whatever_the_batch_and_the_arrival() -> None:
    """Greedy text equals `generate` token for token for requests of all sorts that arrive at any time."""
    requests = mixed_requests(40, seed=1)
    expected = [by_generate(embedded(), request) for request in requests]

    async def arrive_at_random(engine: Engine) -> list[str]:
        chance = random.Random(2)

        async def one(request: Request) -> str:
            await asyncio.sleep(chance.random() * 0.3)
            return (await engine.submit(request).result()).text

        return await asyncio.gather(*map(one, requests))

    with running(slots=8, prefill_tokens=200) as engine:
        assert asyncio.run(arrive_at_random(engine)) == expected


@pytest.mark.slow
def test_a_prompt_read_in_chunks_gives_the_same_answer() -> None:
    """However small the chunks in which a prompt is read, the answer is that of `generate`."""
    request = ask(picture(5), "What is " * 50)
    with running(prefill_tokens=7) as engine:
        (completion,) = answer(engine, request)
    assert completion.text == by_generate(embedded(), request)


def test_repetition_penalty_is_that_of_generate() -> None:
    """With a repetition penalty the greedy text still equals `generate`'s."""
    request = ask(picture(6), "Describe the image.", repetition_penalty=1.4)
    with running() as engine:
        (completion,) = answer(engine, request)
    # transformers counts the prompt's tokens too, as does the engine.
    assert completion.text == by_generate(embedded(), request, repetition_penalty=1.4)


@pytest.mark.parametrize("runner", ["auto", "transformers", "generate"])
def test_no_stop_ends_an_answer_too_early(runner: str) -> None:
    """Stop tokens and stop strings count once min_tokens are written, and with ignore_eos never."""
    with running(runner=runner) as engine:
        plain, longer, endless, cut = answer(
            engine,
            ask(picture(8), "?"),
            ask(picture(8), "?", min_tokens=12),
            ask(picture(8), "?", ignore_eos=True),
            ask(picture(8), "?", stop=("a",), min_tokens=4),
        )
    assert plain.usage.completion_tokens < 12 <= longer.usage.completion_tokens
    assert (endless.usage.completion_tokens, endless.finish_reason) == (16, FinishReason.LENGTH)
    assert endless.text.startswith(plain.text)
    assert cut.usage.completion_tokens > 4


def test_a_bias_decides_and_must_be_of_a_token() -> None:
    """A bias of 100 makes its token the next one; one of a token that does not exist is refused."""
    with running() as engine:
        (plain,) = answer(engine, ask(picture(8), "?"))
        (biased,) = answer(engine, ask(picture(8), "?", logit_bias=((40, 100.0),), max_tokens=3))
        with pytest.raises(RequestError, match="logit_bias has token 99999"):
            answer(engine, ask(picture(8), "?", logit_bias=((99_999, 1.0),)))
    text = embedded().tokenizer.decode([40, 40, 40])
    assert biased.text == text != plain.text


def test_a_seed_gives_the_same_text_alone_and_in_a_batch() -> None:
    """A seeded request draws the same text whatever else runs."""
    seeded = ask(picture(7), "Describe the image.", temperature=1.5, seed=11)
    with running() as engine:
        (alone,) = answer(engine, seeded)
        among = answer(engine, *mixed_requests(6, seed=3), seeded, *mixed_requests(6, seed=4))[6]
    assert alone.text == among.text


def test_usage_and_finish_reason_are_known() -> None:
    """A completion says what it cost and why it ended."""
    with running() as engine:
        whole, cut = answer(engine, ask(picture(8), "?"), ask(picture(8), "?", max_tokens=3))
    assert (whole.finish_reason, cut.finish_reason) == (FinishReason.STOP, FinishReason.LENGTH)
    assert (whole.usage.image_tiles, cut.usage.completion_tokens) == (5, 3)
    assert whole.usage.prompt_tokens == cut.usage.prompt_tokens > 20


@pytest.mark.slow
def test_a_stop_string_ends_the_text_before_it() -> None:
    """The text ends before the first stop string."""
    with running() as engine:
        whole, cut = answer(engine, ask(picture(8), "?"), ask(picture(8), "?", stop=(" of", " above")))
    assert whole.text.replace(" above", " of").split(" of")[0].removesuffix(" left") in whole.text
    assert cut.text == whole.text.split(" of")[0].split(" above")[0]
    assert cut.finish_reason is FinishReason.STOP


@pytest.mark.slow
def test_a_stream_gives_the_same_text_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a stream join to the whole text, and its completion follows."""
    read, run = threading.Event(), FusedRunner.run

    def run_once_read(runner: FusedRunner, chunks: Any) -> Any:
        # A reader that falls behind gets several pieces as one, so each step waits for it.
        read.wait(0.2)
        read.clear()
        return run(runner, chunks)

    async def stream(engine: Engine) -> tuple[list[str], Completion | None]:
        handle, pieces = engine.submit(ask(picture(9), "Describe the image.")), []
        async for piece in handle.stream():
            pieces.append(piece)
            read.set()
        return pieces, handle.completion

    with running() as engine:
        (whole,) = answer(engine, ask(picture(9), "Describe the image."))
        monkeypatch.setattr(FusedRunner, "run", run_once_read)
        pieces, completion = asyncio.run(stream(engine))
    assert len(pieces) > 3
    assert "".join(pieces) == whole.text
    assert completion is not None
    assert (completion.text, completion.usage) == (whole.text, whole.usage)


def test_a_cancelled_request_frees_its_slot_within_two_steps() -> None:
    """A client that goes away frees its slot in two steps at most, and the others go on."""

    async def cancel(engine: Engine) -> int:
        task = asyncio.ensure_future(
            engine.submit(ask("count " * 20, max_tokens=2000, shorten=True)).result()
        )
        await until(lambda: engine.stats().decode_tokens > 3)
        before = engine.stats().decode_tokens
        task.cancel()
        await until(lambda: engine.stats().running == 0)
        return engine.stats().decode_tokens - before

    loaded = without_stops()
    with running(loaded) as engine:
        # One more may begin between reading the counter and cancelling.
        assert asyncio.run(cancel(engine)) <= 3
        assert engine.stats().cancelled == 1
        assert engine.stats().slots_free == 64


def test_what_was_spent_on_a_stream_that_breaks_off_is_known() -> None:
    """A stream whose reader leaves has the tokens of its prompt and those written by then."""

    async def leave(engine: Engine) -> Usage | None:
        handle = engine.submit(ask("count " * 20, max_tokens=2000, shorten=True))
        stream = handle.stream()
        pieces = [await anext(stream) for _ in range(3)]
        await stream.aclose()  # type: ignore[attr-defined]
        assert all(pieces)
        return handle.broken_off

    with running(without_stops()) as engine:
        spent = asyncio.run(leave(engine))
        assert spent is not None
        assert spent.prompt_tokens > 20
        assert 3 <= spent.completion_tokens <= engine.stats().decode_tokens + 1


def without_stops() -> LoadedModel:
    """The embedded model, which now writes until its limit."""
    return replace(embedded(), stop_ids=frozenset())


def test_a_request_past_its_deadline_is_given_up() -> None:
    """A request that is not done by its deadline ends with that code, and frees its slot."""
    with running(without_stops()) as engine:
        with pytest.raises(RequestError) as caught:
            answer(engine, ask("?", max_tokens=3000, deadline=time.monotonic() + 0.2))
        assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
        asyncio.run(until(lambda: (engine.stats().running, engine.stats().failed) == (0, 1)))


def test_a_full_queue_refuses_at_once() -> None:
    """A request beyond slots and queue is refused with the numbers."""

    async def overfill(engine: Engine) -> None:
        handles = [engine.submit(ask(f"{n}", max_tokens=3000, shorten=True)) for n in range(3)]
        with pytest.raises(RequestError) as caught:
            engine.submit(ask("4"))
        assert caught.value.code is ErrorCode.OVERLOADED
        assert "3 requests are in flight; the limit is 3" in caught.value.message
        for handle in handles:
            handle.cancel()
        await until(lambda: engine.stats().cancelled == 3)

    with running(without_stops(), slots=2, max_waiting=1) as engine:
        asyncio.run(overfill(engine))
        assert engine.stats().refused == 1


def test_the_queue_is_as_long_as_its_seconds_of_work() -> None:
    """Once the speed of the model is known, no more requests wait than it computes in those seconds."""

    async def overfill(engine: Engine) -> None:
        number = 0
        while engine.stats().work is None:
            number += 1
            await engine.submit(ask(f"{number}", max_tokens=200)).result()
        generations = [engine.submit(ask(f"{n} more", max_tokens=3000, shorten=True)) for n in range(2)]
        with pytest.raises(RequestError) as caught:
            engine.submit(ask("4"))
        assert "the limit is 2 (CAPSTAN_MAX_QUEUE_SECONDS" in caught.value.message
        assert caught.value.retry_after is not None
        for generation in generations:
            generation.cancel()

    with running(without_stops(), slots=1, max_waiting=100, queue_seconds=1e-9) as engine:
        asyncio.run(overfill(engine))


def test_the_queue_follows_the_model_s_speed_by_itself() -> None:
    """Admission measures the work, so the limit is right although nothing reads the engine's counters."""

    async def work(engine: Engine) -> None:
        for number in range(200):
            engine.check_admission("")
            if engine.requests.limit == 2:
                return
            await engine.submit(ask(f"{number}", max_tokens=200)).result()
        pytest.fail("the limit never followed the speed")

    with running(without_stops(), slots=1, max_waiting=100, queue_seconds=1e-9) as engine:
        asyncio.run(work(engine))


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        (ask("word " * 5000), "prompt", "the limit is 4095"),
        (ask("?", max_tokens=4096), "max_tokens", "the limit is 4096; lower max_tokens to"),
    ],
    ids=["prompt", "max_tokens"],
)
def test_what_can_never_fit_is_refused_with_the_numbers(request_: Request, field: str, words: str) -> None:
    """A request that the context cannot hold is refused, and the message says by how much."""
    with running() as engine, pytest.raises(RequestError, match=words) as caught:
        answer(engine, request_)
    assert (caught.value.code, caught.value.field) == (ErrorCode.CONTEXT_LENGTH_EXCEEDED, field)


@pytest.mark.slow
def test_a_default_limit_is_shortened_to_what_fits() -> None:
    """A default of max_tokens becomes what the context leaves."""
    with running(without_stops(), cache_bytes=2 * 2**20) as engine:
        (completion,) = answer(engine, ask("?", max_tokens=100_000, shorten=True))
        total = completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert total == engine.describe().context_length < 4096


@pytest.mark.slow
def test_a_bad_image_fails_alone() -> None:
    """A request whose image cannot be decoded is refused while others are answered."""

    async def mixed(engine: Engine) -> list[Completion | BaseException]:
        requests = [ask(picture(1), "?"), ask(EncodedImage(b"no image"), "?"), ask(picture(2), "?")]
        tasks = [engine.submit(request).result() for request in requests]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running() as engine:
        good, bad, other = asyncio.run(mixed(engine))
    assert isinstance(good, Completion)
    assert isinstance(other, Completion)
    assert isinstance(bad, RequestError)
    assert bad.code is ErrorCode.UNSUPPORTED_IMAGE


@pytest.mark.slow
def test_a_failing_step_ends_its_requests_and_not_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step throws becomes an error of those that took part; the next request is answered."""
    with running() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(FusedRunner, "run", lambda *_: 1 / 0)
            with pytest.raises(RequestError) as caught:
                answer(engine, ask(picture(1), "?"))
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        assert answer(engine, ask(picture(1), "?"))[0].text
        engine.check()


def test_an_engine_that_has_ended_says_so() -> None:
    """check() raises once the engine is closed, and requests in progress end with an error."""

    async def close_meanwhile(engine: Engine) -> None:
        handle = engine.submit(ask("?", max_tokens=3000))
        await until(lambda: engine.stats().running == 1)
        await asyncio.to_thread(engine.close, 5)
        await handle.result()

    with running(without_stops()) as engine:
        engine.check()
        with pytest.raises(RequestError) as caught:
            asyncio.run(close_meanwhile(engine))
        assert caught.value.code is ErrorCode.NOT_READY
        with pytest.raises(EngineStopped):
            engine.check()


def test_timings_follow_one_another_within_the_time_of_the_request() -> None:
    """A completion says how long each stage took; together they are no longer than the request."""
    with running() as engine:
        start = time.monotonic()
        timings = answer(engine, ask(picture(1), "describe"))[0].timings
        elapsed = time.monotonic() - start
    stages = (timings.queue, timings.preparation, timings.ready, timings.prefill, timings.decode)
    assert all(seconds >= 0 for seconds in stages)
    assert 0 < timings.first_token < sum(stages) <= elapsed
    assert 0 < timings.compute <= timings.prefill + timings.decode


def test_requests_divide_the_time_of_the_steps_among_them() -> None:
    """What requests are charged adds up to the time that the model was busy, shared answers included."""
    with running() as engine:
        before = engine.stats()
        completions = answer(engine, *mixed_requests(10, seed=5), *[ask(picture(7), "describe")] * 4)
        after = engine.stats()
    charged = sum(completion.timings.compute for completion in completions)
    busy = after.step_seconds - before.step_seconds
    assert 0.8 * busy < charged <= busy
    assert after.step_sequences >= after.steps > 0


def test_static_batches_divide_their_time_too() -> None:
    """Whole batches charge their sequences the time that they took."""
    with running(runner="generate") as engine:
        completions = answer(engine, *mixed_requests(6, seed=6))
        stats = engine.stats()
    charged = sum(completion.timings.compute for completion in completions)
    assert 0.8 * stats.step_seconds < charged <= 1.01 * stats.step_seconds
    assert stats.step_sequences >= stats.steps / 2
