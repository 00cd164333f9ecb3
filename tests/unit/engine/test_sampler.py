"""From logits to tokens."""

import pytest
import torch
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from service.engine.sampling.adjustments import adjust, penalize
from service.engine.sampling.sampler import (
    CANDIDATES,
    NOT_A_TOKEN,
    Distribution,
    distribution,
    draw,
    generator_of,
    sample,
)
from service.engine.sequence import Sequence
from service.protocol.request import Sampling

VOCABULARY = 50


def sequence_of(**sampling: object) -> Sequence:
    chosen = Sampling(8, **sampling)  # type: ignore[arg-type]
    return Sequence(chosen, prompt=[1, 2, 3], generator=generator_of(chosen))


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def tokens(found: torch.Tensor, *sequences: Sequence) -> list[int]:
    drawn: list[int] = sample(found, sequences).tolist()
    return drawn


def over_vocabulary(found: Distribution, size: int) -> torch.Tensor:
    """Probabilities of all tokens: [R, V]."""
    if found.tokens is None:
        return found.weights
    return torch.zeros(len(found.weights), size).scatter_(1, found.tokens, found.weights)


def test_temperature_zero_takes_the_likeliest() -> None:
    """Greedy rows take the largest logit."""
    found = logits(3)
    assert tokens(found, *[sequence_of() for _ in range(3)]) == found.argmax(-1).tolist()


def test_the_same_seed_gives_the_same_tokens_in_any_batch() -> None:
    """A seeded row draws the same tokens alone and among others."""
    alone, among = sequence_of(temperature=1.0, seed=7), sequence_of(temperature=1.0, seed=7)
    others = [sequence_of(), sequence_of(temperature=1.5, seed=1)]
    for step in range(20):
        found = logits(3, step)
        assert tokens(found[1:2], alone)[0] == tokens(found, others[0], among, others[1])[1]


def test_another_seed_gives_other_tokens() -> None:
    """Two seeds do not draw the same sequence."""
    one, two = sequence_of(temperature=1.0, seed=1), sequence_of(temperature=1.0, seed=2)
    drawn = [(tokens(logits(1, step), one), tokens(logits(1, step), two)) for step in range(20)]
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
    rows = torch.cat((logits(1, 1), row, logits(1, 2)))
    found = distribution(rows, [others[0], mine, others[1]], VOCABULARY)
    torch.testing.assert_close(over_vocabulary(found, VOCABULARY)[1], expected[0].softmax(-1))


@pytest.mark.parametrize("min_p", [0.01, 0.3, 1.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.8), (9, 0.7)])
def test_min_p_leaves_what_transformers_leaves(min_p: float, top_k: int, top_p: float) -> None:
    """min_p, after top_k and top_p, leaves the same tokens with the same probabilities as transformers'."""
    row = logits(1, 4) * 2
    expected = TemperatureLogitsWarper(0.7)(None, row.clone())
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    expected = MinPLogitsWarper(min_p)(None, expected)
    mine = Sampling(1, temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p)
    width = VOCABULARY if top_k or top_p < 1 else 0
    found = distribution(torch.cat((logits(1), row)), [Sampling(1, temperature=1.0), mine], width)
    torch.testing.assert_close(over_vocabulary(found, VOCABULARY)[1], expected[0].softmax(-1))


@pytest.mark.parametrize("top_k", [0, 40, 3000])
@pytest.mark.parametrize("flatness", [0.1, 4.0])
def test_a_nucleus_of_any_size_is_what_transformers_leaves(top_k: int, flatness: float) -> None:
    """Rows whose nucleus has more tokens than the candidates are drawn from all of it."""
    row = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0)) * flatness
    expected = TopKLogitsWarper(top_k)(None, row.clone()) if top_k else row.clone()
    expected = TopPLogitsWarper(0.95)(None, expected).softmax(-1)[0]
    sequences = [sequence_of(temperature=1.0, top_p=0.95, top_k=top_k, seed=seed) for seed in range(3000)]
    drawn = torch.tensor(tokens(row.expand(len(sequences), -1), *sequences))
    assert (expected[drawn] > 0).all()
    # Over the candidates and over the rest alike, tokens come as often as they are likely.
    likeliest = expected.argsort(descending=True)[:CANDIDATES]
    share = torch.isin(drawn, likeliest).float().mean()
    assert abs(share - expected[likeliest].sum()) < 0.03


