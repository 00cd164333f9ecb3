"""Layers of a model that several ranks share: each holds whole heads, or a part of the vocabulary.

transformers divides the weights as it loads them; what is here computes with the parts of one rank.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedConfig

from service.checkpoint.quantization import QuantizedLinear
from service.engine.runner.layers import Embedding, Linear, linear, local
from service.errors import DeviceError

SETTING = "CAPSTAN_GPUS_PER_REPLICA"


def sharded(tensor: torch.Tensor, dimension: int) -> bool:
    """Whether a weight is divided in a dimension."""
    return isinstance(tensor, DTensor) and any(
        isinstance(placement, Shard) and placement.dim == dimension for placement in tensor.placements
    )


@dataclass(frozen=True, slots=True)
class RowParallel(Linear):
    """A matrix divided by its input: every rank has a part of each sum."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The product with x [..., in / ranks] of all ranks together: [..., out]."""
        out = torch.nn.functional.linear(x, self.weight)
        dist.all_reduce(out)
        return out if self.bias is None else out + self.bias

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`residual` plus the product."""
        return residual + self(x)


@dataclass(frozen=True, slots=True)
class ParallelEmbedding(Embedding):
    """Embeddings divided by the vocabulary: this rank has those from `first` on."""

    first: int

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [..., H] of ids [...]."""
        places = ids - self.first
        own = (places >= 0) & (places < len(self.weight))
        # Where a rank has no part of the vocabulary at all there is nothing to look up.
        found = self.weight.new_zeros(*ids.shape, self.weight.shape[1])
        if len(self.weight):
            looked_up = self.weight[places.clamp(0, len(self.weight) - 1)]  # [..., H]
            found = torch.where(own[..., None], looked_up, found)
        dist.all_reduce(found)
        return found


@dataclass(frozen=True, slots=True)
class ParallelHead(Linear):
    """A matrix divided by its output, of which `outputs` are gathered. `weight` is padded to equal parts."""

    outputs: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The product with x [B, in], of all ranks: [B, out]."""
        part = torch.nn.functional.linear(x, self.weight, self.bias)  # [B, out / ranks]
        ranks, (batch, rows) = dist.get_world_size(), part.shape
        parts = part.new_empty(ranks * batch, rows)
        dist.all_gather_into_tensor(parts, part.contiguous())
        return parts.view(ranks, batch, rows).transpose(0, 1).flatten(1)[:, : self.outputs]  # [B, out]


def row_parallel(layer: Any) -> Linear:  # noqa: ANN401 - nn.Linear, or its divided form
    """A layer whose input is what this rank computed of its heads."""
    if isinstance(layer, QuantizedLinear):
        return linear(layer)
    weight, bias = layer.weight.data, None if layer.bias is None else local(layer.bias.data)
    return (RowParallel if sharded(weight, 1) else Linear)(local(weight), bias)


def embedding(layer: Any) -> Embedding:  # noqa: ANN401 - nn.Embedding, or its divided form
    """The embeddings of a model."""
    weight = layer.weight.data
    if not sharded(weight, 0):
        return Embedding(local(weight))
    return ParallelEmbedding(local(weight), first=dist.get_rank() * _part(weight.shape[0]))


def head(layer: Any) -> Linear:  # noqa: ANN401 - nn.Linear, or its divided form
    """The head of a model."""
    weight, bias = layer.weight.data, None if layer.bias is None else layer.bias.data
    if not sharded(weight, 0):
        return Linear(local(weight), None if bias is None else local(bias))
    rows = _part(weight.shape[0])
    return ParallelHead(
        _padded(local(weight), rows),
        None if bias is None else _padded(local(bias), rows),
        outputs=weight.shape[0],
    )


def _part(count: int) -> int:
    """Rows of every rank but the last ones, which may have fewer."""
    return -(-count // dist.get_world_size())


def _padded(part: torch.Tensor, rows: int) -> torch.Tensor:
    missing = rows - len(part)
    return torch.cat((part, part.new_zeros(missing, *part.shape[1:]))) if missing else part


def refuse_indivisible(config: PreTrainedConfig, gpus: int) -> None:
    """Raise DeviceError where the text model's heads or its plan do not allow `gpus` equal parts."""
    text = config.get_text_config()
    if not text.base_model_tp_plan:
        raise DeviceError(
            f"models of type {text.model_type} have no tensor parallel plan in transformers, so "
            f"{gpus} GPUs cannot share one; set {SETTING} to 1"
        )
    heads = int(text.num_attention_heads)
    key_value_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    refuse_heads(heads, key_value_heads, gpus)


def refuse_heads(heads: int, key_value_heads: int, gpus: int) -> None:
    """Raise DeviceError, with the numbers that would do, where `gpus` does not divide both kinds of heads."""
    for count, kind in ((heads, "attention heads"), (key_value_heads, "key-value heads")):
        if count % gpus:
            raise DeviceError(
                f"{count} {kind} cannot be divided among {gpus} GPUs; "
                f"use {_listed(_divisors(gcd(heads, key_value_heads)))} ({SETTING})"
            )


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _listed(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
