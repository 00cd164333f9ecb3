"""Work in seconds, from the counters of an engine whose steps are known exactly."""

from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

import pytest

from service.native.work_meter import StepTimes, WorkMeter
from service.protocol.stats import RankStats, Work

# Seconds that every step takes, and those of a token that is read and written.
STEP, PROMPT, ANSWER = 0.010, 0.0001, 0.0002
SLOTS = 50
FINISHED = 600  # requests of a busy minute


@dataclass
class Model:
    """An engine that takes exactly these times."""

    stats: RankStats = field(default_factory=RankStats)

    def step(self, prompt: int, answers: int) -> RankStats:
        """Count one step."""
        old = self.stats
        self.stats = RankStats(
            prefill_tokens=old.prefill_tokens + prompt,
            decode_tokens=old.decode_tokens + answers,
            steps=old.steps + 1,
            step_seconds=old.step_seconds + STEP + prompt * PROMPT + answers * ANSWER,
        )
        return self.stats


def trained(steps: StepTimes, prompts: tuple[int, int], answers: tuple[int, int]) -> StepTimes:
    """After 2,000 steps, each with tokens between these bounds."""
    model, rng = Model(), Random(1)
    for _ in range(2000):
        prompt = rng.randint(*prompts) if rng.random() < 0.3 else 0
        steps.observe(model.step(prompt, rng.randint(*answers)))
    return steps


@pytest.mark.parametrize(
    ("prompts", "answers"),
    [((50, 500), (1, 3)), ((500, 3000), (10, 50))],
    ids=["little load", "full batches"],
)
def test_the_cost_of_a_token_does_not_depend_on_the_load(
    prompts: tuple[int, int], answers: tuple[int, int]
) -> None:
    """With one answer at a time or with many, a token costs what it costs in full batches."""
    cost = trained(StepTimes(SLOTS), prompts, answers).cost
    assert cost is not None
    assert cost.prompt == pytest.approx(PROMPT, rel=0.05)
    assert cost.answer == pytest.approx(ANSWER + STEP / SLOTS, rel=0.2)


def test_work_is_never_more_than_the_time_it_took() -> None:
    """Steps that are all alike, which leave open what took the time, give costs within that time."""
    cost = trained(StepTimes(SLOTS), (100, 100), (10, 10)).cost
    assert cost is not None
    assert min(cost.prompt, cost.answer) >= 0
    assert cost.seconds(30, 10) <= STEP + 30 * PROMPT + 10 * ANSWER + 1e-9


def test_before_the_first_step_nothing_is_known() -> None:
    """An engine that has computed nothing has no work to tell."""
    assert WorkMeter(SLOTS).observe(RankStats(), 0, [0, 0], 1.0) is None


def test_a_new_speed_is_learned() -> None:
    """A model that gets twice as slow is believed after a few minutes of computing."""
    steps, model = StepTimes(SLOTS), Model()
    for _ in range(400):
        steps.observe(model.step(1000, 40))
    before = steps.cost
    for number in count(1):
        last = model.step(1000, 40)
        steps.observe(replace(last, step_seconds=last.step_seconds + number * 0.118))
        if number > 1500:
            break
    after = steps.cost
    assert before is not None
    assert after is not None
    assert after.seconds(1000, 40) == pytest.approx(2 * before.seconds(1000, 40), rel=0.1)


def busy(meter: WorkMeter, queued: list[int]) -> tuple[Work, RankStats]:
    """A minute in which a request of about 100 tokens and an answer of about 20 ends ten times a second."""
    model, rng, work = Model(), Random(1), None
    for tenth in range(FINISHED):
        for _ in range(rng.randint(2, 8)):
            model.step(0, rng.randint(2, 6))
        work = meter.observe(model.step(rng.randint(50, 150), 1), tenth + 1, queued, 0.1 * tenth)
    assert work is not None
    return work, model.stats


@pytest.mark.parametrize(
    ("queued", "prompt"),
    [([], 0.0), ([100] * 10, 100.0), ([3328, 3328], 3328.0), ([3328, 0, 0], 3328.0), ([0, 0], None)],
    ids=["none", "short", "13 tiles", "partly unknown", "unknown"],
)
def test_work_that_waits_is_weighed_by_its_tokens(queued: list[int], prompt: float | None) -> None:
    """Requests that wait count by their prompts, and by the mean where those are not known yet."""
    work, stats = busy(WorkMeter(SLOTS), queued)
    tokens = stats.prefill_tokens / FINISHED if prompt is None else prompt
    answer = stats.decode_tokens / FINISHED
    seconds = len(queued) * (tokens * PROMPT + answer * (ANSWER + STEP / SLOTS))
    assert work.queued == pytest.approx(seconds, rel=0.15)


def test_the_rate_is_the_work_of_a_second() -> None:
    """What small requests take of a replica is the part that their tokens take in full batches."""
    work, stats = busy(WorkMeter(SLOTS), [])
    seconds = stats.prefill_tokens * PROMPT + stats.decode_tokens * (ANSWER + STEP / SLOTS)
    assert work.rate == pytest.approx(seconds / 60, rel=0.25)
