"""Weights of a model's layers, fused for fewer and larger operations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from service.checkpoint.quantization import QuantizedLinear, product
from service.errors import DeviceError


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
class Quantized(Linear):
    """A matrix [out, in] in 8 bits with its scales [out, 1]."""

    scale: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The product with x [..., in]: [..., out]."""
        return product(x, self.weight, self.scale, self.bias)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`residual` plus the product."""
        return residual + self(x)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector [H] for each token of the vocabulary."""

    weight: torch.Tensor

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [..., H] of ids [...]."""
        return self.weight[ids]


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer or root-mean-square norm over the last dimension; `least` is `eps` as a tensor [1]."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float
    centered: bool
    least: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """X normalised, in its own shape."""
        if self.centered:
            return nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        if x.is_cuda or x.dtype != torch.float32:
            return nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        # On the CPU the function above is twice as many operations as this.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # [..., 1]
        scale = torch.addcmul(self.least, length, length, value=1 / x.shape[-1]).rsqrt_()
        return torch.mul(x, scale).mul_(self.weight)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a weight that this rank has."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fuse(*layers: Any) -> Linear:  # noqa: ANN401 - nn.Linear or QuantizedLinear
    """Layers of the same input as one, their outputs side by side. The layers then share its memory.

    Raises DeviceError for layers of which only some are quantized.
    """
    if len({layer.weight.dtype for layer in layers}) > 1:
        raise DeviceError(
            "some layers of one input are quantized and others cannot be; leave CAPSTAN_QUANTIZATION out"
        )
    weight = torch.cat([local(layer.weight.data) for layer in layers])
    biased = layers[0].bias is not None
    bias = torch.cat([local(layer.bias.data) for layer in layers]) if biased else None
    if isinstance(layers[0].weight, DTensor):
        for layer in layers:
            layer.weight = layer.bias = None
        return Linear(weight, bias)
    first = 0
    for layer in layers:  # the model keeps no second copy
        rows = slice(first, first := first + layer.weight.shape[0])
        layer.weight.data = weight[rows]
        if bias is not None:
            layer.bias.data = bias[rows]
    quantized = [layer for layer in layers if isinstance(layer, QuantizedLinear)]
    if quantized:
        return Quantized(weight, bias, torch.cat([layer.scale for layer in quantized]))
    return Linear(weight, bias)


def linear(layer: Any) -> Linear:  # noqa: ANN401 - as above
    """A layer as it is."""
    bias = None if layer.bias is None else layer.bias.data
    if isinstance(layer, QuantizedLinear):
        return Quantized(layer.weight.data, bias, layer.scale)
    return Linear(layer.weight.data, bias)


def norm(layer: Any) -> Norm:  # noqa: ANN401 - the norms of transformers are many classes
    """A norm of either kind."""
    weight = layer.weight.data
    if isinstance(layer, nn.LayerNorm):
        return Norm(weight, layer.bias.data, layer.eps, centered=True, least=weight.new_tensor([layer.eps]))
    eps = layer.variance_epsilon
    return Norm(weight, None, eps, centered=False, least=weight.new_tensor([eps]))
