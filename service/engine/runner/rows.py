"""Rows of the cache that take part in a decode step."""

from collections import abc
from dataclasses import dataclass

import torch

from service.engine.pools import Pool
from service.engine.runner.cache import Cache
from service.engine.sequence import Sequence

# A decode step reads the cache in multiples of this many tokens, so that masks have few shapes.
LENGTH_STEP = 16


@dataclass(frozen=True, slots=True)
class Rows:
    """The first `count` rows of a pool, which take part in a decode step within `length` cached tokens.

    `positions` [B] is where each writes, `places` [B * 2K] the same for the cache, and `mask` [B, 1, 1, L] is
    0 up to there and minus infinity beyond.
    """

    pool: Pool
    count: int
    length: int
    positions: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor


def rows_of(cache: Cache, running: abc.Sequence[abc.Sequence[Sequence]]) -> list[Rows]:
    """The rows of all pools in which there are runs, in their order."""
    return [_rows(cache, runs) for runs in running]


def pool_of(runs: abc.Sequence[Sequence]) -> Pool:
    """The pool in whose first rows runs are."""
    place = runs[0].place
    if place is None:
        raise RuntimeError("a run takes part in a step that has no row")
    return place.pool


def last_tokens(running: abc.Sequence[abc.Sequence[Sequence]]) -> list[int]:
    """The tokens that a decode step writes, pool by pool; any where a prompt is still being read."""
    return [run.answer[-1] if run.answer else 0 for runs in running for run in runs]


def _rows(cache: Cache, runs: abc.Sequence[Sequence]) -> Rows:
    pool = pool_of(runs)
    positions = [run.filled for run in runs]
    length = -(-(max(positions) + 1) // LENGTH_STEP) * LENGTH_STEP
    where = torch.tensor(positions, device=cache.shape.device)  # [B]
    return rows_at(cache, pool, where, min(pool.capacity, length))


def rows_at(cache: Cache, pool: Pool, positions: torch.Tensor, length: int) -> Rows:
    """The first rows of a pool that write at `positions` [B] and read `length` cached tokens."""
    beyond = torch.arange(length, device=positions.device) > positions[:, None]  # [B, L]
    mask = torch.zeros(beyond.shape, dtype=cache.shape.dtype, device=positions.device)
    return Rows(
        pool=pool,
        count=len(positions),
        length=length,
        positions=positions,
        places=cache.places(pool, positions),
        mask=mask.masked_fill_(beyond, float("-inf"))[:, None, None],  # [B, 1, 1, L]
    )
