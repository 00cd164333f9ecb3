"""The memory plan of a GPU, with the figures of a card that is not there."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from service.engine.runner.fused import FusedRunner
from service.engine.runner.memory import OVERHEAD_BYTES, most_tiles, plan_cache, run_worst_step
from service.engine.scheduler import Chunk
from service.engine_options import EngineOptions
from service.errors import DeviceError
from tests.support.running import embedded

GIB = 2**30
DEVICE = torch.device("cuda", 0)


class Card:
    """A card of 80 GiB, on which other processes may hold memory too."""

    def __init__(self, reserved: int = 0, others: int = 0) -> None:
        self.reserved = reserved
        self.others = others
        self.peak = 0

    def mem_get_info(self, device: torch.device, /) -> tuple[int, int]:
        assert device == DEVICE
        return 80 * GIB - self.reserved - self.others, 80 * GIB

    def memory_reserved(self, _device: torch.device, /) -> int:
        return self.reserved

    def max_memory_reserved(self, _device: torch.device, /) -> int:
        return self.peak

    def reset_peak_memory_stats(self, _device: torch.device, /) -> None:
        self.peak = self.reserved

    def empty_cache(self) -> None:
        """Nothing is unused."""

    def compute(self, size: int) -> None:
        """Hold some bytes for a moment."""
        self.peak = max(self.peak, self.reserved + size)


def test_what_the_weights_and_the_largest_step_leave_becomes_pages() -> None:
    """The cache takes the replica's fraction of the card without weights, step and overhead."""
    card = Card(reserved=16 * GIB)
    found = plan_cache(DEVICE, 0.9, lambda: card.compute(3 * GIB), cuda=card)
    assert found == int(80 * GIB * 0.9) - (16 + 3) * GIB - OVERHEAD_BYTES


@pytest.mark.parametrize("others", [0, 20 * GIB, 36 * GIB])
def test_a_replica_plans_the_same_whatever_another_has_taken(others: int) -> None:
    """Two replicas of half a GPU each start in any order: neither counts what the other leaves free."""
    card = Card(16 * GIB, others)
    plan = plan_cache(DEVICE, 0.45, lambda: card.compute(GIB), cuda=card)
    assert plan == 36 * GIB - 17 * GIB - OVERHEAD_BYTES
    assert 2 * (plan + 17 * GIB + OVERHEAD_BYTES) <= 80 * GIB


def test_a_step_that_does_not_fit_is_an_error_that_says_so() -> None:
    """Running out of memory in the largest step ends the start with one sentence."""

    def run() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(DeviceError, match="the largest step does not fit next to the weights"):
        plan_cache(DEVICE, 0.9, run, cuda=Card(70 * GIB))


def test_a_fraction_below_the_weights_leaves_no_cache() -> None:
    """Where the weights exceed the fraction, the plan is zero bytes, not less."""
    assert plan_cache(DEVICE, 0.1, lambda: None, cuda=Card(16 * GIB)) == 0


class Noted(FusedRunner):
    """Takes note of its largest calls."""

    def __init__(self) -> None:
        super().__init__(embedded())
        self.tokens = 0
        self.tiles = 0

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        self.tokens = max(self.tokens, sum(chunk.end - chunk.start for chunk in chunks))
        return super().run(chunks)

    def features(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        self.tiles = max(self.tiles, sum(map(len, images)))
        return super().features(images)


def test_the_largest_step_has_the_most_tokens_and_tiles() -> None:
    """The measured step reads as many tokens and sees as many tiles as any step may."""
    runner, loaded = Noted(), embedded()
    tiling = loaded.inputs.tiling
    assert tiling is not None
    options = EngineOptions(prefill_tokens=2 * loaded.context_length, slots=4)
    run_worst_step(runner, loaded, options)
    assert runner.tokens == options.prefill_tokens
    assert runner.tiles == most_tiles(tiling, options) >= options.prefill_tokens // tiling.tokens_per_tile
