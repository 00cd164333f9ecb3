"""The scheduling policy, without a model."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.pages import PageTable, page_hashes
from service.engine.scheduler import Chunk, Scheduler
from service.engine.sequence import Sequence
from service.protocol.request import FinishReason, Sampling


def sequence_of(prompt: int, limit: int = 1, first: int = 0) -> Sequence:
    tokens = list(range(first, first + prompt))
    return Sequence(Sampling(limit), prompt=tokens, limit=limit, page_hashes=page_hashes(tokens, None, 4))


def scheduler(pages: int = 50, slots: int = 8, step: int = 1000, chunk: int = 512) -> Scheduler:
    return Scheduler(PageTable(pages, 4), slots=slots, step_tokens=step, chunk_tokens=chunk)


def step(scheduler: Scheduler) -> list[Chunk]:
    """A step in which every sequence that has been read writes a token."""
    chunks = scheduler.schedule()
    for chunk in chunks:
        last = chunk.last
        scheduler.computed(chunk)
        if last:
            chunk.sequence.take(7, frozenset())
    scheduler.retire()
    return chunks


def spans(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(chunk.start, chunk.end) for chunk in chunks]


def test_prompts_are_served_first_come_first_served_within_the_budget() -> None:
    """The budget of a step goes to the first prompt, then to the next; none is read round-robin."""
    one = scheduler(step=6)
    for sequence in (sequence_of(10), sequence_of(5, first=50)):
        one.add(sequence)
    assert [spans(step(one)) for _ in range(3)] == [[(0, 6)], [(6, 10), (0, 2)], [(2, 5)]]


def test_a_prompt_is_read_while_others_write() -> None:
    """A step has one token of each writing sequence and a chunk of the next prompt."""
    one = scheduler(chunk=3)
    one.add(sequence_of(4, limit=9))
    step(one)
    one.add(sequence_of(8, first=50))
    assert spans(step(one)) == [(4, 5), (0, 3)]


def test_no_later_sequence_overtakes_one_that_must_wait() -> None:
    """A long prompt at the head of the queue is not starved by short ones behind it."""
    one = scheduler(pages=3)
    for sequence in (sequence_of(8, limit=3), sequence_of(8, first=50), sequence_of(2, first=90)):
        one.add(sequence)
    assert len(step(one)) == 1
    assert len(one.waiting) == 2


def test_the_youngest_is_preempted_and_ends_all_the_same() -> None:
    """Where no page is free the youngest gives its pages up, and is computed again, answer and all."""
    one, old, young = scheduler(pages=3), sequence_of(4, limit=6), sequence_of(4, limit=6, first=50)
    one.add(old)
    one.add(young)
    while not (old.done and young.done):
        assert step(one)
    assert one.preempted > 0
    assert (len(old.answer), len(young.answer)) == (6, 6)
    assert one.table.used == 0


def test_a_known_beginning_is_not_read_again() -> None:
    """A prompt whose first pages are in the cache is read from there on, its last token at least."""
    one = scheduler()
    one.add(sequence_of(8))
    step(one)
    one.add(sequence_of(8))
    assert spans(step(one)) == [(4, 8)]


def test_a_prompt_that_is_being_read_is_not_read_twice() -> None:
    """Prompts that begin like one in progress wait for its pages and read their own ends; others go on."""
    one = scheduler(step=16)
    for first in (0, 0, 50, 0):
        one.add(sequence_of(12, first=first))
    assert [spans(step(one)) for _ in range(2)] == [[(0, 12), (0, 4)], [(4, 12), (8, 12), (8, 12)]]


def test_a_prompt_is_read_by_the_next_if_the_one_that_reads_it_leaves() -> None:
    """Those that wait for the pages of a cancelled sequence read the prompt themselves, at once."""
    one = scheduler(step=4)
    one.add(gone := sequence_of(12))
    one.add(sequence_of(12))
    one.add(sequence_of(12))
    step(one)
    gone.cancelled = True
    assert [spans(step(one)) for _ in range(3)] == [[(4, 8)], [(8, 12)], [(8, 12)]]


def test_sequences_that_wait_for_pages_keep_their_slots() -> None:
    """A sequence that waits for another's pages is not left without a slot by those behind it."""
    one = scheduler(slots=2)
    for first in (0, 0, 50):
        one.add(sequence_of(8, limit=3, first=first))
    assert [[chunk.sequence.prompt[0] for chunk in step(one)] for _ in range(2)] == [[0], [0, 0]]


def test_a_cancelled_sequence_that_waits_holds_up_no_other() -> None:
    """One that is cancelled before it has begun is passed over in the same step."""
    one = scheduler()
    one.add(gone := sequence_of(4))
    one.add(sequence_of(4, first=50))
    gone.cancelled = True
    assert spans(step(one)) == [(0, 4)]
    assert not one.waiting


def test_a_cancelled_sequence_is_not_read_to_its_end() -> None:
    """A sequence that ends between chunks has no further chunk, and its pages are cleared."""
    cleared = list[int]()
    one = Scheduler(PageTable(9, 4), slots=2, step_tokens=4, chunk_tokens=4, clear=cleared.append)
    one.add(gone := sequence_of(12))
    step(one)
    gone.cancelled = True
    assert step(one) == []
    assert (one.table.used, len(cleared)) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(8, 20),
    st.integers(1, 9),
)
def test_every_sequence_ends(work: list[tuple[int, int, int]], pages: int, budget: int) -> None:
    """However little fits, all answers are written in full, within the budget, and no page is lost."""
    one = scheduler(pages=pages, slots=4, step=budget, chunk=3)
    sequences = [sequence_of(prompt, limit, first) for prompt, limit, first in work]
    for sequence in sequences:
        one.add(sequence)
    for _ in range(3000):
        if all(sequence.done for sequence in sequences):
            break
        chunks = step(one)
        assert chunks, "nothing moves"
        assert len({id(chunk.sequence) for chunk in chunks}) == len(chunks)
        assert sum(chunk.end - chunk.start for chunk in chunks) <= budget + 4
    assert all(sequence.finish is FinishReason.LENGTH for sequence in sequences)
    assert [len(sequence.answer) for sequence in sequences] == [limit for _, limit, _ in work]
    assert one.table.used == 0
