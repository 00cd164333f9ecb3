"""The runners against transformers' own `generate`, over small random models of several families."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
import torch

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.engine.runner import fused
from service.engine.runner.pixels import joined, normaliser_of, pixels
from service.engine.runner.vision import Vision
from service.native.engine import Engine
from service.protocol.request import Request, Sampling, Turn
from tests.support.checkpoints import make_internvl
from tests.support.running import answer, ask, by_generate, picture, running

pytestmark = pytest.mark.slow

# The language model, what sets it apart, and the runner that it gets.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("llama", {"attention_bias": True, "mlp_bias": True}, "fused"),
    "llama of one key-value head": ("llama", {"num_key_value_heads": 1}, "fused"),
    "llama with dynamic positions": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        "fused",
    ),
    "qwen2": ("qwen2", {}, "fused"),
    "qwen3": ("qwen3", {}, "fused"),
    "mistral": ("mistral", {"sliding_window": None}, "transformers"),
    "qwen3 with experts": (
        "qwen3_moe",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        "transformers",
    ),
    "mistral with a window": ("mistral", {"sliding_window": 64}, "transformers"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedModel, str]:
    """A model with logits far apart, so that no rounding decides, and the runner that it is to get."""
    text, changes, runner = FAMILIES[request.param]
    directory = make_internvl(tmp_path_factory.mktemp("model") / "random", text, text_changes=changes)
    loaded = load(str(directory))
    sharpen(loaded)
    return loaded, runner


def sharpen(loaded: LoadedModel) -> None:
    """Spread the random weights, since those that a model begins with make all logits nearly alike."""
    torch.manual_seed(1)
    for name, weight in loaded.model.named_parameters():
        if weight.ndim > 1 and "embed" not in name:
            weight.data.normal_(0, weight.shape[-1] ** -0.5)
        elif "q_norm" in name or "k_norm" in name or "norm" in name:
            weight.data.uniform_(0.5, 1.5)
    loaded.model.get_input_embeddings().weight.data.normal_()


def some_requests(count: int, seed: int) -> list[Request]:
    """Requests with and without images, of short and longer prompts."""
    chance, found = random.Random(seed), list[Request]()
    sizes = [(56, 56), (112, 112), (112, 56)]
    for number in range(count):
        images = [
            picture(100 * seed + number + k, *chance.choice(sizes))
            for k in range(chance.choice([0, 1, 1, 2]))
        ]
        words = "What is " * chance.choice([1, 3, 20])
        found.append(Request((Turn("user", (*images, words)),), Sampling(chance.choice([2, 9, 20]))))
    return found


async def at_any_time(engine: Engine, requests: list[Request]) -> list[str]:
    """The answers to requests that arrive at random within a tenth of a second."""
    chance = random.Random(0)

    async def one(request: Request) -> str:
        await asyncio.sleep(chance.random() * 0.1)
        return (await engine.submit(request).result()).text

    return await asyncio.gather(*map(one, requests))


def test_every_family_is_answered_as_by_generate(family: tuple[LoadedModel, str]) -> None:
    """Greedy text equals `generate` for every runner, whatever the batch, the chunk and the arrival."""
    loaded, runner = family
    requests = some_requests(10, seed=3)
    expected = [by_generate(loaded, request) for request in requests]
    with running(loaded, slots=4, prefill_tokens=40) as engine:
        assert engine.describe().runner == runner
        assert asyncio.run(at_any_time(engine, requests)) == expected
    assert len(set(expected)) > 5, "a model that always says the same proves nothing"


def test_the_fused_runner_gives_what_the_transformers_runner_gives(family: tuple[LoadedModel, str]) -> None:
    """Where both runners serve a model, they give the same texts."""
    loaded, runner = family
    if runner != "fused":
        assert not fused.serves(loaded)
        return
    requests = some_requests(8, seed=4)
    with running(loaded, slots=3) as engine:
        expected = [completion.text for completion in answer(engine, *requests)]
    with running(loaded, slots=5, prefill_tokens=33, runner="transformers") as engine:
        assert engine.describe().runner == "transformers"
        assert [completion.text for completion in answer(engine, *requests)] == expected


def test_long_and_short_answers_share_the_steps(family: tuple[LoadedModel, str]) -> None:
    """A long sequence in its own pool of rows and short ones in theirs are each answered as alone."""
    loaded, _ = family
    requests = [ask(picture(n), f"word {n}", max_tokens=300 if n == 0 else 12) for n in range(5)]
    expected = [by_generate(loaded, request) for request in requests]
    with running(loaded) as engine:
        assert [completion.text for completion in answer(engine, *requests)] == expected


def test_tiles_seen_in_several_passes_have_the_same_features(family: tuple[LoadedModel, str]) -> None:
    """However many tiles a pass takes, features are those of the model's own vision tower."""
    loaded, _ = family
    tiles = np.random.default_rng(0).integers(0, 256, (7, 56, 56, 3), np.uint8)
    config: Any = loaded.model.config
    normalise = normaliser_of(loaded)
    vision = Vision(loaded.model.model, config, normalise)
    with torch.inference_mode():
        expected = loaded.model.get_image_features(pixels([tiles], normalise, loaded.device)).pooler_output
        for at_once in (1, 3, 7, 100):
            vision.tiles_at_once = at_once
            torch.testing.assert_close(vision(joined([tiles], loaded.device)), expected, rtol=1e-4, atol=1e-5)
