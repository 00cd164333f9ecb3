"""The volume at /tmp of a worker is full."""

import time

import httpx
import pytest

from tests.chaos.target import Target
from tests.e2e.load import IMAGE

FULL_S = 30.0
# `sizeLimit` in values.yaml keeps it from being the node's disk.
FILL = "head -c 8G /dev/zero > /tmp/fill 2>/dev/null; df --output=avail /tmp | tail -1"
# So much that a temporary file would be written.
LARGE = IMAGE + bytes(2 * 2**20)


@pytest.mark.slow
def test_tmp_of_a_worker_is_full(target: Target) -> None:
    """While /tmp of a worker is full, captions come, those of large files too; then all is as before."""
    victim = target.worker()
    with target.under_load("/tmp of a worker full") as report:
        report.now()
        try:
            assert int(target.execute(victim, FILL)) == 0
            ends = time.monotonic() + FULL_S
            answers = []
            while time.monotonic() < ends:
                headers = {"Host": target.site.host}
                url = f"{target.site.address}/caption"
                answers.append(
                    httpx.post(url, files={"image": LARGE}, headers=headers, timeout=60).status_code
                )
        finally:
            target.execute(victim, "rm /tmp/fill")
        target.wait_until_whole()
        report.back()
    assert set(answers) == {200}
    assert report.failed == []
