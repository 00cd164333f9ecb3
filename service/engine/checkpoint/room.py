"""Room for a checkpoint in a device's memory."""

import torch

from service.engine.checkpoint.dtype import name_of
from service.engine.checkpoint.progress import size
from service.errors import DeviceError

# Beside the weights: tensors that are being converted, the libraries' own, activations of one request.
SHARE = 0.05
FIXED = {"cuda": 512 * 2**20, "cpu": 64 * 2**20}


def refuse_too_large(needed: int, free: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raise DeviceError where weights of `needed` bytes, and a little beside them, exceed `free` bytes."""
    total = int(needed * (1 + SHARE)) + FIXED.get(device.type, FIXED["cpu"])
    if total <= free:
        return
    where = "memory of the CPU or its cgroup" if device.type == "cpu" else f"memory of {device}"
    raise DeviceError(
        f"weights in {name_of(dtype)} need {size(total)}, but {size(free)} of the {where} are free; "
        "give the replica more memory, choose a dtype of fewer bytes, or serve a smaller model"
    )
