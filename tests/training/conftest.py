"""The embedded checkpoint, loaded once for all tests of this folder."""

from pathlib import Path

import pytest

from training.captioner import Captioner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def embedded() -> Path:
    return ROOT / "service" / "models" / "embedded"


@pytest.fixture(scope="session")
def captioner(embedded: Path) -> Captioner:
    return Captioner(embedded)
