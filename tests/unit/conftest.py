"""What holds for all unit tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small models are fastest on one thread, and a busy machine then times nothing out."""
    torch.set_num_threads(1)
