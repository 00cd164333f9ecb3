"""How long a checkpoint takes from the disk to memory, compared with `cat`, and the memory of the process.

The files are dropped from the page cache before each reading.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from bench.random_checkpoint import SMALL, ModelShape, write
from service.checkpoint.load import load
from service.settings import EMBEDDED_MODEL

GIBIBYTE = 2**30
CHILD = "from bench.load import load_here; load_here({!r})"


@dataclass(frozen=True, slots=True)
class Loading:
    """One pair of readings in seconds, the weights in bytes and the peak of the process that loaded them."""

    cat: float
    load: float
    weights: int
    peak: int

    def __str__(self) -> str:
        return (
            f"cat {self.cat:.1f} s, load {self.load:.1f} s ({self.load / self.cat:.2f} times), "
            f"weights {self.weights / GIBIBYTE:.2f} GiB, peak of the process beyond what it had before "
            f"{self.peak / GIBIBYTE:.2f} GiB"
        )


def shape_of(size: int) -> ModelShape:
    """Layers of an 8B model's form, as many as make about `size` bytes."""
    hidden, inner = 2048, 8192
    layer = 2 * (3 * hidden * hidden + 3 * hidden * inner)  # bytes in bfloat16; half as many key-value heads
    text = {
        "vocab_size": 600,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": max(1, size // layer),
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "max_position_embeddings": 1024,
    }
    return replace(SMALL, text=text)


def measure(directory: Path, *, size: int, times: int) -> Iterator[Loading]:
    """`cat` and the loader in turn."""
    write(directory, shape_of(size))
    files = sorted(directory.glob("*.safetensors"))
    for _ in range(times):
        forget(files)
        start = perf_counter()
        for file in files:
            subprocess.run(["/bin/sh", "-c", 'cat "$0" > /dev/null', str(file)], check=True)  # noqa: S603
        cat = perf_counter() - start
        forget(files)
        command = [sys.executable, "-c", CHILD.format(str(directory))]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
        yield Loading(cat, float(found[0]), sum(file.stat().st_size for file in files), int(found[1]))


def forget(files: list[Path]) -> None:
    """Drop files from the page cache."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_here(directory: str) -> None:
    """Load in this process; print the seconds and the bytes by which its peak grew."""
    load(str(EMBEDDED_MODEL))  # whatever is set up once
    before, start = peak_bytes(), perf_counter()
    load(directory, dtype="bfloat16")
    print(perf_counter() - start, peak_bytes() - before)


def peak_bytes() -> int:
    """The most bytes that were resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
