"""An answer, token by token."""

import asyncio
from collections.abc import Sequence

from service.native.answer import Answer
from service.native.request_handle import RequestHandle
from service.prompt.detokenizer import Detokenizer
from service.protocol.request import FinishReason, Request, Sampling
from tests.unit.prompt.test_detokenizer import Bytes


def answer_of(*stop: str) -> Answer:
    return Answer(1, Request((), Sampling(9, stop=stop)), detokenizer=Detokenizer(Bytes(), stop))


def text_of(answer: Answer) -> str:
    return answer.completion(1).text


def test_text_is_spelled_out_at_the_end() -> None:
    """Tokens that come in several messages are one text, and each is counted."""
    answer = answer_of()
    answer.take(list(b"ab"))
    answer.take(list(b"c"), FinishReason.LENGTH)
    assert (text_of(answer), answer.finish) == ("abc", FinishReason.LENGTH)
    assert answer.completion(1).usage.completion_tokens == 3


def test_a_stop_string_ends_the_text_before_the_sequence_ends() -> None:
    """At a stop string the answer is done; tokens after it are neither in the text nor counted."""
    answer = answer_of("cd")
    answer.take(list(b"abc"))
    assert not answer.done
    answer.take(list(b"dxy"))
    assert (text_of(answer), answer.finish) == ("ab", FinishReason.STOP)
    answer.take(list(b"z"), FinishReason.LENGTH)
    assert (answer.finish, len(answer.tokens)) == (FinishReason.STOP, 4)


def test_a_stop_string_counts_even_at_the_limit() -> None:
    """A stop string that the last allowed token completes ends the text as a stop."""
    answer = answer_of("cd")
    answer.take(list(b"abcd"), FinishReason.LENGTH)
    assert (text_of(answer), answer.finish) == ("ab", FinishReason.STOP)


def test_a_character_that_never_ends_comes_out_at_the_limit() -> None:
    """What is left of a cut character is shown as such."""
    answer = answer_of()
    answer.take(list("a🙂".encode())[:3], FinishReason.LENGTH)
    assert text_of(answer) == "a\ufffd"


def test_text_is_spelled_out_while_it_is_read() -> None:
    """Tokens become text as they come only if a request streams them."""

    async def read() -> Sequence[str]:
        answer, found = answer_of(), list[str]()
        answer.handles.append(RequestHandle(lambda _: None))
        for token in b"abc":
            answer.take([token])
            assert answer.detokenizer is not None
            found.append(answer.detokenizer.text)
            answer.handles[0].streamed = True
        return found

    assert asyncio.run(read()) == ["", "ab", "abc"]
