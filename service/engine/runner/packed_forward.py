"""One packed batch through a transformers model's own forward."""

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from service.engine.attention.protocol import LayerAttention
from service.engine.runner.attention_shape import observe
from service.engine.runner.model_attention import attending
from service.engine.runner.model_prompt import ModelPrompts


class PackedForward:
    """Runs the tokens of many sequences, one after the other, as one row of the model's batch.

    Letters: S tokens of the batch, B sequences, P position axes, N image tokens, H text channels, F channels
    of features, V vocabulary.
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
        """Logits [B, V] after the tokens at `last` [B].

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
            ).logits  # [1, B, V]
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
