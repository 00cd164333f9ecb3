"""`capstan caption` as a program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.conftest import records
from tests.client.fake_server import FakeServer, fake_server
from tests.support.server import ROOT

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "k8s.cli", "caption"]
SECONDS = 60
START_SECONDS = 180  # of a server, on a busy machine


def capstan(
    *arguments: str | Path, seconds: float = SECONDS, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env={**os.environ, **variables},
    )


def test_the_environment_names_server_and_key(images: Path, tmp_path: Path) -> None:
    """CAPSTAN_SERVER and CAPSTAN_API_KEY are used, and the exit code is 0."""
    with fake_server() as fake:
        fake.key = "secret"
        done = capstan(
            images, "-o", tmp_path / "out.jsonl", CAPSTAN_SERVER=fake.url, CAPSTAN_API_KEY="secret"
        )
    assert done.returncode == 0, done.stderr
    assert "captioned 3, failed 0" in done.stderr
    assert "secret" not in done.stderr


def test_the_exit_code_says_that_an_image_failed(images: Path, fake: FakeServer) -> None:
    """Exit code 1, and the caption and the error of each image on standard output."""
    (images / "a.png").write_text("bad")
    done = capstan(images, "--server", fake.url)
    assert done.returncode == 1
    assert f"{images}/a.png\tinvalid_image: image is damaged" in done.stdout
    assert f"{images}/b.JPG\tof b" in done.stdout


def test_wrong_usage_has_a_code_of_its_own(fake: FakeServer) -> None:
    """An image that does not exist is exit code 64, and the sentence says what to do."""
    done = capstan("absent.png", "--server", fake.url)
    assert done.returncode == 64
    assert done.stderr == "capstan: absent.png does not exist; name an image, a directory, a glob or a URL\n"


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    """After kill -9 in the middle, the same command captions the rest, and each image has one record."""
    (tmp_path / "photos").mkdir()
    for number in range(200):
        (tmp_path / "photos" / f"{number}.png").write_text(str(number))
    output = tmp_path / "out.jsonl"
    with fake_server(seconds=0.01) as fake:
        fake.enough = 40
        arguments = [str(tmp_path / "photos"), "-o", str(output), "--server", fake.url, "-c", "4"]
        process = subprocess.Popen([*COMMAND, *arguments])  # noqa: S603 - our own command
        assert fake.reached.wait(SECONDS)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = len(output.read_text().splitlines())
        done = capstan(*arguments)
    assert done.returncode == 0, done.stderr
    found = records(output)
    assert {Path(name).stem for name in found} == {str(number) for number in range(200)}
    assert 30 <= kept < 200
    # At most the requests that were in progress were asked twice.
    assert len(fake.images) <= 200 + 4 + 1


def test_the_embedded_server_is_started_for_a_run(tmp_path: Path) -> None:
    """Without a server, the embedded model captions the images."""
    output = tmp_path / "out.csv"
    image = ROOT / "examples" / "images" / "shapes.png"
    done = capstan(image, "-o", output, seconds=START_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "a red circle left of a blue square" in output.read_text()
