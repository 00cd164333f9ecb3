"""The fused runner: InternVL models whose language model is Llama-like, layer by layer on fused weights."""

import logging
from collections import abc
from collections.abc import Mapping
from typing import Any

import torch

from service.checkpoint.loaded import LoadedModel
from service.engine.attention.batch import Batch
from service.engine.attention.varlen import flash_serves
from service.engine.runner.graphs import DecodeGraphs, Record
from service.engine.runner.language_model import LanguageModel
from service.engine.runner.packing import features_of, tokens_of
from service.engine.runner.pixels import normaliser_of
from service.engine.runner.runner import Runner
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


class FusedRunner(Runner):
    """See `Runner`."""

    name = "fused"

    def __init__(self, loaded: LoadedModel, *, record: Record | None = None) -> None:
        """Take a model over; `record` makes recordings of decode steps with flash attention.

        Without it they run as they are.
        """
        model: Any = loaded.model
        self.device = loaded.device
        self.context_length = loaded.context_length
        self.language_model = LanguageModel(
            model.model.language_model, model.config.get_text_config(), model.lm_head, loaded.context_length
        )
        shape = self.language_model.shape
        vision = Vision(model.model, model.config, normaliser_of(loaded))
        flash = flash_serves(shape.device, shape.dtype, shape.channels)
        self.record = record if flash else None
        super().__init__(shape, flash=flash, vision=vision)

    def allocate(self, pages: int, page_tokens: int) -> None:
        """See `Runner`. Recorded steps have a page more, for their padding."""
        super().allocate(pages + (1 if self.record else 0), page_tokens)
        self.graphs: DecodeGraphs | None = None

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
