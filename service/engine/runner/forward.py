"""The runner over a model's own forward: InternVL models with any language model of plain attention.

Slower than the direct one, which it checks: both must give the same tokens.
"""

from collections import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache as ModelCache
from transformers.cache_utils import CacheLayerMixin

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.pixels import normaliser_of, pixels
from service.engine.pools import Place
from service.engine.runner.cache import Cache, CacheShape
from service.engine.runner.prompts import PromptBatch, embed, in_batches, place_of
from service.engine.runner.rows import Rows, last_tokens, rows_of
from service.engine.schedule import Chunk
from service.engine.sequence import Sequence

Exchange = Callable[[int, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

# Of a text model's configuration: what makes attention more than queries, keys and values of one shape.
SPECIAL_ATTENTION = ("kv_lora_rank", "attention_chunk_size", "sliding_window", "use_sliding_window")


def serves(loaded: LoadedModel) -> bool:
    """Whether every layer attends to all tokens before, with positions that are plain numbers."""
    if loaded.architecture != "internvl":
        return False
    text = loaded.model.config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    return (
        all(kind == "full_attention" for kind in getattr(text, "layer_types", None) or ())
        and not any(getattr(text, name, None) for name in SPECIAL_ATTENTION)
        and not any(isinstance(value, dict) for value in rope.values())
        and "mrope_section" not in rope
        and bool(getattr(text, "num_key_value_heads", None))
    )


class ForwardRunner:
    """See `BatchRunner`. Called by one thread alone."""

    name = "forward"

    def __init__(self, loaded: LoadedModel) -> None:
        self.model: Any = loaded.model
        self.normalise = normaliser_of(loaded)
        text = loaded.model.config.get_text_config()
        channels = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self.shape = CacheShape(
            text.num_hidden_layers, text.num_key_value_heads, channels, loaded.dtype, loaded.device
        )
        self.token_bytes = self.shape.token_bytes
        self.cache = Cache(self.shape, 0)

    def allocate(self, tokens: int) -> None:
        """Make the cache."""
        self.cache = Cache(self.shape, tokens)

    def move(self, source: Place, target: Place, length: int) -> None:
        """Copy a row of the cache onto another."""
        self.cache.move(source, target, length)

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images."""
        seen = pixels(images, self.normalise, self.shape.device).to(self.shape.dtype)  # [T, 3, H, W]
        found = self.model.get_image_features(seen).pooler_output  # [T, image tokens a tile, H]
        return [part.flatten(0, 1) for part in found.split([len(tiles) for tiles in images])]  # each [N, H]

    def prefill(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Read chunks of prompts; logits in their order."""
        return in_batches(chunks, self._read)

    def decode(self, running: abc.Sequence[abc.Sequence[Sequence]]) -> torch.Tensor:
        """One token for every run, pool by pool."""
        ids = torch.tensor(last_tokens(running), device=self.shape.device)  # [B]
        found, first = [], 0
        for rows in rows_of(self.cache, running):
            found.append(self._write(ids[first : first + rows.count], rows))
            first += rows.count
        return torch.cat(found)  # [B, V]

    def _read(self, batch: PromptBatch) -> torch.Tensor:
        device, start, end = self.shape.device, batch.start, batch.start + max(batch.lengths)
        pool = place_of(batch.chunks[0]).pool
        entries = self.cache.entries(pool)
        rows = torch.tensor([place_of(chunk).row for chunk in batch.chunks], device=device)

        def exchange(layer: int, both: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            entries[layer][rows, :, start:end] = both  # [B, 2K, S, D]
            if start:
                row = place_of(batch.chunks[0]).row
                return self.cache.rows(pool, layer, row, 1, end)  # each [1, K, L, D]
            keys, values = both.chunk(2, 1)
            return keys, values

        lengths = torch.tensor(batch.lengths, device=device)
        kept, row_of = (lengths - 1).unique(return_inverse=True)
        logits = self.model(
            inputs_embeds=embed(self.model.get_input_embeddings(), batch, device),
            attention_mask=_causal(start, end, self.shape),
            position_ids=torch.arange(start, end, device=device)[None],
            past_key_values=_exchanging(self.shape.layers, exchange),
            use_cache=True,
            logits_to_keep=kept,
        ).logits  # [B, lengths that differ, V]
        return logits[torch.arange(len(lengths), device=device), row_of]  # type: ignore[no-any-return]

    def _write(self, ids: torch.Tensor, rows: Rows) -> torch.Tensor:
        def exchange(layer: int, both: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.cache.write(layer, rows.places, both[:, :, 0])
            return self.cache.rows(rows.pool, layer, 0, rows.count, rows.length)

        logits = self.model(
            input_ids=ids[:, None],
            attention_mask=rows.mask,
            position_ids=rows.positions[:, None],
            past_key_values=_exchanging(self.shape.layers, exchange),
            use_cache=True,
        ).logits  # [B, 1, V]
        return logits[:, 0]  # type: ignore[no-any-return]


def _causal(start: int, end: int, shape: CacheShape) -> torch.Tensor:
    """All that is cached, and the new tokens up to each: [1, 1, S, L]."""
    mask = torch.full((1, 1, end - start, end), float("-inf"), dtype=shape.dtype, device=shape.device)
    return mask.triu_(start + 1)


def _exchanging(layers: int, exchange: Exchange) -> ModelCache:
    """A cache for one forward. `exchange` takes new keys and values, gives those to attend to."""
    return ModelCache(layers=[_Layer(number, exchange) for number in range(layers)])


class _Layer(CacheLayerMixin):
    """What transformers asks of a layer's cache. Sizes are never asked for: masks and positions are given."""

    is_sliding = False

    def __init__(self, number: int, exchange: Exchange) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self._number = number
        self._exchange = exchange

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take new keys and values, each [B, K, S, D]; give those to attend to, each [B, K, L, D]."""
        return self._exchange(self._number, torch.cat((key_states, value_states), 1))

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing is left to make."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length of the keys, and where they begin."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """Tokens that every row has: none that all share."""
        return 0

    def get_max_length(self) -> int:
        """No bound of its own."""
        return -1
