"""The device of a replica, one of the GPUs that Ray gave it or the CPU, what it computes in and what is free.

Ray sets CUDA_VISIBLE_DEVICES for each replica, so index 0 is the first GPU of the replica, never the first
of the machine. A fraction of a GPU looks like a whole one here; what others leave free on it bounds us.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch

from service.engine_options import RequestedDevice, RequestedDtype, computes_on_cpu
from service.errors import DeviceError

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

KIBIBYTE = 2**10
# A cgroup of version 1 without a limit reports the largest page-aligned number that fits 63 bits.
NO_LIMIT = 2**60


class Cuda(Protocol):
    """What is asked of `torch.cuda`; a test gives its own."""

    def is_available(self) -> bool:
        """Whether a driver and at least one visible GPU are there."""
        ...

    def device_count(self) -> int:
        """The visible GPUs."""
        ...

    def mem_get_info(self, device: torch.device, /) -> tuple[int, int]:
        """Free and total bytes of a GPU, in all its processes."""
        ...

    def memory_reserved(self, device: torch.device, /) -> int:
        """Bytes that this process' allocator holds."""
        ...

    def max_memory_reserved(self, device: torch.device, /) -> int:
        """The most bytes that it has held since `reset_peak_memory_stats`."""
        ...

    def reset_peak_memory_stats(self, device: torch.device, /) -> None:
        """Begin to look for a peak."""
        ...

    def empty_cache(self) -> None:
        """Give unused bytes back to the driver."""
        ...


def pick(requested: RequestedDevice, gpus: float, *, cuda: Cuda = torch.cuda) -> torch.device:
    """The device to compute on: ``cpu``, or the first of the visible GPUs.

    `gpus` is how many Ray gave the replica; a fraction counts as one. Raises DeviceError where a GPU was
    asked for, or given by Ray, and PyTorch sees none.
    """
    if computes_on_cpu(requested, gpus):
        return torch.device("cpu")
    if cuda.is_available() and cuda.device_count() > 0:
        return torch.device("cuda", 0)
    raise DeviceError(_no_gpu(requested, gpus))


def _no_gpu(requested: RequestedDevice, gpus: float) -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"device {requested!r} with {gpus:g} GPUs from Ray needs a GPU, but this PyTorch "
            f"{torch.__version__} is built without CUDA; use an image with the CUDA build of PyTorch, "
            "or set CAPSTAN_DEVICE=cpu"
        )
    if gpus > 0:
        return (
            f"Ray gave this replica {gpus:g} GPUs, but PyTorch sees none; check the NVIDIA driver and the "
            "device plugin of the node (nvidia-smi), or set CAPSTAN_DEVICE=cpu"
        )
    return (
        "device 'cuda' is set, but PyTorch sees 0 GPUs and Ray gave this replica 0; set num_gpus in "
        "ray_actor_options, check the NVIDIA driver of the node (nvidia-smi), or set CAPSTAN_DEVICE=cpu"
    )


def dtype_on(requested: RequestedDtype, device: torch.device) -> torch.dtype:
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


def free_bytes(device: torch.device, *, cuda: Cuda = torch.cuda, root: Path = Path("/")) -> int:
    """Bytes that can still be allocated on a device.

    On a GPU: what its driver calls free. On the CPU: the least of the machine's available memory and of
    what each cgroup above this process leaves (versions 1 and 2). `root` holds ``proc`` and ``sys``.
    """
    if device.type == "cuda":
        return cuda.mem_get_info(device)[0]
    return min([_available_bytes(root), *_cgroup_bytes(root)])


def memory(device: torch.device, *, cuda: Cuda = torch.cuda) -> tuple[int, int]:
    """Used and total bytes of a GPU, by whomever; zeros for the CPU."""
    if device.type != "cuda":
        return 0, 0
    free, total = cuda.mem_get_info(device)
    return total - free, total


def _available_bytes(root: Path) -> int:
    """MemAvailable of /proc/meminfo (proc(5)); no bound where there is no such file."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return NO_LIMIT
    found = (int(line.split()[1]) * KIBIBYTE for line in lines if line.startswith("MemAvailable:"))
    return next(found, NO_LIMIT)


def _cgroup_bytes(root: Path) -> Iterator[int]:
    """What each limited cgroup of this process leaves, in bytes (cgroups(7))."""
    for directory, limit_name, usage_name in _cgroup_files(root):
        limit, usage = _number(directory / limit_name), _number(directory / usage_name)
        if limit is not None and limit < NO_LIMIT and usage is not None:
            yield max(0, limit - usage + _reclaimable_bytes(directory / "memory.stat"))


def _cgroup_files(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Directories of the process' memory cgroups from the innermost outwards, with their file names."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        inner = top / path.lstrip("/")
        for directory in [inner, *inner.parents]:
            yield directory, *names
            if directory == top:
                break


def _reclaimable_bytes(stat: Path) -> int:
    """Page cache that a cgroup counts as used but that gives way: the weights' own files, above all."""
    try:
        fields = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", "0")))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
