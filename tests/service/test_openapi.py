"""The OpenAPI document against the server: schemathesis makes requests from it and checks the answers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

# No schema can say which strings are images, so that a right one is refused is no finding. All else that
# schemathesis knows is checked: statuses, types and bodies as described, wrong data refused, no 500.
CHECKS = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
BUDGET = ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--generation-deterministic"]
SECONDS = 120


def test_the_server_is_as_its_document_says(address: str, tmp_path: Path) -> None:
    """No request that schemathesis makes from the document gets an answer that is not described."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "run", f"{address}/openapi.json", *CHECKS, *BUDGET, "--no-color"]
    done = subprocess.run(  # noqa: S603 - the command is built above
        command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout
