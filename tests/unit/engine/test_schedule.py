"""Who is served when: the scheduler without a model."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.pools import Place, Pools
from service.engine.request import FinishReason, Request, Sampling
from service.engine.schedule import Chunk, Scheduler
from service.engine.sequence import Sequence


class Moves:
    """Remembers which rows were copied onto which, and how many tokens of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def __call__(self, source: Place, target: Place, length: int) -> None:
        assert source.pool is target.pool
        self.seen.append((source.row, target.row, length))


def run_of(prompt: int, limit: int = 1) -> Sequence:
    return Sequence(Request((), Sampling(limit)), prompt=list(range(prompt)), limit=limit)


def scheduler(
    tokens: int,
    *capacities: int,
    slots: int = 64,
    prefill_tokens: int = 1000,
    moves: Moves | None = None,
) -> Scheduler:
    pools = Pools(tokens, capacities, rows=slots)
    return Scheduler(pools, slots=slots, prefill_tokens=prefill_tokens, move=moves or Moves())


def started(schedule: Scheduler, *runs: Sequence) -> None:
    for run in runs:
        schedule.add(run)
    schedule.admit()


def test_runs_are_taken_in_the_order_of_arrival() -> None:
    """The first to come gets the first row."""
    schedule, runs = scheduler(20, 10), [run_of(3), run_of(3), run_of(3)]
    started(schedule, *runs)
    assert schedule.running == [runs[:2]]
    assert list(schedule.waiting) == runs[2:]


def test_no_later_run_overtakes_one_that_must_wait() -> None:
    """A long run at the head of the queue is not starved by short ones behind it."""
    schedule = scheduler(120, 10, 100)
    long_1, long_2, short = run_of(50), run_of(50), run_of(3)
    started(schedule, long_1, long_2, short)
    assert schedule.running == [[long_1]]
    assert list(schedule.waiting) == [long_2, short]


def test_slots_bound_the_runs_of_all_pools_together() -> None:
    """No more runs than slots are active, though rows are free."""
    schedule = scheduler(90, 10, slots=2)
    started(schedule, *(run_of(3) for _ in range(5)))
    assert (schedule.active, len(schedule.waiting)) == (2, 3)


def test_a_run_reserves_its_prompt_and_its_longest_answer() -> None:
    """A run whose answer might not fit a short row takes a longer one."""
    schedule, run = scheduler(30, 10, 20), run_of(8, limit=3)
    started(schedule, run)
    assert run.place is not None
    assert run.place.pool.capacity == 20


def test_a_run_that_is_done_before_it_starts_takes_no_row() -> None:
    """A run cancelled in the queue is dropped from it and still retired."""
    schedule, gone, run = scheduler(10, 10), run_of(3), run_of(3)
    gone.cancelled = True
    started(schedule, gone, run)
    assert schedule.running == [[run]]
    assert schedule.retire() == [gone]
    assert schedule.retire() == []


def test_a_run_that_ends_in_the_queue_is_retired_at_once() -> None:
    """A run cancelled behind others does not wait for its turn to be dropped."""
    schedule, run, gone = scheduler(10, 10), run_of(3), run_of(3)
    started(schedule, run, gone)
    gone.cancelled = True
    assert schedule.retire() == [gone]
    assert not schedule.waiting


def test_a_step_reads_a_bounded_number_of_prompt_tokens() -> None:
    """A long prompt is read chunk by chunk, so that others need not wait for its end."""
    schedule, long, short = scheduler(200, 100, prefill_tokens=30), run_of(50), run_of(5)
    started(schedule, long, short)
    assert schedule.chunks() == [Chunk(long, 0, 30)]
    long.filled = 30
    assert schedule.chunks() == [Chunk(long, 30, 50), Chunk(short, 0, 5)]


def test_a_long_prompt_waits_for_answers_that_are_written() -> None:
    """While an answer is being written, other prompts are read in small chunks; before that, at once."""
    schedule = scheduler(6000, 2000)
    writing, long, short = run_of(5), run_of(900), run_of(5)
    started(schedule, writing, long, short)
    assert [chunk.end for chunk in schedule.chunks()] == [5, 900, 5]
    writing.filled, writing.answer = 5, [1]
    assert [chunk.end for chunk in schedule.chunks()] == [512, 5]
    writing.finish = FinishReason.STOP
    assert [chunk.end for chunk in schedule.chunks()] == [900, 5]


def test_the_last_chunk_is_known() -> None:
    """Only the chunk that ends the prompt is followed by a token of the answer."""
    run = run_of(5)
    assert [Chunk(run, 0, 3).last, Chunk(run, 3, 5).last] == [False, True]


def test_a_freed_row_is_filled_by_the_last_one() -> None:
    """When a run ends, the last row moves into its place, in the cache and in the books."""
    moves = Moves()
    schedule, runs = scheduler(30, 10, moves=moves), [run_of(3) for _ in range(3)]
    started(schedule, *runs)
    runs[2].filled = 2
    runs[0].finish = FinishReason.STOP
    assert schedule.retire() == [runs[0]]
    assert moves.seen == [(2, 0, 2)]
    assert schedule.running == [[runs[2], runs[1]]]
    assert [run.place and run.place.row for run in runs] == [None, 1, 0]


def test_freeing_the_last_row_moves_nothing() -> None:
    """When the last row is freed, no other has to move."""
    moves = Moves()
    schedule, runs = scheduler(30, 10, moves=moves), [run_of(3) for _ in range(2)]
    started(schedule, *runs)
    runs[1].finish = FinishReason.LENGTH
    schedule.retire()
    assert moves.seen == []


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(0, 5)), max_size=60))
def test_rows_and_books_agree_whatever_comes_and_goes(events: list[tuple[int, int, int]]) -> None:
    """After any arrivals and ends every run stands in its row, and every row is accounted for."""
    cache: dict[Place, Sequence] = {}

    def move(source: Place, target: Place, length: int) -> None:
        assert length == cache[source].filled
        cache[target] = cache[source]

    pools = Pools(176, (16, 64), rows=4)
    schedule = Scheduler(pools, slots=4, prefill_tokens=10, move=move)
    everyone, retired = list[Sequence](), list[Sequence]()
    for prompt, limit, ends in events:
        run = run_of(prompt, limit)
        everyone.append(run)
        schedule.add(run)
        schedule.admit()
        for pool in schedule.running:
            for active in pool:
                if active.place is not None:
                    cache.setdefault(active.place, active)
                    if active.filled == 0:
                        cache[active.place] = active
                active.filled = len(active.prompt)
        active_runs = [active for pool in schedule.running for active in pool]
        for active in active_runs[:ends]:
            active.finish = FinishReason.STOP
        retired += schedule.retire()
        for runs in schedule.running:
            places = [active.place for active in runs if active.place]
            assert places == [Place(places[0].pool, row) for row in range(len(runs))]
            assert all(cache[place] is active for place, active in zip(places, runs, strict=True))
            assert places[0].pool.used == len(runs)
        assert sum(pool.used for pool in pools.pools) == schedule.active
    assert len(retired) + schedule.active + len(schedule.waiting) == len(everyone)
