"""One computation, token by token."""

from service.engine.detokenizer import Detokenizer
from service.engine.request import FinishReason, Request, Sampling
from service.engine.sequence import Sequence
from tests.unit.engine.test_detokenizer import Bytes

STOP = frozenset({0})


def run_of(limit: int = 9, *stop: str) -> Sequence:
    request = Request((), Sampling(limit, stop=stop))
    return Sequence(request, limit=limit, detokenizer=Detokenizer(Bytes(), stop))


def write(run: Sequence, data: bytes) -> tuple[str, FinishReason | None]:
    for token in data:
        if not run.done:
            run.take(token, STOP)
    assert run.detokenizer is not None
    return run.detokenizer.text, run.finish


def test_a_stop_token_ends_the_text_and_is_not_part_of_it() -> None:
    """The stop token is neither in the text nor counted."""
    run = run_of()
    assert write(run, b"ab\0c") == ("ab", FinishReason.STOP)
    assert len(run.answer) == 2


def test_the_limit_ends_the_text() -> None:
    """After its last allowed token an answer ends for want of room."""
    assert write(run_of(3), b"abcd") == ("abc", FinishReason.LENGTH)


def test_a_stop_string_counts_even_at_the_limit() -> None:
    """A stop string that the last allowed token completes ends the text as a stop."""
    assert write(run_of(4, "cd"), b"abcd") == ("ab", FinishReason.STOP)


def test_a_character_that_never_ends_comes_out_at_the_limit() -> None:
    """What is left of a cut character is shown as such."""
    assert write(run_of(3), "a🙂".encode()) == ("a\ufffd", FinishReason.LENGTH)


def test_tokens_that_were_seen_are_known() -> None:
    """Prompt and answer count, each token once."""
    run = run_of()
    run.prompt = [5, 5, 6]
    assert set(run.seen) == {5, 6}
    write(run, b"\x06\x07")
    assert set(run.seen) == {5, 6, 7}
