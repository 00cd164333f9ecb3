"""The device of a replica and the memory that is free on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from service.device import free_bytes, pick
from service.errors import DeviceError

GIBIBYTE = 2**30


@dataclass
class Gpus:
    """A machine with some GPUs."""

    count: int = 0
    free: int = 0

    def is_available(self) -> bool:
        return self.count > 0

    def device_count(self) -> int:
        return self.count

    def mem_get_info(self, device: torch.device, /) -> tuple[int, int]:
        assert device == torch.device("cuda", 0)
        return self.free, 80 * GIBIBYTE


@pytest.mark.parametrize(
    ("requested", "gpus", "visible", "expected"),
    [
        ("auto", 0, 0, "cpu"),
        ("auto", 0, 1, "cpu"),
        ("auto", 1, 1, "cuda:0"),
        ("auto", 0.5, 1, "cuda:0"),
        ("auto", 2, 2, "cuda:0"),
        ("cuda", 1, 1, "cuda:0"),
        ("cuda", 0, 1, "cuda:0"),
        ("cpu", 1, 1, "cpu"),
    ],
)
def test_device_follows_request_and_ray(requested: Any, gpus: float, visible: int, expected: str) -> None:
    """A replica computes on the first GPU that Ray made visible to it, and on the CPU without one."""
    assert pick(requested, gpus, cuda=Gpus(visible)) == torch.device(expected)


@pytest.mark.parametrize(
    ("requested", "gpus", "sentence"),
    [
        ("auto", 1, "Ray gave this replica 1 GPUs, but PyTorch sees none; check the NVIDIA driver"),
        ("cuda", 0, "PyTorch sees 0 GPUs and Ray gave this replica 0; set num_gpus"),
    ],
)
def test_missing_gpu_is_refused(
    requested: Any, gpus: float, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that was asked for and is not there is an error that says where to look."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(DeviceError, match=sentence):
        pick(requested, gpus, cuda=Gpus())


def test_build_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch cannot use any GPU, the error asks for another image."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(DeviceError, match="built without CUDA; use an image with the CUDA build"):
        pick("cuda", 1, cuda=Gpus())


def test_free_memory_of_a_gpu_is_the_drivers() -> None:
    """What other processes take of a GPU is not free."""
    assert free_bytes(torch.device("cuda", 0), cuda=Gpus(1, 12 * GIBIBYTE)) == 12 * GIBIBYTE


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system with 8 GiB of available memory and some cgroups."""
    all_files = {
        "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {8 * 2**20} kB\n",
        "proc/self/cgroup": groups,
    }
    for name, content in (all_files | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


VERSION_2 = "0::/pod/container\n"
VERSION_1 = "5:cpu,cpuacct:/x\n4:memory:/pod/container\n"


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        (VERSION_2, {}, 8 * GIBIBYTE),
        (
            VERSION_2,
            {
                "sys/fs/cgroup/pod/container/memory.max": "max\n",
                "sys/fs/cgroup/pod/container/memory.current": "1\n",
                "sys/fs/cgroup/pod/memory.max": f"{4 * GIBIBYTE}\n",
                "sys/fs/cgroup/pod/memory.current": f"{3 * GIBIBYTE}\n",
                "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {GIBIBYTE}\n",
            },
            2 * GIBIBYTE,
        ),
        (
            "0::/\n",
            {
                "sys/fs/cgroup/memory.max": f"{GIBIBYTE}",
                "sys/fs/cgroup/memory.current": f"{2 * GIBIBYTE}",
            },
            0,
        ),
        (
            VERSION_1,
            {
                "sys/fs/cgroup/memory/pod/container/memory.limit_in_bytes": f"{3 * GIBIBYTE}",
                "sys/fs/cgroup/memory/pod/container/memory.usage_in_bytes": f"{GIBIBYTE}",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
            },
            2 * GIBIBYTE,
        ),
        (
            # Inside a container of version 1 the path is the host's, and the limit is at the top.
            VERSION_1,
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIBIBYTE}",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIBIBYTE}",
            },
            2 * GIBIBYTE,
        ),
    ],
)
def test_free_memory_of_the_cpu_heeds_cgroups(
    tmp_path: Path, groups: str, files: dict[str, str], free: int
) -> None:
    """The tightest limit around the process bounds what it can still take, cached files aside."""
    assert free_bytes(torch.device("cpu"), root=machine(tmp_path, groups, files)) == free


def test_machine_without_proc_has_no_bound(tmp_path: Path) -> None:
    """Where the system tells nothing, nothing is refused."""
    assert free_bytes(torch.device("cpu"), root=tmp_path) > 2**59
