"""Several processes that share one model, over gloo on the CPU."""

import asyncio
import json
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.engine.ranks.messages import Failed
from service.engine_options import EngineOptions, RunnerName
from service.errors import DeviceError
from service.media.decode import ImageLimits, LocalDecoder
from service.native.engine import Engine
from service.native.rank_process import RankProcess
from service.native.start import native_engine
from service.protocol.request import Grammar, Request
from service.settings import Settings
from tests.support.checkpoints import make_internvl
from tests.support.running import answer, ask, by_generate, picture, running, until
from tests.unit.native.test_rank_group import SETUP, check_until_it_raises, gone, processes

pytestmark = pytest.mark.slow

SOAK_SECONDS = 240


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose heads four ranks can share."""
    directory = tmp_path_factory.mktemp("parallel") / "small"
    return make_internvl(directory, text_changes={"num_key_value_heads": 4})


@pytest.fixture(scope="module")
def whole(checkpoint: Path) -> LoadedModel:
    return load(str(checkpoint))


def requests() -> list[Request]:
    return [
        ask("a red circle", max_tokens=9),
        ask(picture(1), "What is this?", max_tokens=20),
        ask(picture(2, 224, 112), "and", picture(3), "describe", max_tokens=12),
        ask("What is in this picture?" * 4, max_tokens=16),
    ]


async def cancel_some(engine: Engine) -> None:
    """Requests of which every other is cancelled, some before they begin and some later."""
    chance = random.Random(3)

    async def one(number: int) -> None:
        handle = engine.submit(ask(picture(number % 5), f"{number}", max_tokens=60))
        if number % 2:
            await handle.result()
            return
        stream = handle.stream()
        for _ in range(chance.randrange(3)):
            await anext(stream, None)
        await stream.aclose()  # type: ignore[attr-defined]
        handle.cancel()

    await asyncio.gather(*map(one, range(24)))
    await until(lambda: engine.stats().running == engine.stats().waiting == engine.stats().pages_used == 0)


@pytest.mark.parametrize(("size", "runner"), [(2, "auto"), (2, "transformers"), (4, "auto")])
def test_ranks_give_the_tokens_of_one_process(
    size: int, runner: RunnerName, checkpoint: Path, whole: LoadedModel
) -> None:
    """Answers of several ranks equal those of one, before and after many cancellations; nothing is left."""
    options = EngineOptions(runner=runner, prefill_tokens=40, slots=6, prompt_lookup=3 if size == 2 else 0)
    setup = replace(SETUP, size=size, directory=str(checkpoint), options=options)
    expected = [by_generate(whole, request) for request in requests()]
    steered = ask(
        picture(3),
        "?",
        max_tokens=200,
        presence_penalty=0.5,
        grammar=Grammar("json_schema", '{"type": "array", "items": {"type": "boolean"}, "maxItems": 4}'),
    )
    with running(whole) as alone, processes(setup) as (engine, ranks):
        assert engine.describe().runner == ("fused" if runner == "auto" else "transformers")
        assert [completion.text for completion in answer(engine, *requests())] == expected
        asyncio.run(asyncio.wait_for(cancel_some(engine), SOAK_SECONDS))
        assert [completion.text for completion in answer(engine, *requests())] == expected
        (one,), (found,) = (answer(an_engine, steered) for an_engine in (alone, engine))
        assert found.text == one.text
        json.loads(found.text)
        assert (engine.stats().accepted_tokens > 0) == (size == 2)
        held, pids = ranks.held_bytes, [process.pid for process in ranks.processes]
        vision, every = (
            sum(parameter.numel() * parameter.element_size() for parameter in parameters)
            for parameters in (whole.model.model.vision_tower.parameters(), whole.model.parameters())
        )
        assert all(part < vision + 0.6 * (every - vision) for part in held.values())
        os.kill(pids[1], signal.SIGKILL)
        assert f"rank 1 of {size} was ended by signal 9" in check_until_it_raises(engine, 10)
    assert all(map(gone, pids))


@pytest.mark.slow
def test_heads_that_cannot_be_divided_are_refused(checkpoint: Path) -> None:
    """A rank refuses a number of GPUs that does not divide the heads before it waits for the others."""
    process = RankProcess(0, cpu=True)
    process.channel.send(replace(SETUP, size=3, directory=str(checkpoint)))
    message, _ = process.channel.receive(60)
    process.end()
    process.reap(10)
    assert isinstance(message, Failed)
    assert isinstance(message.refusal, DeviceError)
    assert str(message.refusal).startswith("4 attention heads cannot be divided among 3 GPUs; use 1, 2 or 4 ")


def test_static_batches_on_several_gpus_are_refused(checkpoint: Path) -> None:
    """The runner `generate` computes on one GPU alone."""
    decoder = LocalDecoder(ImageLimits())
    with pytest.raises(DeviceError, match="needs CAPSTAN_GPUS_PER_REPLICA to be 1, not 2"):
        native_engine(Settings(model=str(checkpoint), gpus_per_replica=2, runner="generate"), 0, decoder)
