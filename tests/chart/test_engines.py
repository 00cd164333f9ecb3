"""Models that another server runs."""

import re
from typing import Any

import pytest

from service.settings import Settings
from tests.chart.rendering import RefusedError, render

COMMAND = "vllm serve {model} --host {host} --port {port}"


def values(engine: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {
        "models": {"m": {"source": "a/b", "engine": engine, **model}},
        "nodePools": {"gpu": {"gpusPerNode": 1}},
    }


def test_an_engine_of_a_command() -> None:
    """The command and the parameters to pass reach the replica, whose settings accept them."""
    given = render(values({"kind": "command", "command": COMMAND, "pass": ["vllm"]})).application("m")["args"]
    settings = Settings(**given)
    assert (settings.engine, settings.engine_command, settings.engine_pass) == ("command", COMMAND, ("vllm",))


def test_an_engine_elsewhere() -> None:
    """The address and the model's name there reach the replica, which gets no GPU."""
    engine = {"kind": "url", "url": "http://vllm:8000", "model": "big"}
    rendered = render(values(engine, gpusPerReplica=0))
    settings = Settings(**rendered.application("m")["args"])
    assert (settings.engine, settings.engine_url, settings.engine_model) == ("url", "http://vllm:8000", "big")
    assert rendered.deployment("m")["ray_actor_options"]["num_gpus"] == 0


def test_the_native_engine_is_not_mentioned() -> None:
    """Without a choice the arguments of a replica are as before, so an upgrade restarts none for this."""
    assert not [name for name in render(values({})).application("m")["args"] if name.startswith("engine")]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"kind": "command"}, "models.m.engine.command is empty"),
        ({"kind": "url"}, "models.m.engine.url is empty"),
        ({"command": COMMAND}, "models.m.engine.kind is native"),
        ({"pass": ["vllm"]}, "models.m.engine.pass is set, but models.m.engine.kind is native"),
        ({"kind": "url", "url": "http://x"}, "Set models.m.gpusPerReplica to 0"),
        ({"kind": "vllm"}, "kind"),
    ],
)
def test_contradictions_are_refused(engine: dict[str, Any], words: str) -> None:
    """An engine without what it needs, or with what another needs, is refused."""
    with pytest.raises(RefusedError, match=re.escape(words)):
        render(values(engine))
