"""Linear layers in 8 bits: weights with a scale for each output, activations with one for each token.

Scales of activations are found as they come, so nothing is calibrated, and a token's scale does not depend on
the others of its batch. Weights take half of their memory in bfloat16 and a quarter of that in float32.
"""

import torch
from torch import nn
from torch.nn.functional import ScalingType, scaled_mm
from transformers import PreTrainedModel

from service.device import name_of
from service.engine_options import Quantization
from service.errors import DeviceError

FORMATS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
LIMITS = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
# The smallest scale: that of a row of zeros.
LEAST = 1e-12
# What the matrix product of float8 asks of both dimensions of a weight.
FP8_MULTIPLE = 16
# GPUs before these have no float8: Ada and Hopper came with it.
FP8_CAPABILITY = (8, 9)
# Layers that stay as they are: the choice among tokens, and among experts.
KEPT = ("lm_head", "gate", "router")


def quantize(rows: torch.Tensor, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix [N, K] in 8 bits, and the scales [N, 1] in float32 that give it back."""
    limit = LIMITS[kind]
    scale = rows.abs().amax(1, keepdim=True).float().div_(limit).clamp_min_(LEAST)  # [N, 1]
    scaled = rows / scale
    if kind == torch.int8:
        return scaled.round_().to(kind), scale
    return scaled.clamp_(-limit, limit).to(kind), scale


def product(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The product of x [..., K] with a quantized weight [N, K] and its scales [N, 1]: [..., N]."""
    rows, own = quantize(x.reshape(-1, x.shape[-1]), weight.dtype)  # [M, K], [M, 1]
    if weight.dtype == torch.int8:
        whole = torch._int_mm(rows, weight.t())  # noqa: SLF001 - it has no public name; [M, N]
        out = whole.to(torch.float32).mul_(own).mul_(scale.t()).to(x.dtype)
    else:
        by_row = ScalingType.RowWise
        out = scaled_mm(rows, weight.t(), own, by_row, scale.t(), by_row, output_dtype=x.dtype)  # [M, N]
    if bias is not None:
        out = out.add_(bias)
    return out.view(*x.shape[:-1], len(weight))


class QuantizedLinear(nn.Module):
    """Takes the place of a linear layer; `weight` [N, K] is in 8 bits."""

    def __init__(self, layer: nn.Linear, kind: torch.dtype) -> None:
        super().__init__()
        weight, scale = quantize(layer.weight.data, kind)
        # Buffers, as transformers takes the number format of activations from the parameters.
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with x [..., K], and the bias: [..., N]."""
        return product(x, self.weight, self.scale, self.bias)


@torch.no_grad()
def quantize_model(model: PreTrainedModel, quantization: Quantization) -> int:
    """Put the linear layers of a model into 8 bits, one after another. Returns how many there are.

    Embeddings, the head and the choice of experts stay, and with fp8 layers whose sides are no multiples
    of 16.
    """
    kind, count = FORMATS[quantization], 0
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear or name.rpartition(".")[2] in KEPT:
            continue
        if quantization == "fp8" and any(side % FP8_MULTIPLE for side in module.weight.shape):
            continue
        model.set_submodule(name, QuantizedLinear(module, kind))
        count += 1
    return count


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    """All weights of a model, each in its own format."""
    quantized = (module for module in model.modules() if isinstance(module, QuantizedLinear))
    return [*model.parameters(), *(module.weight for module in quantized)]


def refuse_device(quantization: Quantization, device: torch.device, dtype: torch.dtype) -> None:
    """Raise DeviceError where a device has no 8-bit product of this kind."""
    setting = f"CAPSTAN_QUANTIZATION={quantization}"
    if quantization == "int8":
        if device.type != "cpu":
            raise DeviceError(f"{setting} is for the CPU; use fp8 on a GPU")
        return
    if device.type == "cpu":
        raise DeviceError(f"{setting} needs a GPU; use int8 on the CPU")
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        name, have = torch.cuda.get_device_name(device), ".".join(map(str, capability))
        raise DeviceError(
            f"{setting} needs compute capability 8.9 or more, as an L4 and an H100 have; {name} has {have}; "
            "leave the setting out"
        )
    if dtype != torch.bfloat16:
        raise DeviceError(f"{setting} computes in bfloat16, not in {name_of(dtype)}; set dtype auto")
