"""Checkpoints of other families through the whole engine: their own processor, packed steps, text."""

import asyncio
from pathlib import Path

import pytest
import torch

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from tests.support.other_checkpoints import FAMILIES, make_other
from tests.support.running import by_generate, running
from tests.unit.engine.test_runners import at_any_time, some_requests


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A checkpoint with weights large enough that answers vary."""
    directory: Path = tmp_path_factory.mktemp("other") / request.param
    found = load(str(make_other(directory, request.param)))
    torch.manual_seed(1)
    for weight in found.model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.2)
    return found


def test_a_checkpoint_is_answered_as_by_generate(loaded: LoadedModel) -> None:
    """Requests with and without images, at any time and in chunks, get the text that `generate` gives."""
    requests = some_requests(10, seed=3)
    expected = [by_generate(loaded, request) for request in requests]
    with running(loaded, slots=4, prefill_tokens=40) as engine:
        assert engine.describe().runner == "transformers"
        assert asyncio.run(at_any_time(engine, requests)) == expected
    assert len(set(expected)) > 5, "a model that always says the same proves nothing"
