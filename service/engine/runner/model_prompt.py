"""What a transformers model's own forward needs of a prompt besides its tokens.

All of it comes from the hooks that `generate` uses: position ids (three-dimensional for Qwen), features of
images, and which tokens see later ones.

Letters: S tokens of the prompt, P position axes, N image tokens, H text channels, F channels of features.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from service.errors import CheckpointError
from service.prompt.prompt_reader import PromptReader

# What image encoders give. Of these a model's forward reads the pooled and the deepstack features alone.
ENCODER_FIELDS = frozenset(
    ("pooler_output", "deepstack_features", "last_hidden_state", "hidden_states", "attentions")
)


class ModelPrompts(PromptReader):
    """See `PromptReader`; with the weights there are features of images too."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.image_token: int | None = getattr(model.config, "image_token_id", None)
        self._encode: Any = getattr(model.base_model, "get_image_features", None)
        self._encodes = (
            frozenset(inspect.signature(self._encode).parameters) - {"kwargs"} if self._encode else ()
        )
        # How the encoder gives features; until it has given some, as most families do.
        self._output: type[ModelOutput] = BaseModelOutputWithPooling
        self._listed = False
        self._depths = 0

    def features(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features [N, F] of all images of a prompt: those that are embedded, then those of deeper layers.

        Raises CheckpointError where the model's forward needs more of an image than features.
        """
        device, dtype = self.model.device, self.model.dtype
        # Processors give float32, and some towers take their own type alone.
        given = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in extra.items()
            if name in self._encodes
        }
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


def _flat(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Features of images, [B, N, H] or each [N, H], as [N, H]."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in features])
