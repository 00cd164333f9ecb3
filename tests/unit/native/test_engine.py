"""The engine from request to text, over the embedded model."""

import asyncio
import random

import pytest

from service.errors import RequestError
from service.native.engine import Engine
from service.protocol.request import FinishReason, Request
from tests.support.running import (
    answer,
    ask,
    by_generate,
    embedded,
    mixed_requests,
    picture,
    running,
)


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
