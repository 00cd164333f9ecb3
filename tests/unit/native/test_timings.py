"""What the engine says of the time that requests took."""

import time

from tests.support.running import answer, ask, mixed_requests, picture, running


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
        completions = answer(engine, *mixed_requests(60, seed=5), *[ask(picture(7), "describe")] * 4)
        after = engine.stats()
    charged = sum(completion.timings.compute for completion in completions)
    busy = after.step_seconds - before.step_seconds
    assert 0.8 * busy < charged <= busy
    assert after.step_sequences >= after.steps > 0


def test_static_batches_divide_their_time_too() -> None:
    """Whole batches charge their sequences the time that they took."""
    with running(runner="generate") as engine:
        completions = answer(engine, *mixed_requests(24, seed=6))
        stats = engine.stats()
    charged = sum(completion.timings.compute for completion in completions)
    assert 0.8 * stats.step_seconds < charged <= 1.01 * stats.step_seconds
    assert stats.step_sequences >= stats.steps / 2
