"""From logits to tokens."""

import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from service.engine.request import Request, Sampling
from service.engine.sampler import distribution, draw, generator_of, penalise, sample
from service.engine.sequence import Sequence

VOCABULARY = 50


def run_of(**sampling: object) -> Sequence:
    request = Request((), Sampling(8, **sampling))  # type: ignore[arg-type]
    return Sequence(request, prompt=[1, 2, 3], generator=generator_of(request.sampling))


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def test_temperature_zero_takes_the_likeliest() -> None:
    """Greedy rows take the largest logit."""
    found = logits(3)
    assert sample(found, [run_of() for _ in range(3)]) == found.argmax(-1).tolist()


def test_the_same_seed_gives_the_same_tokens_in_any_batch() -> None:
    """A seeded row draws the same tokens alone and among others."""
    alone, among = run_of(temperature=1.0, seed=7), run_of(temperature=1.0, seed=7)
    others = [run_of(), run_of(temperature=1.5, seed=1)]
    for step in range(20):
        found = logits(3, step)
        assert sample(found[1:2], [alone])[0] == sample(found, [others[0], among, others[1]])[1]


def test_another_seed_gives_other_tokens() -> None:
    """Two seeds do not draw the same sequence."""
    one, two = run_of(temperature=1.0, seed=1), run_of(temperature=1.0, seed=2)
    drawn = [(sample(logits(1, step), [one]), sample(logits(1, step), [two])) for step in range(20)]
    assert any(first != second for first, second in drawn)


@pytest.mark.parametrize("top_k", [0, 1, 5, VOCABULARY, 99])
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 1.0])
def test_restrictions_leave_what_transformers_leaves(top_k: int, top_p: float) -> None:
    """top_k, then top_p, leave the same tokens with the same probabilities as transformers' own."""
    row = logits(1) * 3
    expected = TemperatureLogitsWarper(0.7)(None, row.clone())
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    mine = Sampling(1, temperature=0.7, top_k=top_k, top_p=top_p)
    others = [Sampling(1, temperature=1.3, top_k=9, top_p=0.4), Sampling(1, temperature=0.9)]
    found = distribution(torch.cat((logits(1, 1), row, logits(1, 2))), [others[0], mine, others[1]])
    torch.testing.assert_close(found[1], expected[0].softmax(-1).double())


def test_repetition_is_made_less_likely_as_transformers_does() -> None:
    """The penalty divides positive logits of seen tokens and multiplies negative ones."""
    rows, history = logits(3), [4, 4, 9, 17]
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([history]), rows[1:2].clone())
    run = run_of(repetition_penalty=1.3)
    run.prompt, run.answer = history[:2], history[2:]
    found = penalise(rows, [1], [run])
    torch.testing.assert_close(found[1], expected[0])
    torch.testing.assert_close(found[::2], rows[::2])


def test_a_penalty_counts_the_answer_as_it_grows() -> None:
    """Each token of the answer is penalised once it has been written."""
    run, row = run_of(repetition_penalty=100.0), torch.ones(1, VOCABULARY)
    row[0, 7], row[0, 8] = 5.0, 4.0
    for token in (7, 8):
        assert sample(row, [run]) == [token]
        run.answer.append(token)
    assert sample(row, [run])[0] not in (1, 2, 3, 7, 8)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    """Over many draws the frequencies are the probabilities, and what has none is never drawn."""
    weights = torch.tensor([[0.0, 0.5, 0.0, 0.3, 0.2, 0.0]], dtype=torch.float64)
    run = run_of(temperature=1.0, seed=3)
    drawn = [draw(weights, [run])[0] for _ in range(4000)]
    for token, weight in enumerate(weights[0].tolist()):
        assert abs(drawn.count(token) / len(drawn) - weight) < 0.03
    assert set(drawn) == {1, 3, 4}


def test_a_penalty_changes_greedy_choices_too() -> None:
    """Without temperature the penalised logits decide."""
    row = torch.zeros(1, VOCABULARY)
    row[0, 2], row[0, 30] = 1.0, 0.9
    assert sample(row, [run_of(repetition_penalty=2.0)]) == [30]
