"""The direct runner: InternVL models whose language model is Llama-like, layer by layer on fused weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.pools import Place, PoolPlan
from service.engine.run import Run
from service.engine.runner.cache import Cache
from service.engine.runner.decoder import Decoder, Rows
from service.engine.runner.prompts import group, read
from service.engine.runner.vision import Vision
from service.engine.schedule import Chunk

# Language models whose layers are a plain Llama's, perhaps with biases or with norms of query and key.
LANGUAGE_MODELS = ("llama", "qwen2", "qwen3")

# Kinds of rotary embedding that are a table of the position; "dynamic" is one as far as the context goes.
ROPES = ("default", "linear", "dynamic", "llama3", "yarn")

# A decode step reads the cache in multiples of this many tokens, so that masks have few shapes.
LENGTH_STEP = 16


def serves(loaded: LoadedModel) -> bool:
    """Whether this runner computes what the model's configuration says."""
    if loaded.architecture != "internvl":
        return False
    text = loaded.model.config.get_text_config()
    windowed = getattr(text, "use_sliding_window", False) or getattr(text, "sliding_window", None)
    return (
        text.model_type in LANGUAGE_MODELS
        and text.hidden_act == "silu"
        and not windowed
        and loaded.model.config.vision_feature_layer == -1
        and loaded.model.config.vision_config.hidden_act == "gelu"
        and text.rope_parameters.get("rope_type", "default") in ROPES
        and loaded.context_length <= text.max_position_embeddings
    )


class DirectRunner:
    """See `BatchRunner`. Called by one thread alone."""

    name = "direct"

    def __init__(self, loaded: LoadedModel) -> None:
        model: Any = loaded.model
        self.device, self.dtype = loaded.device, loaded.dtype
        self.vision = Vision(model.model, model.config)
        text = model.config.get_text_config()
        self.decoder = Decoder(model.model.language_model, text, model.lm_head, loaded.context_length)
        self.token_bytes = self.decoder.shape.token_bytes
        self.cache = Cache(self.decoder.shape, ())

    def allocate(self, plans: tuple[PoolPlan, ...]) -> None:
        """Make the cache."""
        self.cache = Cache(self.decoder.shape, plans)

    def move(self, source: Place, target: Place) -> None:
        """Copy a row of the cache onto another."""
        self.cache.move(source, target)

    def features(self, pixels: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of tiles."""
        counts = [len(tiles) for tiles in pixels]
        joined = torch.from_numpy(np.concatenate(pixels) if len(pixels) > 1 else pixels[0])
        found = self.vision(joined.to(self.device, self.dtype))  # [T, image tokens a tile, H]
        return [part.flatten(0, 1) for part in found.split(counts)]  # each [N, H]

    def prefill(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Read chunks of prompts; logits in their order."""
        rows: dict[int, torch.Tensor] = {}
        for batch in group(chunks):
            for chunk, logits in zip(batch.chunks, read(self.decoder, batch, self.cache), strict=True):
                rows[id(chunk)] = logits
        return torch.stack([rows[id(chunk)] for chunk in chunks])  # [B, V]

    def decode(self, running: Sequence[Sequence[Run]]) -> torch.Tensor:
        """One token for every run."""
        ids = [_last_token(run) for pool in running for run in pool]
        pools = [self._rows(index, pool) for index, pool in enumerate(running) if pool]
        return self.decoder.decode(torch.tensor(ids, device=self.device), self.cache, pools)

    def _rows(self, index: int, pool: Sequence[Run]) -> Rows:
        positions = [run.filled for run in pool]
        length = -(-(max(positions) + 1) // LENGTH_STEP) * LENGTH_STEP
        length = min(self.cache.capacity(index), length)
        where = torch.tensor(positions, device=self.device)  # [B]
        beyond = torch.arange(length, device=self.device) > where[:, None]  # [B, L]
        mask = torch.zeros(beyond.shape, dtype=self.dtype, device=self.device)
        return Rows(
            pool=index,
            count=len(pool),
            length=length,
            positions=where,
            places=self.cache.places(index, where),
            mask=mask.masked_fill_(beyond, float("-inf"))[:, None, None],  # [B, 1, 1, L]
        )


def _last_token(run: Run) -> int:
    return run.answer[-1] if run.answer else 0
