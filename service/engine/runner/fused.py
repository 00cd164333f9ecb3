"""The fused runner: InternVL models whose language model is Llama-like, layer by layer on fused weights."""

import logging
from collections import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from service.checkpoint.loaded import LoadedModel
from service.engine.attention.backend import Attention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache
from service.engine.attention.sdpa import SdpaAttention
from service.engine.attention.varlen import VarlenAttention, flash_serves
from service.engine.runner.graphs import DecodeGraphs, Record
from service.engine.runner.language_model import LanguageModel
from service.engine.runner.packing import batch_of, features_of, in_order, like_with_like, tokens_of
from service.engine.runner.pixels import joined, normaliser_of
from service.engine.runner.vision import Vision, sees
from service.engine.scheduler import Chunk
from service.errors import DeviceError

logger = logging.getLogger("capstan.engine")

# Language models whose layers are a plain Llama's, perhaps with biases or with norms of query and key.
LANGUAGE_MODELS = ("llama", "qwen2", "qwen3")

# Kinds of rotary embedding that are a table of the position; "dynamic" is one as far as the context goes.
ROPES = ("default", "linear", "dynamic", "llama3", "yarn")


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
        and sees(loaded.model.config)
        and text.rope_parameters.get("rope_type", "default") in ROPES
        and loaded.context_length <= text.max_position_embeddings
    )


class FusedRunner:
    """See `Runner`. Called by one thread alone."""

    name = "fused"
    context_limit: int | None = None

    def __init__(self, loaded: LoadedModel, *, record: Record | None = None) -> None:
        """Take a model over; `record` makes recordings of decode steps, without it they run as they are."""
        model: Any = loaded.model
        self.record = record
        self.device = loaded.device
        self.context_length = loaded.context_length
        self.vision = Vision(model.model, model.config, normaliser_of(loaded))
        text = model.config.get_text_config()
        self.language_model = LanguageModel(
            model.model.language_model, text, model.lm_head, loaded.context_length
        )
        self.token_bytes = self.language_model.shape.token_bytes
        self.allocate(1, 1)

    def allocate(self, pages: int, page_tokens: int) -> None:
        """Make the cache."""
        spare = 1 if self.record else 0  # for the padding of recorded steps
        shape = self.language_model.shape
        flash = flash_serves(shape.device, shape.dtype)
        self.cache = Cache(shape, pages + spare, page_tokens, by_head=not flash)
        self.attention: Attention = VarlenAttention(self.cache) if flash else SdpaAttention(self.cache)
        self.graphs: DecodeGraphs | None = None

    def clear(self, page: int) -> None:
        """Zero a page of the cache."""
        self.cache.clear(page)

    def capture(self, most: int) -> None:
        """Record decode steps; without them where one cannot be recorded."""
        if self.record is None:
            return
        graphs = DecodeGraphs(self.language_model, self.cache, self.record, context=self.context_length)
        try:
            graphs.capture(most)
        except DeviceError as error:
            logger.warning("decode steps run without CUDA graphs: %s", error)
            return
        self.graphs = graphs

    def encode(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Not for models that take tiles."""
        raise RuntimeError(f"{', '.join(extra)} came for a model that takes tiles")

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images."""
        found = self.vision(joined(images, self.device))  # [T, image tokens a tile, H]
        return [part.flatten(0, 1) for part in found.split([len(tiles) for tiles in images])]  # each [N, H]

    def run(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Compute chunks; logits in their order."""
        order = like_with_like(chunks)
        chunks = [chunks[index] for index in order]
        batch = batch_of(chunks, self.cache.page_tokens)
        return in_order(self._run(chunks, batch), order, batch.outputs)

    def _run(self, chunks: abc.Sequence[Chunk], batch: Batch) -> torch.Tensor:
        ids = torch.from_numpy(tokens_of(chunks)).to(self.device)  # [S]
        found = features_of(chunks)
        if self.graphs is not None and batch.decoding and found is None and self.graphs.takes(batch):
            return self.graphs.decode(ids, batch)
        x = self.language_model.embed(ids)  # [S, H]
        if found is not None:
            x[torch.from_numpy(found.places).to(self.device)] = found.values
        return self.language_model(
            x,
            torch.from_numpy(batch.positions).to(self.device),
            self.attention.begin(batch),
            None if batch.decoding else torch.from_numpy(batch.last).to(self.device),
        )
