"""Weights of a model's layers, fused for fewer and larger operations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix [out, in] and perhaps a bias [out]."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The product with x [..., in]: [..., out]."""
        return nn.functional.linear(x, self.weight, self.bias)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`residual` plus the product, in one operation where there is no bias; both are matrices."""
        if self.bias is not None:
            residual = residual + self.bias
        return torch.addmm(residual, x, self.weight.t())


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer or root-mean-square norm over the last dimension."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float
    centred: bool

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """X normalised, in its own shape."""
        if self.centred:
            return nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        return nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def fuse(*layers: Any) -> Linear:  # noqa: ANN401 - nn.Linear, or a quantised stand-in for it
    """Layers of the same input as one, their outputs side by side. The layers then share its memory."""
    weight = torch.cat([layer.weight.data for layer in layers])
    biased = layers[0].bias is not None
    bias = torch.cat([layer.bias.data for layer in layers]) if biased else None
    first = 0
    for layer in layers:  # the model keeps no second copy
        rows = slice(first, first := first + layer.weight.shape[0])
        layer.weight.data = weight[rows]
        if bias is not None:
            layer.bias.data = bias[rows]
    return Linear(weight, bias)


def linear(layer: Any) -> Linear:  # noqa: ANN401 - as above
    """A layer as it is."""
    return Linear(layer.weight.data, None if layer.bias is None else layer.bias.data)


def norm(layer: Any) -> Norm:  # noqa: ANN401 - the norms of transformers are many classes
    """A norm of either kind."""
    if isinstance(layer, nn.LayerNorm):
        return Norm(layer.weight.data, layer.bias.data, layer.eps, centred=True)
    return Norm(layer.weight.data, None, layer.variance_epsilon, centred=False)
