"""Chunks of sequences packed into the tensors of one step."""

from collections import abc
from dataclasses import dataclass

import numpy as np
import torch

from service.engine.attention.batch import Batch
from service.engine.scheduler import Chunk


def like_with_like(chunks: abc.Sequence[Chunk]) -> list[int]:
    """An order in which attention has the fewest parts: single tokens by page, then prompts by length."""

    def key(index: int) -> tuple[bool, int, int]:
        chunk = chunks[index]
        count, pages = chunk.end - chunk.start, chunk.sequence.pages
        return (True, chunk.start, count) if count > 1 else (False, len(pages), pages[0])

    return sorted(range(len(chunks)), key=key)


def batch_of(chunks: abc.Sequence[Chunk], page_tokens: int) -> Batch:
    """What attention needs of chunks."""
    return Batch(
        starts=[chunk.start for chunk in chunks],
        counts=[chunk.end - chunk.start for chunk in chunks],
        pages=[chunk.sequence.pages for chunk in chunks],
        page_tokens=page_tokens,
        drafts=[len(chunk.draft) for chunk in chunks],
    )


def in_order(logits: torch.Tensor, order: list[int], outputs: abc.Sequence[int]) -> torch.Tensor:
    """Logits [R, V] of chunks that were computed in another order, `outputs` rows of each, in their own."""
    if order == sorted(order):
        return logits
    rows = np.argsort(np.repeat(order, outputs), kind="stable")  # [R]
    return logits[torch.tensor(rows, device=logits.device)]


def tokens_of(chunks: abc.Sequence[Chunk]) -> np.ndarray:
    """The tokens of chunks, one chunk after the other: [S]."""
    return np.array([token for chunk in chunks for token in chunk.tokens])


@dataclass(frozen=True, slots=True)
class PackedFeatures:
    """Image features `values` [N, H] that go to `places` [N] among the tokens of a step."""

    places: np.ndarray
    values: torch.Tensor


def features_of(chunks: abc.Sequence[Chunk]) -> PackedFeatures | None:
    """The image features of chunks; None where they have none."""
    places, values, base = list[np.ndarray](), list[torch.Tensor](), 0
    for chunk in chunks:
        sequence = chunk.sequence
        if sequence.features is not None and chunk.start < len(sequence.prompt):
            first, end = np.searchsorted(sequence.image_positions, (chunk.start, chunk.end))
            if end > first:
                places.append(sequence.image_positions[first:end] - chunk.start + base)
                values.append(sequence.features[first:end])
        base += chunk.end - chunk.start
    return PackedFeatures(np.concatenate(places), torch.cat(values)) if places else None
