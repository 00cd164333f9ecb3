"""The number format of weights and activations."""

import torch

from service.engine_options import RequestedDtype
from service.errors import DeviceError

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose(requested: RequestedDtype, device: torch.device) -> torch.dtype:
    """The number format on a device; "auto" is bfloat16 on a GPU and float32 on the CPU.

    Raises DeviceError for a format that the device does not compute in.
    """
    if requested == "auto":
        requested = "float32" if device.type == "cpu" else "bfloat16"
    if requested not in DTYPES:
        raise DeviceError(f"dtype {requested!r} is not known; use auto, {', '.join(DTYPES)}")
    dtype = DTYPES[requested]
    if device.type == "cpu" and dtype is torch.float16:
        raise DeviceError("dtype float16 is not for the CPU; use float32, or bfloat16 for half the memory")
    if device.type == "cuda" and dtype is torch.bfloat16 and not _has_bfloat16(device):
        name = torch.cuda.get_device_name(device)
        raise DeviceError(f"{name} does not compute in bfloat16; use dtype float16 or float32")
    return dtype


def name_of(dtype: torch.dtype) -> str:
    """The format's name without the library's, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def _has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
