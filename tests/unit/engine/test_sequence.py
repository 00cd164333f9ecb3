"""A sequence, token by token."""

from service.engine.sequence import Sequence
from service.protocol.request import FinishReason, Sampling

STOP = frozenset({0})


def write(sequence: Sequence, tokens: bytes) -> Sequence:
    for token in tokens:
        if not sequence.done:
            sequence.take(token, STOP)
    return sequence


def test_a_stop_token_ends_the_answer_and_is_not_part_of_it() -> None:
    """The stop token is neither kept nor counted."""
    sequence = write(Sequence(Sampling(9), limit=9), b"ab\0c")
    assert (bytes(sequence.answer), sequence.finish) == (b"ab", FinishReason.STOP)


def test_the_limit_ends_the_answer() -> None:
    """After its last allowed token an answer ends."""
    sequence = write(Sequence(Sampling(3), limit=3), b"abcd")
    assert (bytes(sequence.answer), sequence.finish) == (b"abc", FinishReason.LENGTH)


def test_tokens_that_were_seen_are_known() -> None:
    """Prompt and answer count, each token once."""
    sequence = Sequence(Sampling(9), prompt=[5, 5, 6], limit=9)
    assert set(sequence.seen) == {5, 6}
    write(sequence, b"\x06\x07")
    assert set(sequence.seen) == {5, 6, 7}
