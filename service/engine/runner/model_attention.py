"""The attention function under transformers models: it hands packed tokens to the step's paged attention.

transformers gives the queries, keys and values of every layer to the function that a configuration names.
During a step the language model's configuration names ours. It has no mask function on purpose: transformers
then builds no masks, which for a packed batch would be [tokens, tokens] large.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig

from service.engine.attention.backend import LayerAttention

NAME = "capstan_paged"

_current: ContextVar[LayerAttention] = ContextVar("layer attention")


@contextmanager
def attending(text: PreTrainedConfig, attention: LayerAttention) -> Iterator[None]:
    """Within this, the layers of the language model that `text` configures attend by `attention`."""
    before, text._attn_implementation = text._attn_implementation, NAME  # noqa: SLF001 - no public name
    token = _current.set(attention)
    try:
        yield
    finally:
        _current.reset(token)
        text._attn_implementation = before  # noqa: SLF001


def _attend(
    module: Any,  # noqa: ANN401 - any class with a layer_idx
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - none is built
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Query [1, A, S, D], key and value [1, K, S, D] in; [1, S, A, D] out."""
    found = _current.get()(
        module.layer_idx,
        query[0].transpose(0, 1),  # [S, A, D]
        key[0].transpose(0, 1),  # [S, K, D]
        value[0].transpose(0, 1),  # [S, K, D]
        scale=scaling,
        window=sliding_window,
        softcap=softcap,
    )
    return found[None], None


AttentionInterface.register(NAME, _attend)
