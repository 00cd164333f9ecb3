"""What a model's layers ask of attention, found by running a few tokens through them.

Configurations name these things in a hundred ways; what reaches the attention function is what is so.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from service.engine.runner.model_attention import attending
from service.errors import CheckpointError

TOKENS = 8
# Of the logits' norm, by which two ways to compute attention may differ.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
COARSE_TOLERANCE = 0.1
LENGTH_DEPENDENT = ("dynamic", "longrope")
KINDS = frozenset(("full_attention", "sliding_attention"))


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Attention of a layer: key-value heads, channels of a head, and the tokens that it sees (None: all)."""

    heads: int
    channels: int
    window: int | None
    softcap: float | None


@dataclass(slots=True)
class _Observed:
    """A `LayerAttention` over one short sequence that takes note of every layer."""

    shapes: dict[int, LayerShape] = field(default_factory=dict)

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
        last: bool = False,  # noqa: ARG002 - models of transformers compute every token of every layer
    ) -> torch.Tensor:
        if key.shape != value.shape or key.shape[0] != query.shape[0]:
            raise _UnlikeError("its keys and values differ in shape")
        if layer in self.shapes:
            raise _UnlikeError("it attends more than once in a layer")
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[2], window, softcap)
        groups = query.shape[1] // key.shape[1]
        key, value = (each.repeat_interleave(groups, 1) for each in (key, value))  # each [S, A, D]
        scale = query.shape[2] ** -0.5 if scale is None else scale
        scores = torch.einsum("sad,lad->asl", query, key) * scale  # [A, S, S]
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        later = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu_(1)  # [S, S]
        weights = scores.masked_fill(later, float("-inf")).softmax(-1, torch.float32)
        return torch.einsum("asl,lad->sad", weights.to(value.dtype), value)


class _UnlikeError(Exception):
    """A layer that is not plain attention."""


@torch.inference_mode()
def observe(model: PreTrainedModel) -> list[LayerShape]:
    """The layers of a model.

    Raises CheckpointError for one that batches of packed tokens cannot serve.
    """
    _refuse_by_configuration(model)
    caller: Any = model
    # As few as every window holds. Any will do, but an image token would ask for an image.
    count = min(TOKENS, getattr(model.config.get_text_config(), "sliding_window", None) or TOKENS)
    ids = torch.arange(count, device=model.device)[None] + 3  # [1, S]
    mask = torch.full(
        (1, 1, count, count), torch.finfo(model.dtype).min, dtype=model.dtype, device=model.device
    )
    given = {
        "input_ids": ids,
        "position_ids": ids - 3,
        "attention_mask": mask.triu_(1),  # without one PaliGemma would look ahead
        "use_cache": False,
        "return_dict": True,
    }
    try:
        expected = caller(**given).logits  # [1, S, V]
    except TypeError as error:
        raise _refusal(model, "it does not run on text alone") from error
    seen = _Observed()
    try:
        with attending(model.config.get_text_config(), seen):
            found = caller(**given).logits  # [1, S, V]
    except _UnlikeError as error:
        raise _refusal(model, str(error)) from error
    text = model.config.get_text_config()
    if sorted(seen.shapes) != list(range(text.num_hidden_layers)):
        raise _refusal(model, "not every layer of it is attention")
    shapes = [seen.shapes[layer] for layer in range(text.num_hidden_layers)]
    kinds = getattr(text, "layer_types", None) or ()
    if kinds and any(
        (kind == "sliding_attention") != (shape.window is not None)
        for kind, shape in zip(kinds, shapes, strict=True)
    ):
        raise _refusal(model, "its layers do not say how far they see")
    if len({(shape.heads, shape.channels) for shape in shapes}) > 1:
        raise _refusal(model, "its layers differ in key-value heads")
    difference = (found - expected).float().norm() / expected.float().norm()
    if not difference <= TOLERANCE.get(expected.dtype, COARSE_TOLERANCE):
        raise _refusal(model, f"its logits differ by {difference:.0%} under our attention")
    return shapes


def context_limit(model: PreTrainedModel) -> int | None:
    """Tokens of the longest sequence that can share a step with others; None where there is no such bound.

    Two kinds of rotary embedding have other frequencies for all sequences of a step once one is longer.
    """
    text: Any = model.config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") not in LENGTH_DEPENDENT:
        return None
    return int(rope.get("original_max_position_embeddings") or text.max_position_embeddings)


def _refuse_by_configuration(model: PreTrainedModel) -> None:
    text = model.config.get_text_config()
    takes = inspect.signature(model.forward).parameters
    if model.config.is_encoder_decoder:
        raise _refusal(model, "it has an encoder for text")
    if not hasattr(model.base_model, "get_image_features") or "mm_encoder_outputs" not in takes:
        raise _refusal(model, "it does not take image features apart from pixels")
    if getattr(model.config, "image_token_id", None) is None:
        raise _refusal(model, "its configuration names no image token")
    if others := sorted(set(getattr(text, "layer_types", None) or ()) - KINDS):
        raise _refusal(model, f"it has layers of {', '.join(others)}")


def _refusal(model: PreTrainedModel, why: str) -> CheckpointError:
    return CheckpointError(
        f"{type(model).__name__} cannot be batched continuously: {why}; "
        "set CAPSTAN_RUNNER=generate to serve it in static batches"
    )
