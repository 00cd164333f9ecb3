"""What a transformers model's own forward needs of a prompt besides its tokens.

All of it comes from the hooks that `generate` uses: position ids (three-dimensional for Qwen), features of
images, and which tokens see later ones.

Letters: S tokens of the prompt, P position axes, N image tokens, H text channels, F channels of features.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from service.engine.prompt.reading import Positions, Sight, Visible
from service.errors import CheckpointError

# Axes of position ids where the first is that of text and the others are those of Qwen's rotary embedding.
TEXT_AND_ROTARY = 4

# What image encoders give. Of these a model's forward reads the pooled and the deepstack features alone.
ENCODER_FIELDS = frozenset(
    ("pooler_output", "deepstack_features", "last_hidden_state", "hidden_states", "attentions")
)


class ModelPrompts:
    """The hooks of one model."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        self.image_token: int | None = getattr(model.config, "image_token_id", None)
        self._encode: Any = getattr(model.base_model, "get_image_features", None)
        # As `generate` does; transformers has no public name for it.
        self._positions: Any = self.model._prepare_position_ids_for_generation  # noqa: SLF001
        self._plain = all(
            getattr(type(model), name) is getattr(GenerationMixin, name)
            for name in ("_prepare_position_ids_for_generation", "prepare_inputs_for_generation")
        )
        self._encodes = (
            frozenset(inspect.signature(self._encode).parameters) - {"kwargs"} if self._encode else ()
        )
        self._mask_config = _masking(model.config) if hasattr(model, "create_masks_for_generate") else None
        # How the encoder gives features; until it has given some, as most families do.
        self._output: type[ModelOutput] = BaseModelOutputWithPooling
        self._listed = False
        self._depths = 0

    @property
    def looks_ahead(self) -> bool:
        """Whether there are prompts whose tokens see later ones."""
        return self._mask_config is not None

    def positions(self, ids: Sequence[int], extra: Mapping[str, torch.Tensor]) -> Positions:
        """Position ids of a prompt."""
        if self._plain:
            return Positions(np.arange(len(ids)), np.asarray(0))
        tokens = torch.tensor([ids])
        known = {name: value for name, value in extra.items() if not name.startswith("pixel_")}
        known["attention_mask"] = torch.ones_like(tokens)
        known["position_ids"] = self._positions(tokens, known)
        prepared = self.model.prepare_inputs_for_generation(tokens, is_first_iteration=True, **known)
        found = prepared["position_ids"].squeeze(-2).cpu().numpy()  # [S] or [P, S]
        return Positions(found, _shift(found))

    def features(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features [N, F] of all images of a prompt: those that are embedded, then those of deeper layers.

        Raises CheckpointError where the model's forward needs more of an image than features.
        """
        device, dtype = self.model.device, self.model.dtype
        given = {name: value.to(device) for name, value in extra.items() if name in self._encodes}
        output = self._encode(**given, return_dict=True)
        if others := sorted(name for name in output if name not in ENCODER_FIELDS):
            raise CheckpointError(
                f"{type(self.model).__name__} cannot be batched continuously: it needs {', '.join(others)} "
                "of an image; set CAPSTAN_RUNNER=generate to serve it in static batches"
            )
        deeper = output.get("deepstack_features") or ()
        self._output, self._depths = type(output), len(deeper)
        self._listed = not isinstance(output.pooler_output, torch.Tensor)
        layers = [_flat(output.pooler_output), *(_flat(layer) for layer in deeper)]  # each [N, H]
        return torch.cat(layers, -1).to(dtype)

    def encoded(self, features: torch.Tensor) -> dict[str, ModelOutput]:
        """Features [N, F] in the form in which the model's forward takes them in place of pixels."""
        layers = features.chunk(self._depths + 1, -1)  # each [N, H]
        first = [layers[0]] if self._listed else layers[0][None]
        deeper = {"deepstack_features": [[layer] for layer in layers[1:]]} if self._depths else {}
        return {"image": self._output(pooler_output=first, **deeper)}

    def sight(self, ids: Sequence[int], extra: Mapping[str, torch.Tensor]) -> Sight | None:
        """What tokens see, where some see later ones; None where all see those before them alone."""
        types = {name: value for name, value in extra.items() if name.endswith("token_type_ids")}
        if self._mask_config is None or not types:
            return None
        masks = self.model.create_masks_for_generate(
            config=self._mask_config,
            inputs_embeds=torch.empty(1, len(ids), 0),
            attention_mask=None,
            past_key_values=None,
            position_ids=torch.arange(len(ids))[None],
            is_first_iteration=True,
            **types,
        )
        if not isinstance(masks, dict):
            masks = {"full_attention": masks}
        full = _visible(masks["full_attention"], len(ids))
        sliding = _visible(masks.get("sliding_attention", masks["full_attention"]), len(ids))
        alone = np.arange(1, len(ids) + 1)
        if (full.end == alone).all() and (sliding.end == alone).all():
            return None
        return Sight(full, sliding)


def _masking(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of a configuration under which transformers builds boolean masks."""
    copied = copy.deepcopy(config)
    copied._attn_implementation = "sdpa"  # noqa: SLF001 - transformers has no public name for it
    return copied


def _shift(positions: np.ndarray) -> np.ndarray:
    length = positions.shape[-1]
    if positions.ndim == 1:
        return np.asarray(positions.max() + 1 - length)
    axes = np.full(len(positions), positions[-3:].max() + 1 - length)
    if len(positions) == TEXT_AND_ROTARY:
        axes[0] = positions[0].max() + 1 - length
    return axes


def _flat(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Features of images, [B, N, H] or each [N, H], as [N, H]."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in features])


def _visible(mask: torch.Tensor | None, length: int) -> Visible:
    if mask is None:
        return Visible(np.zeros(length, np.int64), np.arange(1, length + 1))
    seen = mask[0, 0].numpy()  # [S, S]
    return Visible(seen.argmax(-1), length - seen[:, ::-1].argmax(-1))
