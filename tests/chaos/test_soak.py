"""Hours of load."""

import os
import time
from statistics import mean

import pytest

from tests.chaos.target import Target

SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))
STEP_S = 60.0
GROWTH = 1.05
MIB = 2**20
# Resident bytes of the replica, and of all processes of the pod, which count shared pages more than once.
MEMORY = """python - <<'END'
import pathlib
replica = whole = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        pages = int((process / "statm").read_text().split()[1])
        name = (process / "cmdline").read_bytes()
    except OSError:
        continue
    whole += pages
    replica += pages * name.startswith(b"ray::ServeReplica")
print(replica * 4096, whole * 4096)
END"""


@pytest.mark.slow
@pytest.mark.skipif(not SECONDS, reason="takes hours; set SOAK_SECONDS=7200 to run it")
def test_memory_stays(target: Target) -> None:
    """Under hours of streams, slow uploads and new images, memory does not grow and no request fails."""
    names = [str(pod["metadata"]["name"]) for pod in target.workers()]
    taken = list[list[int]]()
    end = time.monotonic() + SECONDS
    with target.under_load(f"{SECONDS:.0f} s of load", seeds=(25,), pauses_s=(0.5, 1.0)) as report:
        while time.monotonic() < end:
            taken.append([int(word) for name in names for word in target.execute(name, MEMORY).split()])
            print(time.strftime("%H:%M:%S"), len(report.load.asked), *(n // MIB for n in taken[-1]))  # noqa: T201
            time.sleep(STEP_S)
    assert report.failed == []
    quarter = len(taken) // 4
    for series in zip(*taken, strict=True):
        assert mean(series[-quarter:]) <= GROWTH * mean(series[quarter : 2 * quarter])
