"""What a transformers model's own forward needs of a prompt besides its tokens and images.

It comes from the hooks that `generate` uses: position ids (three-dimensional for Qwen), and which tokens see
later ones. The hooks read the configuration alone, so a model without weights will do.

Letters: S tokens of the prompt, P position axes.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel

from service.prompt.reading import Positions, Sight, Visible

# Axes of position ids where the first is that of text and the others are those of Qwen's rotary embedding.
TEXT_AND_ROTARY = 4


class PromptReader:
    """The hooks of one model. Safe to call from several threads."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        # As `generate` does; transformers has no public name for it.
        self._positions: Any = self.model._prepare_position_ids_for_generation  # noqa: SLF001
        self._plain = all(
            getattr(type(model), name) is getattr(GenerationMixin, name)
            for name in ("_prepare_position_ids_for_generation", "prepare_inputs_for_generation")
        )
        self._mask_config = _masking(model.config) if hasattr(model, "create_masks_for_generate") else None

    @property
    def looks_ahead(self) -> bool:
        """Whether there are prompts whose tokens see later ones."""
        return self._mask_config is not None

    def positions(
        self, ids: Sequence[int], extra: Mapping[str, np.ndarray | torch.Tensor]
    ) -> Positions | None:
        """Position ids of a prompt; None where they are the places of the tokens."""
        if self._plain:
            return None
        tokens = torch.tensor([ids])
        known = {
            name: torch.as_tensor(value) for name, value in extra.items() if not name.startswith("pixel_")
        }
        known["attention_mask"] = torch.ones_like(tokens)
        known["position_ids"] = self._positions(tokens, known)
        prepared = self.model.prepare_inputs_for_generation(tokens, is_first_iteration=True, **known)
        found = prepared["position_ids"].squeeze(-2).cpu().numpy()  # [S] or [P, S]
        return Positions(found, _shift(found))

    def sight(self, ids: Sequence[int], extra: Mapping[str, np.ndarray | torch.Tensor]) -> Sight | None:
        """What tokens see, where some see later ones; None where all see those before them alone."""
        types = {
            name: torch.as_tensor(value) for name, value in extra.items() if name.endswith("token_type_ids")
        }
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


def _visible(mask: torch.Tensor | None, length: int) -> Visible:
    if mask is None:
        return Visible(np.zeros(length, np.int64), np.arange(1, length + 1))
    seen = mask[0, 0].numpy()  # [S, S]
    return Visible(seen.argmax(-1), length - seen[:, ::-1].argmax(-1))