def test_repetition_is_made_less_likely_as_transformers_does() -> None:
    """The penalty divides positive logits of seen tokens and multiplies negative ones."""
    rows, history = logits(3), [4, 4, 9, 17]
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([history]), rows[1:2].clone())
    sequence = sequence_of(repetition_penalty=1.3)
    sequence.prompt, sequence.answer = history[:2], history[2:]
    found = penalize(rows, [(1, sequence)])
    torch.testing.assert_close(found[1], expected[0])
    torch.testing.assert_close(found[::2], rows[::2])


def test_presence_and_frequency_count_the_answer_alone() -> None:
    """Each token of the answer loses the one penalty once and the other each time; the prompt loses none."""
    rows, sequence = logits(2), sequence_of(presence_penalty=0.5, frequency_penalty=0.25)
    sequence.answer = [7, 9, 7, 1, 7]
    expected = rows.clone()
    for token, count in {7: 3, 9: 1, 1: 1}.items():
        expected[1, token] -= 0.5 + 0.25 * count
    torch.testing.assert_close(adjust(rows, [sequence_of(), sequence], frozenset()), expected)


def test_bias_and_least_length_are_those_of_transformers() -> None:
    """Biases come before penalties, and stop tokens are ruled out until an answer is long enough."""
    rows, stops = logits(3), frozenset({2, 5})
    sequence = sequence_of(logit_bias=((4, -3.0), (8, 6.5)), min_tokens=3, repetition_penalty=1.3)
    sequence.answer = [8, 4]
    history = torch.tensor([sequence.prompt + sequence.answer])
    expected = SequenceBiasLogitsProcessor({(4,): -3.0, (8,): 6.5})(history, rows[1:2].clone())
    expected = RepetitionPenaltyLogitsProcessor(1.3)(history, expected)
    expected = MinNewTokensLengthLogitsProcessor(3, 3, sorted(stops))(history, expected)
    found = adjust(rows, [sequence_of(), sequence, sequence_of(seed=1)], stops)
    torch.testing.assert_close(found[1], expected[0])
    torch.testing.assert_close(found[::2], rows[::2])
    sequence.answer.append(9)
    assert adjust(rows, [sequence_of(), sequence, sequence_of()], stops)[1, 2].isfinite()


def test_a_batch_without_wishes_is_left_alone() -> None:
    """Logits of which no sequence wants a change are not even copied."""
    rows = logits(2)
    assert adjust(rows, [sequence_of(), sequence_of(temperature=1.0, min_p=0.1)], frozenset({1})) is rows


def test_a_penalty_counts_the_answer_as_it_grows() -> None:
    """Each token of the answer is penalized once it has been written."""
    sequence, row = sequence_of(repetition_penalty=100.0), torch.ones(1, VOCABULARY)
    row[0, 7], row[0, 8] = 5.0, 4.0
    for token in (7, 8):
        assert tokens(row, sequence) == [token]
        sequence.answer.append(token)
    assert tokens(row, sequence)[0] not in (1, 2, 3, 7, 8)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    """Over many draws the frequencies are the probabilities, and what has none is never drawn."""
    weights = torch.zeros(1, 1000)
    weights[0, 1], weights[0, 400], weights[0, 999] = 0.5, 0.3, 0.2
    chances = (torch.arange(1000) / 1000).tolist()
    drawn = draw(Distribution(weights.expand(1000, -1)), chances).tolist()
    assert {token: drawn.count(token) for token in set(drawn)} == pytest.approx(
        {1: 500, 400: 300, 999: 200}, abs=1
    )


def test_the_highest_chance_still_draws_a_token_that_is_likely() -> None:
    """Rounding never leads to a token of probability zero."""
    weights = torch.rand(200, 3000, generator=torch.Generator().manual_seed(1))
    weights[:, 2000:] = 0.0
    weights[:, ::3] = 0.0
    drawn = draw(Distribution(weights), [1 - 2**-53] * 100 + [0.0] * 100)
    assert (weights.gather(1, drawn[:, None]) > 0).all()


def test_logits_that_are_not_numbers_give_no_token() -> None:
    """A row with a NaN is marked, whether it is drawn or not; the others are not touched."""
    rows = logits(3)
    rows[0, 3] = rows[1, 7] = float("nan")
    found = tokens(rows, sequence_of(), sequence_of(temperature=1.0, seed=1), sequence_of())
    assert found == [NOT_A_TOKEN, NOT_A_TOKEN, int(rows[2].argmax())]


def test_a_penalty_changes_greedy_choices_too() -> None:
    """Without temperature the penalized logits decide."""
    row = torch.zeros(1, VOCABULARY)
    row[0, 2], row[0, 30] = 1.0, 0.9
    assert tokens(row, sequence_of(repetition_penalty=2.0)) == [30]
