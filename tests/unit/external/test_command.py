"""A server that the replica starts as its child."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.api.bodies.images import image_limits
from service.errors import EngineStopped, RequestError, StartupError
from service.external.engine import ExternalEngine
from service.external.process import arguments
from service.external.start import external_engine
from service.media.decode import LocalDecoder
from service.settings import Settings
from tests.support.fake_answers import TEXT
from tests.support.server import ROOT
from tests.unit.external.conftest import SECONDS, until
from tests.unit.external.test_engine import question, run

PROGRAM = f"{sys.executable} -m tests.support.fake_engine"
ON_PORT = PROGRAM + " --port {port}"


@contextmanager
def started(command: str, **changes: Any) -> Iterator[ExternalEngine]:
    settings = Settings(**{"engine": "command", "engine_command": command, **changes})
    engine = external_engine(settings, 0, LocalDecoder(image_limits(settings)))
    engine.start()
    try:
        yield engine
    finally:
        engine.close(SECONDS)


async def answered(engine: ExternalEngine, text: str = "describe") -> str:
    try:
        return (await engine.submit(question(text)).result()).text
    finally:
        await asyncio.to_thread(engine.close, SECONDS)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.slow
@pytest.mark.parametrize("listen", ["--port {port}", "--socket {socket}"])
def test_the_server_is_started_and_ended(listen: str) -> None:
    """The server is started on loopback or a socket, answers, and is gone after the replica's end."""
    before = children()
    with started(f"{PROGRAM} {listen}") as engine:
        assert children() - before
        assert engine.describe().kind == "command"
        assert run(answered(engine)) == TEXT
    assert not children() - before


@pytest.mark.slow
def test_progress_is_logged_and_prompts_are_not(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of the start reach our log; of later ones, which may quote a prompt, an error's name."""
    caplog.set_level("INFO")
    with started(ON_PORT) as engine, pytest.raises(RequestError):
        run(answered(engine, "die"))
    lines = [record.getMessage() for record in caplog.records if record.name == "capstan.engine.server"]
    assert lines == ["Loading weights: 100%", "ValueError"]


@pytest.mark.slow
def test_a_server_that_dies_stops_the_engine() -> None:
    """A server that dies fails the request in progress, and makes the replica unhealthy."""
    with started(ON_PORT) as engine:

        async def lose() -> None:
            with pytest.raises(RequestError, match="the engine failed on this request"):
                await engine.submit(question("die")).result()
            await asyncio.to_thread(until, lambda: not is_well(engine))
            with pytest.raises(EngineStopped, match="ended with status 3"):
                engine.check()
            await asyncio.to_thread(engine.close, SECONDS)

        run(lose())


def is_well(engine: ExternalEngine) -> bool:
    try:
        engine.check()
    except EngineStopped:
        return False
    return True


@pytest.mark.slow
def test_a_server_that_dies_at_its_start() -> None:
    """A server that ends before it is healthy: the start fails with the last lines of its log."""
    before = children()
    with (
        pytest.raises(StartupError, match=r"status 1; its last lines: .*no kernel image"),
        started(ON_PORT + " --start dies"),
    ):
        pass
    assert not children() - before


@pytest.mark.slow
def test_a_server_that_never_gets_healthy() -> None:
    """A server that is too slow to start is ended at the time limit."""
    before = children()
    limit = pytest.raises(StartupError, match=r"CAPSTAN_ENGINE_START_TIMEOUT.*Loading weights")
    with limit, started(ON_PORT + " --start never", engine_start_timeout=2.0):
        pass
    assert not children() - before


@pytest.mark.slow
def test_a_command_that_does_not_exist() -> None:
    """A command that is not installed is named by the error."""
    missing = pytest.raises(StartupError, match="status 127; its last lines: no-such-server: No such file")
    with missing, started("no-such-server --port {port}"):
        pass


@pytest.mark.slow
def test_a_killed_replica_takes_the_server_along(tmp_path: Path) -> None:
    """A replica that is killed leaves neither the server nor a process of another group behind."""
    file = tmp_path / "pid"
    program = (
        "import sys, time\n"
        "from service.external.process import ServerProcess\n"
        "server = ServerProcess(sys.argv[1:], secrets={}, grace=1.0)\n"
        "time.sleep(60)\n"
    )
    command = [*PROGRAM.split(), "--socket", str(tmp_path / "socket"), "--child-file", str(file)]
    replica = subprocess.Popen([sys.executable, "-c", program, *command], cwd=ROOT)  # noqa: S603
    until(lambda: file.exists() and file.read_text() != "")
    family = psutil.Process(replica.pid).children(recursive=True)
    assert int(file.read_text()) in {one.pid for one in family}
    os.kill(replica.pid, signal.SIGKILL)
    replica.wait(SECONDS)
    _, alive = psutil.wait_procs(family, SECONDS)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    assert alive == []


def test_placeholders_stay_within_their_arguments() -> None:
    """A value with a space is one argument; a command without quotes is split at spaces."""
    command = arguments("vllm serve {model} --port={port} 'a b'", {"model": "/models/my model", "port": "80"})
    assert command == ["vllm", "serve", "/models/my model", "--port=80", "a b"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("vllm {modle}", "has {modle}; its placeholders are {model}, {port}"),
        ("vllm '", "is not a command"),
        ("vllm {", "is not a command"),
        (" ", "is empty"),
    ],
)
def test_a_wrong_command_is_refused(template: str, words: str) -> None:
    """A command with an unknown placeholder, or that is none, is refused with a sentence."""
    with pytest.raises(StartupError) as caught:
        arguments(template, {"model": "m", "port": "1"})
    assert words in str(caught.value)


def test_a_pinned_revision_is_not_lost() -> None:
    """A pinned commit that the command would ignore is refused."""
    with (
        pytest.raises(StartupError, match=r"has no \{revision\}"),
        started(ON_PORT, model="a/b", model_revision="c0ffee"),
    ):
        pass
