"""The runner over a model's own forward: any model of transformers with images whose layers are attention."""

from collections import abc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from service.checkpoint.loaded import LoadedModel
from service.engine.attention.backend import LayerAttention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import CacheShape
from service.engine.attention.varlen import flash_serves
from service.engine.runner.attention_shape import context_limit, observe
from service.engine.runner.model_attention import attending
from service.engine.runner.model_prompt import ModelPrompts
from service.engine.runner.packing import features_of, tokens_of
from service.engine.runner.pixels import normaliser_of, pixels
from service.engine.runner.runner import Runner
from service.engine.runner.vision import Vision, sees
from service.engine.scheduler import Chunk
from service.prompt.reading import causal


class PackedForward:
    """Runs the tokens of many sequences, one after the other, as one row of the model's batch.

    Letters: S tokens of the batch, R those with logits, P position axes, N image tokens, H text
    channels, F channels of features, V vocabulary.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Look at the model. Raises CheckpointError for one that packed batches cannot serve."""
        self.prompts = ModelPrompts(model)
        self.layers = observe(model)
        self._model: Any = model
        self._text = model.config.get_text_config()

    def __call__(
        self,
        ids: np.ndarray,
        positions: np.ndarray,
        last: np.ndarray,
        attention: LayerAttention,
        *,
        features: torch.Tensor | None = None,
        places: np.ndarray | None = None,
    ) -> torch.Tensor:
        """Logits [R, V] after the tokens at `last` [R].

        `ids` is [S], `positions` [S] or [P, S]; `features` [N, F] go to `places` [N] among the tokens.
        """
        device, given = self._model.device, {}
        if features is not None and places is not None and len(places):
            given["mm_encoder_outputs"] = self.prompts.encoded(self._at_image_tokens(ids, features, places))
        with attending(self._text, attention):
            logits = self._model(
                input_ids=torch.from_numpy(ids)[None].to(device),  # [1, S]
                position_ids=torch.from_numpy(positions)[..., None, :].to(device),  # [1, S] or [P, 1, S]
                use_cache=False,
                logits_to_keep=torch.from_numpy(last).to(device),
                return_dict=True,
                **given,
            ).logits  # [1, R, V]
        return logits[0]  # type: ignore[no-any-return]

    def _at_image_tokens(self, ids: np.ndarray, features: torch.Tensor, places: np.ndarray) -> torch.Tensor:
        """A row of features for every image token: one that a model wrote itself is embedded as text is."""
        token = self.prompts.image_token
        tokens = np.flatnonzero(ids == token)
        if len(tokens) == len(places):
            return features
        embedded = self._model.get_input_embeddings()(torch.tensor([token], device=features.device))  # [1, H]
        rows = features.new_zeros(len(tokens), features.shape[1])
        rows[:, : embedded.shape[1]] = embedded
        rows[torch.from_numpy(np.searchsorted(tokens, places)).to(features.device)] = features
        return rows


class TransformersRunner(Runner):
    """See `Runner`."""

    name = "transformers"

    def __init__(self, loaded: LoadedModel) -> None:
        """Take a model over. Raises CheckpointError for one that cannot be batched continuously."""
        model: Any = loaded.model
        self.forward = PackedForward(model)
        self.normalise = normaliser_of(loaded) if loaded.inputs.tiling is not None else None
        vision = None
        if self.normalise is not None and sees(model.config):
            vision = Vision(model.model, model.config, self.normalise)
        layers = self.forward.layers
        self.windows = {layer.window for layer in layers}
        # Flash attention has neither a softcap nor tokens that see later ones.
        plain = not self.forward.prompts.looks_ahead and not any(layer.softcap for layer in layers)
        super().__init__(
            CacheShape(len(layers), layers[0].heads, layers[0].channels, loaded.dtype, loaded.device),
            flash=plain and flash_serves(loaded.device, loaded.dtype, layers[0].channels),
            vision=vision,
            context_limit=context_limit(model),
        )

    def capture(self, most: int) -> None:
        """Record nothing: a forward of transformers is not the same work at every step."""

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """See `Runner`; other vision towers than InternVL's see through the model's own forward."""
        if self.vision is not None or self.normalise is None:
            return super().features(images)
        seen = pixels(images, self.normalise, self.shape.device)  # [T, 3, H, W]
        found = self.encode({"pixel_values": seen.to(self.shape.dtype)})  # [N, F]
        tokens = len(found) // len(seen)
        return list(found.split([tokens * len(tiles) for tiles in images]))

    def encode(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features of all images of a prompt whose pixels the checkpoint's own processor made: [N, F]."""
        return self.forward.prompts.features(extra)

    def _batch(self, chunks: abc.Sequence[Chunk]) -> Batch:
        return replace(super()._batch(chunks), visible=self._visible(chunks))

    def _run(self, chunks: abc.Sequence[Chunk], batch: Batch) -> torch.Tensor:
        found = features_of(chunks)
        return self.forward(
            tokens_of(chunks),
            _positions(chunks, batch),
            batch.last,
            self.attention.begin(batch),
            features=found.values if found else None,
            places=found.places if found else None,
        )

    def _visible(
        self, chunks: abc.Sequence[Chunk]
    ) -> Mapping[int | None, tuple[np.ndarray, np.ndarray]] | None:
        """See `Batch.visible`."""
        if all(chunk.sequence.sight is None or chunk.start >= len(chunk.sequence.prompt) for chunk in chunks):
            return None
        found = {}
        for window in self.windows:
            seen = [_seen(chunk, window) for chunk in chunks]
            found[window] = (
                np.concatenate([first for first, _ in seen]),
                np.concatenate([end for _, end in seen]),
            )
        return found


def _seen(chunk: Chunk, window: int | None) -> tuple[np.ndarray, np.ndarray]:
    sight = chunk.sequence.sight
    if sight is None:
        return causal(window, chunk.start, chunk.end)
    return sight.between(window, chunk.start, chunk.end)


def _positions(chunks: abc.Sequence[Chunk], batch: Batch) -> np.ndarray:
    """Position ids [S] or [P, S]."""
    own = [chunk.sequence.positions for chunk in chunks]
    if not any(own):  # they are the places of the tokens
        return batch.positions
    found = [one.between(chunk.start, chunk.end) for one, chunk in zip(own, chunks, strict=True) if one]
    return np.concatenate(found, -1)
