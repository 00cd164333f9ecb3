"""Reading prompts into the cache: many short ones as one batch, a long one chunk by chunk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from service.engine.pools import Place
from service.engine.runner.cache import Cache
from service.engine.runner.language_model import LanguageModel, TextLayer
from service.engine.schedule import Chunk

# Rows of a batch are padded to its longest; rows shorter than this part of it go into a batch of their own.
LEAST_FILL = 0.75


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Chunks read together: either any number of prompts from their beginning, or one later chunk."""

    chunks: tuple[Chunk, ...]

    @property
    def start(self) -> int:
        """Tokens of the prompt that are in the cache already."""
        return self.chunks[0].start

    @property
    def lengths(self) -> list[int]:
        """Tokens of each chunk."""
        return [chunk.end - chunk.start for chunk in self.chunks]


def group(chunks: Sequence[Chunk]) -> list[PromptBatch]:
    """Batches of chunks of like length; their order is not the caller's."""
    later = [PromptBatch((chunk,)) for chunk in chunks if chunk.start]
    fresh = sorted((chunk for chunk in chunks if not chunk.start), key=lambda chunk: -chunk.end)
    batches: list[list[Chunk]] = []
    for chunk in fresh:
        if batches and chunk.end >= LEAST_FILL * batches[-1][0].end and _same_pool(batches[-1][0], chunk):
            batches[-1].append(chunk)
        else:
            batches.append([chunk])
    return later + [PromptBatch(tuple(batch)) for batch in batches]


def in_batches(chunks: Sequence[Chunk], read_batch: Callable[[PromptBatch], torch.Tensor]) -> torch.Tensor:
    """Read chunks batch by batch, each giving logits [B, V]; all logits in the order of the chunks."""
    batches = group(chunks)
    found = torch.cat([read_batch(batch) for batch in batches])  # [B, V], in the order of the batches
    row = {id(chunk): row for row, chunk in enumerate(chunk for batch in batches for chunk in batch.chunks)}
    order = [row[id(chunk)] for chunk in chunks]
    return found if order == sorted(order) else found[order]


def _same_pool(one: Chunk, other: Chunk) -> bool:
    return place_of(one).pool is place_of(other).pool


def place_of(chunk: Chunk) -> Place:
    """The row that a chunk is read into."""
    if chunk.run.place is None:
        raise RuntimeError("a chunk is read of a run that has no row")
    return chunk.run.place


def read(decoder: LanguageModel, batch: PromptBatch, cache: Cache) -> torch.Tensor:
    """Read a batch into the cache; logits [B, V] after the last token of each chunk."""
    device, lengths = decoder.embedding.device, batch.lengths
    longest, start, pool = max(lengths), batch.start, place_of(batch.chunks[0]).pool
    rows = torch.tensor([place_of(chunk).row for chunk in batch.chunks], device=device)
    entries = cache.entries(pool)
    x = embed(decoder.embed, batch, device)  # [B, S, H]
    cosine, sine = decoder.angles(torch.arange(start, start + longest, device=device))  # each [S, 1, D]
    last = torch.tensor(lengths, device=device) - 1  # [B]
    index = torch.arange(len(lengths), device=device)
    for number, layer in enumerate(decoder.layers):
        query, both = decoder.project(layer, x, cosine, sine)
        both = both.transpose(1, 2)  # [B, 2K, S, D]
        entries[number][rows, :, start : start + longest] = both
        key, value = both.chunk(2, 1)  # each [B, K, S, D]
        if start:
            row = place_of(batch.chunks[0]).row
            key, value = cache.rows(pool, number, row, 1, start + longest)  # each [1, K, L, D]
        mask: torch.Tensor | None = None
        if number + 1 == len(decoder.layers):  # of the last layer only the last token is of use
            query, x = query[index, last][:, None], x[index, last][:, None]  # [B, 1, A, D], [B, 1, H]
            mask = _last_mask(last, start, key.shape[2], key.dtype)
        elif start:
            mask = _later_mask(start, longest, key)
        x = _attend(layer, x, query, key, value, mask)
        x = decoder.feed_forward(layer, x.flatten(0, 1)).view_as(x)  # [B, S, H]
    return decoder.logits(x[:, 0])


def embed(
    embedding: Callable[[torch.Tensor], torch.Tensor], batch: PromptBatch, device: torch.device
) -> torch.Tensor:
    """Embeddings [B, S, H] of a batch, image features in their places; `embedding` is that of ids [B, S]."""
    longest = max(batch.lengths)
    ids = np.zeros((len(batch.chunks), longest), np.int64)
    places, features = [], []
    for row, chunk in enumerate(batch.chunks):
        run = chunk.run
        ids[row, : chunk.end - chunk.start] = run.prompt[chunk.start : chunk.end]
        if run.features is not None:
            first, end = np.searchsorted(run.image_positions, (chunk.start, chunk.end))
            places.append(run.image_positions[first:end] - chunk.start + row * longest)
            features.append(run.features[first:end])
    x = embedding(torch.from_numpy(ids).to(device))  # [B, S, H]
    if places:
        where = torch.from_numpy(np.concatenate(places)).to(device)  # [N]
        x.view(-1, x.shape[-1])[where] = torch.cat(features)
    return x


def _attend(
    layer: TextLayer,
    x: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Attention added to x [B, S, H]: query [B, S, A, D], key and value [B, K, L, D]."""
    attended = scaled_dot_product_attention(
        query.transpose(1, 2), key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )  # [B, A, S, D]
    joined = attended.transpose(1, 2).flatten(2).flatten(0, 1)  # [B * S, A * D]
    return layer.out.add_to(x.flatten(0, 1), joined).view_as(x)  # [B, S, H]


def _later_mask(start: int, length: int, key: torch.Tensor) -> torch.Tensor:
    """For a chunk after others: all that is cached, and the chunk itself up to each token. [S, L]."""
    mask = torch.full((length, start + length), float("-inf"), dtype=key.dtype, device=key.device)
    return mask.triu_(start + 1)


def _last_mask(last: torch.Tensor, start: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """For the last token of each row, which sees its own row's tokens but not the padding: [B, 1, 1, L]."""
    beyond = torch.arange(length, device=last.device)[None] > (last + start)[:, None]  # [B, L]
    mask = torch.zeros(beyond.shape, dtype=dtype, device=last.device).masked_fill_(beyond, float("-inf"))
    return mask[:, None, None]
