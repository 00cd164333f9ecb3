"""Builders over small checkpoints, made once."""

from pathlib import Path

import pytest

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from tests.support.checkpoints import make_internvl
from tests.support.original_checkpoints import make_original


@pytest.fixture(scope="package")
def ported(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A checkpoint of the ``-hf`` layout with a byte-level tokenizer."""
    return load(str(make_internvl(tmp_path_factory.mktemp("ported"))))


@pytest.fixture(scope="package")
def original(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A checkpoint of the original layout with InternLM2's sentencepiece tokenizer."""
    return load(str(make_original(tmp_path_factory.mktemp("original") / "model")))


@pytest.fixture(scope="package")
def original_qwen(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A checkpoint of the original layout with Qwen2's tokenizer files."""
    folder: Path = tmp_path_factory.mktemp("original") / "qwen"
    return load(str(make_original(folder, "Qwen2ForCausalLM", template="internvl2_5")))


@pytest.fixture(params=["ported", "original", "original_qwen"])
def model(request: pytest.FixtureRequest) -> LoadedModel:
    """Each of the small models in turn."""
    found: LoadedModel = request.getfixturevalue(request.param)
    return found
