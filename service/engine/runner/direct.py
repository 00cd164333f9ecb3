"""The direct runner: InternVL models whose language model is Llama-like, layer by layer on fused weights."""

from collections import abc
from typing import Any

import numpy as np
import torch

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.pixels import joined, normaliser_of
from service.engine.pools import Place
from service.engine.runner.cache import Cache
from service.engine.runner.graphs import DecodeGraphs, Record
from service.engine.runner.language_model import LanguageModel
from service.engine.runner.prompts import in_batches, read
from service.engine.runner.rows import last_tokens, rows_of
from service.engine.runner.vision import Vision
from service.engine.schedule import Chunk
from service.engine.sequence import Sequence

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
        and _sees(loaded)
        and text.rope_parameters.get("rope_type", "default") in ROPES
        and loaded.context_length <= text.max_position_embeddings
    )


def _sees(loaded: LoadedModel) -> bool:
    """Whether the vision tower is one that `Vision` computes."""
    config: Any = loaded.model.config
    vision = config.vision_config
    return bool(
        config.vision_feature_layer == -1
        and config.vision_feature_select_strategy == "default"
        and config.projector_hidden_act == "gelu"
        and vision.hidden_act == "gelu"
        and vision.use_absolute_position_embeddings
    )


class DirectRunner:
    """See `BatchRunner`. Called by one thread alone."""

    name = "direct"

    def __init__(self, loaded: LoadedModel, *, record: Record | None = None) -> None:
        """Take a model over; `record` makes recordings of decode steps, without it they run as they are."""
        model: Any = loaded.model
        self.record = record
        self.graphs: DecodeGraphs | None = None
        self.device = loaded.device
        self.vision = Vision(model.model, model.config, normaliser_of(loaded))
        text = model.config.get_text_config()
        self.decoder = LanguageModel(model.model.language_model, text, model.lm_head, loaded.context_length)
        self.token_bytes = self.decoder.shape.token_bytes
        self.cache = Cache(self.decoder.shape, 0)

    def allocate(self, tokens: int) -> None:
        """Make the cache."""
        self.cache = Cache(self.decoder.shape, tokens)
        self.graphs = DecodeGraphs(self.decoder, self.cache, self.record) if self.record else None

    def move(self, source: Place, target: Place, length: int) -> None:
        """Copy a row of the cache onto another."""
        self.cache.move(source, target, length)

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images."""
        found = self.vision(joined(images, self.device))  # [T, image tokens a tile, H]
        return [part.flatten(0, 1) for part in found.split([len(tiles) for tiles in images])]  # each [N, H]

    def prefill(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Read chunks of prompts; logits in their order."""
        return in_batches(chunks, lambda batch: read(self.decoder, batch, self.cache))

    def decode(self, running: abc.Sequence[abc.Sequence[Sequence]]) -> torch.Tensor:
        """One token for every run."""
        if self.graphs is not None:
            return self.graphs.decode(running)
        ids = torch.tensor(last_tokens(running), device=self.device)  # [B]
        return self.decoder.decode(ids, self.cache, rows_of(self.cache, running))
