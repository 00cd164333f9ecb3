"""A training run from end to end, at its smallest."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from training import vocabulary
from training.batches import IGNORED, Batches
from training.train import Plan, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three steps."""
    out = tmp_path_factory.mktemp("trained")
    train(out, Plan(steps=3, batch_size=2, background=False))
    return out


def test_a_trained_checkpoint_loads_whole(trained: Path) -> None:
    """The library finds every weight it needs and no other."""
    model, info = AutoModelForImageTextToText.from_pretrained(trained, output_loading_info=True)
    assert not any(info.values()), info
    assert 0.9e6 < sum(weight.numel() for weight in model.parameters()) < 1.1e6
    assert model.dtype == torch.bfloat16


def test_a_trained_checkpoint_has_its_processor(trained: Path) -> None:
    """The processor makes four image tokens a tile, and its tokenizer knows the end of an answer."""
    processor = AutoProcessor.from_pretrained(trained)
    assert processor.image_seq_length == 4
    assert processor.tokenizer.eos_token == vocabulary.END
    assert processor.chat_template


def test_batches_are_reproducible() -> None:
    """The same seed gives the same batches; labels hold the answer and its end alone."""
    tokenizer = vocabulary.build()
    one, other = (list(islice(Batches(tokenizer, size=2, seed=5), 3)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.pixels, b.pixels)
        answered = a.labels[0][a.labels[0] != IGNORED]
        assert answered[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(answered[:-1]).startswith("a ")


def test_progress_ends_by_steps_or_by_time() -> None:
    """Training ends at its last step, or when its minutes are over."""
    assert Plan(steps=10).progress(5, 1e6) == 0.5
    assert Plan(steps=10, minutes=1).progress(5, 45) == 0.75
    assert Plan(steps=10, minutes=1).progress(5, 90) == 1.0


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    """It starts low, is highest after the rise, and is nothing at the end."""
    plan = Plan(steps=1000)
    rates = [plan.learning_rate(step, 0.0) for step in range(1001)]
    assert rates[0] < rates[50] < rates[100] == max(rates)
    assert rates[1000] == pytest.approx(0)
