"""`capstan size`: GPUs and replicas for a rate of captions."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from k8s.cli import app
from k8s.errors import RefusedError, UsageError
from k8s.planning.sizing import GPUS, ModelShape, Workload, caption_seconds, size
from tools.sizing_data import INTERNVL2_8B

EMBEDDED = Path(__file__).parents[2] / "service/models/embedded"
SHAPE = ModelShape.from_config(INTERNVL2_8B)
WORK = Workload(images_per_second=20.0, tiles=13, tokens=200)


def test_memory_of_a_known_model() -> None:
    """InternVL2-8B takes what docs/models.md says: weights, cache for a token, tokens of a tile, pages."""
    assert SHAPE.weight_bytes / 2**30 == pytest.approx(15.0, abs=0.1)
    assert SHAPE.cache_bytes_per_token == 128 * 1024
    assert SHAPE.tokens_per_tile == 256
    found = size(SHAPE, GPUS["h200"], WORK)
    assert found is not None
    assert found.pages_per_caption == 14


def test_weights_of_a_checkpoint() -> None:
    """The weights counted from config.json are those in the file of the embedded model, within 3 percent."""
    shape = ModelShape.from_config(json.loads((EMBEDDED / "config.json").read_text()))
    stored = (EMBEDDED / "model.safetensors").stat().st_size
    assert shape.weight_bytes == pytest.approx(stored, rel=0.03)


def test_replicas_reach_the_rate() -> None:
    """The replicas reach the rate at 70 percent of their speed, and one fewer would not."""
    found = size(SHAPE, GPUS["h100"], WORK)
    assert found is not None
    planned = found.captions_per_second * 0.7
    assert (found.replicas - 1) * planned < WORK.images_per_second <= found.replicas * planned
    assert found.gpu_hours_a_month == found.replicas * 730


def test_a_small_card() -> None:
    """A card that holds the weights but not the cache of four captions gets company."""
    found = size(SHAPE, GPUS["l4"], Workload(1.0, 40, 200))
    assert found is not None
    assert found.gpus_per_replica > 1


def test_a_model_that_is_too_large() -> None:
    """A model that eight cards do not hold has no size."""
    text = {**INTERNVL2_8B["llm_config"], "num_hidden_layers": 2000}
    assert size(ModelShape.from_config({**INTERNVL2_8B, "llm_config": text}), GPUS["l4"], WORK) is None


@pytest.mark.parametrize("changed", [Workload(20.0, 26, 200), Workload(20.0, 13, 400)])
def test_more_work_takes_longer(changed: Workload) -> None:
    """More tiles and longer captions take longer, and a larger batch takes less for each caption."""
    seconds = caption_seconds(SHAPE, GPUS["h100"], WORK, batch=16, speed=1.0)
    assert caption_seconds(SHAPE, GPUS["h100"], changed, batch=16, speed=1.0) > seconds
    assert caption_seconds(SHAPE, GPUS["h100"], WORK, batch=64, speed=1.0) < seconds


def run(*arguments: str) -> Any:
    """Run `capstan size` with a rate."""
    found = CliRunner().invoke(app, ["size", *arguments, "--images-per-second", "20"])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_values_file() -> None:
    """The output is a values file, with the numbers in comments above."""
    found = run(str(EMBEDDED), "--gpu", "l4").stdout
    assert found.startswith("# 1 replica with 1 GPU of kind l4 each; 730 GPU hours a month\n")
    values = yaml.safe_load(found)
    assert values["models"]["main"]["gpusPerReplica"] == values["nodePools"]["gpu"]["gpusPerNode"] == 1


def test_refusals(tmp_path: Path) -> None:
    """An unknown card, a file that is no config.json and a model without a vision tower say what to do."""
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="not a readable JSON file; download"):
        run(str(tmp_path), "--gpu", "l4")
    (tmp_path / "config.json").write_text('{"text_config": {}}')
    with pytest.raises(UsageError, match="other families must be measured"):
        run(str(tmp_path), "--gpu", "l4")
    with pytest.raises(UsageError, match="not one of l4, a100, h100, h200"):
        run(str(EMBEDDED), "--gpu", "v100")
    text = {**INTERNVL2_8B["llm_config"], "num_hidden_layers": 2000}
    (tmp_path / "config.json").write_text(json.dumps({**INTERNVL2_8B, "llm_config": text}))
    with pytest.raises(RefusedError, match="choose a larger GPU"):
        run(str(tmp_path), "--gpu", "l4")
