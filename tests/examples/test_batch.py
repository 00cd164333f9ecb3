"""The program of examples/batch: its class on this machine, and the whole job with Ray Data."""

import asyncio
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.support.server import ROOT

PROGRAM = ROOT / "examples" / "batch" / "caption_bucket.py"
IMAGES = ROOT / "examples" / "images"
EXPECTED = json.loads((IMAGES / "captions.json").read_text())
DAMAGED = b"\x89PNG\r\n\x1a\n"
SECONDS = 240


@pytest.mark.slow
def test_a_batch_is_captioned() -> None:
    """The engine answers a batch in its order, and a damaged file has its error in its row."""
    captioner = runpy.run_path(str(PROGRAM))["Captioner"](1, 0)
    names = sorted(EXPECTED)
    files = [(IMAGES / name).read_bytes() for name in names] + [DAMAGED]

    async def answers() -> list[dict[str, Any]]:
        return [batch async for batch in captioner({"bytes": files, "path": [*names, "damaged.png"]})]

    try:
        (batch,) = asyncio.run(answers())
    finally:
        captioner.close()
    assert batch["caption"] == [*(EXPECTED[name] for name in names), ""]
    assert batch["error_code"][-1] == "invalid_image"


@pytest.mark.service
def test_the_job_captions_a_directory(tmp_path: Path) -> None:
    """Each image has the embedded model's caption, and a damaged file has its error, in Parquet."""
    (tmp_path / "images").mkdir()
    for image in IMAGES.glob("*.[jp][pn]g"):
        (tmp_path / "images" / image.name).write_bytes(image.read_bytes())
    (tmp_path / "images" / "damaged.png").write_bytes(DAMAGED)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, PROGRAM, tmp_path / "images", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {Path(row["image"]).name: row for row in parquet.read_table(tmp_path / "out").to_pylist()}
    assert {name: row["caption"] for name, row in rows.items() if row["caption"]} == EXPECTED
    assert rows["damaged.png"]["error_code"] == "invalid_image"
