"""Log probabilities of tokens."""

import asyncio
import math

import pytest
import torch

from service.engine.sampling.logprobs import LEAST, logprobs
from service.engine.sequence import Sequence
from service.native.engine import Engine
from service.protocol.request import Sampling, SpelledLogprobs
from tests.support.running import answer, ask, embedded, picture, running


def test_logprobs_are_those_of_the_model() -> None:
    """Rows that ask get the log softmax of their token and of the likeliest; the others get nothing."""
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    logits[2, 7] = -torch.inf
    counts = (None, 2, 0)
    sequences = [Sequence(Sampling(8, top_logprobs=count)) for count in counts]
    found = logprobs(logits, sequences, [4, 5, 7])
    expected = logits.log_softmax(-1)
    assert set(found) == {1, 2}
    assert found[1].logprob == pytest.approx(expected[1, 5].item())
    values, ids = expected[1].topk(2)
    assert found[1].top == tuple(zip(ids.tolist(), values.tolist(), strict=True))
    assert (found[2].token, found[2].logprob, found[2].top) == (7, LEAST, ())


@pytest.mark.parametrize("runner", ["auto", "generate"])
def test_a_greedy_answer_has_the_likeliest_tokens(runner: str) -> None:
    """The tokens together spell the text, and each is the first of the likeliest; stop tokens have none."""
    with running(runner=runner) as engine:
        whole, cut, plain = answer(
            engine,
            ask(picture(8), "?", top_logprobs=3),
            ask(picture(8), "?", top_logprobs=0, stop=(" of",)),
            ask(picture(8), "?"),
        )
    assert b"".join(one.token for one in whole.logprobs).decode() == whole.text == plain.text
    assert len(whole.logprobs) == whole.usage.completion_tokens
    assert all(one.top[0] == (one.token, one.logprob) and len(one.top) == 3 for one in whole.logprobs)
    assert all(sum(math.exp(logprob) for _, logprob in one.top) <= 1.0001 for one in whole.logprobs)
    assert len(cut.logprobs) == cut.usage.completion_tokens
    assert plain.logprobs == ()


def test_a_stream_gives_each_once() -> None:
    """A reader of a stream gets the same as in the whole answer, each token once."""
    request = ask(picture(8), "?", top_logprobs=1)

    async def read(engine: Engine) -> tuple[list[SpelledLogprobs], tuple[SpelledLogprobs, ...]]:
        handle, found = engine.submit(request), list[SpelledLogprobs]()
        async for _ in handle.stream():
            found += handle.take_logprobs()
        found += handle.take_logprobs()
        assert handle.completion is not None
        return found, handle.completion.logprobs

    with running(embedded()) as engine:
        found, expected = asyncio.run(asyncio.wait_for(read(engine), 30))
    assert tuple(found) == expected != ()
