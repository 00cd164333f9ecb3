"""Weight files: tensors are read whole, in blocks, into memory of their own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.load import measure
from service.checkpoint import files
from service.checkpoint.files import WeightFiles
from service.errors import CheckpointError

TENSORS = {
    "large": torch.arange(1000, dtype=torch.int64).view(10, 100),
    "half": torch.linspace(-3, 3, 77).to(torch.bfloat16),
    "one": torch.tensor(2.5),
    "none": torch.zeros(0, 4),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A checkpoint of a few tensors."""
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("block", [7, 64, 2**20])
def test_tensors_are_read_whole(directory: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every type and shape is what was saved, however many blocks it is read in."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    with WeightFiles(directory) as opened:
        found = {name: stored[...] for name, stored in opened.tensors.items()}
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_file_that_is_cut_while_it_is_read_is_refused(directory: Path) -> None:
    """A file that became shorter is an error, not a tensor of whatever was in memory."""
    with WeightFiles(directory) as opened:
        with (directory / "model.safetensors").open("r+b") as file:
            file.truncate(100)
        with pytest.raises(CheckpointError, match="became shorter"):
            opened.tensors["large"][...]


@pytest.mark.slow
def test_loading_holds_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    """The peak of a process that loads a checkpoint is the weights and little more."""
    (loading,) = measure(tmp_path, size=2**28, times=1)
    assert loading.weights > 2**27
    assert loading.peak < 1.2 * loading.weights
