import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from time import monotonic

import numpy as np
import psutil
import pytest
from PIL import Image

from service.errors import ErrorCode, RequestError, StartupError
from service.media.decode import ImageLimits, LocalDecoder, decode
from service.media.sandbox.pool import DecodePool
from service.media.sandbox.process import PROGRAM
from service.media.sandbox.worker import Bounds
from service.media.tiles import TileSpec
from tests.support.images import photo, png, saved

pytestmark = pytest.mark.slow

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=1_000_000)
SECONDS = 0.3

# What a file might do to its decoder, done by files that say so.
HOSTILE = """
def hostile(data, limits):
    import os, signal, time
    if data == b"hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 32)) - {signal.SIGPROF})
        while True:
            pass
    if data == b"wait":
        time.sleep(60)
    if data == b"wait for good":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(60)
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"exit":
        os._exit(0)
    if data == b"eat":
        eaten = bytearray(2 ** 34)
    if data == b"environment":
        raise RequestError("invalid_image", repr(sorted(os.environ)))
    if data == b"talk":
        os.write(1, b"FORGED"); os.write(2, b"FORGED")
    return decode(data, limits)

from service.errors import RequestError
from service.media.sandbox import worker
from service.media.decode import decode
worker.decode = hostile
main(
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """Two decoding processes that some files can harm."""
    program = PROGRAM.replace("main(", HOSTILE.lstrip(), 1)
    pool = DecodePool(Bounds(LIMITS, SECONDS), processes=2, program=program)
    pool.wait_until_ready()
    yield pool
    pool.close()


GOOD = saved(photo())


def refused(pool: DecodePool, data: bytes) -> RequestError:
    with pytest.raises(RequestError) as error:
        pool.decode(data)
    return error.value


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        saved(photo(1, 1)),
        saved(photo(600, 400)),
        saved(photo(mode="RGBA")),
        saved(photo(300, 200), "JPEG"),
        saved(photo(300, 200), "WEBP"),
        saved(Image.new("I;16", (400, 300), 40_000)),
    ],
)
def test_pixels_come_back_as_they_are(pool: DecodePool, data: bytes) -> None:
    """An image, small or large, is the same as if it were decoded here."""
    image, expected = pool.decode(data), decode(data, LIMITS)
    assert (image.mode, image.size, image.tobytes()) == ("RGB", expected.size, expected.tobytes())


@pytest.mark.parametrize(
    "spec",
    [
        TileSpec(56, 12),
        TileSpec(56, 1),
        TileSpec(56, 6, min_tiles=4, thumbnail=False),
        TileSpec(448, 2),  # more than fits in an answer, through shared memory
        TileSpec(448, 12),  # more than the limit of pixels
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(64, 48), (600, 200)])
def test_tiles_come_back_as_they_are(pool: DecodePool, spec: TileSpec, size: tuple[int, int]) -> None:
    """An image comes back in the tiles that it would be cut into here, few or many."""
    data = saved(photo(*size))
    found = pool.cut(data, spec)
    assert found.dtype == np.uint8
    assert np.array_equal(found, LocalDecoder(LIMITS).cut(data, spec))


def test_tiles_outlive_the_next_ones(pool: DecodePool) -> None:
    """Tiles keep their pixels when their process cuts others."""
    for spec in (TileSpec(56, 1), TileSpec(448, 1)):
        files = [saved(Image.new("RGB", (40, 30), (shade, 0, 0))) for shade in (10, 20, 30)]
        found = [pool.cut(file, spec) for file in files]
        assert [tiles[0, 3, 3].tolist() for tiles in found] == [[10, 0, 0], [20, 0, 0], [30, 0, 0]]


def test_a_file_that_breaks_its_decoder_is_refused_where_it_is_cut(pool: DecodePool) -> None:
    """What a file may do to its decoder fails its own image alone, also where tiles are asked for."""
    spec = TileSpec(56, 12)
    with pytest.raises(RequestError, match="crashed its decoder"):
        pool.cut(b"crash", spec)
    assert pool.cut(GOOD, spec).shape == (13, 56, 56, 3)


def test_images_outlive_the_next_one(pool: DecodePool) -> None:
    """An image keeps its pixels when its process decodes others."""
    for size in ((40, 30), (600, 400)):
        files = [saved(Image.new("RGB", size, (shade, 0, 0))) for shade in (10, 20, 30)]
        images = [pool.decode(file) for file in files]
        assert [image.getpixel((3, 3)) for image in images] == [(10, 0, 0), (20, 0, 0), (30, 0, 0)]


@pytest.mark.parametrize("data", [b"", b"no image", b"x" * 2**21, png(2000, 2000), GOOD[:-30]])
def test_refusals_come_back_as_they_are(pool: DecodePool, data: bytes) -> None:
    """A file that is refused is refused in the same words as if it were decoded here."""
    with pytest.raises(RequestError) as expected:
        decode(data, LIMITS)
    error = refused(pool, data)
    assert (error.code, error.message, error.field) == (expected.value.code, expected.value.message, "image")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hang", "image took more than 0.3 s to decode (CAPSTAN_DECODE_TIMEOUT)"),
        (b"wait", "image took more than 0.3 s to decode (CAPSTAN_DECODE_TIMEOUT)"),
        (b"crash", "image crashed its decoder"),
        (b"exit", "image crashed its decoder"),
        (b"eat", "image crashed its decoder"),
    ],
)
def test_a_file_can_only_harm_its_own_request(pool: DecodePool, data: bytes, words: str) -> None:
    """A decoder that hangs, crashes or eats memory fails its own image in time, and others go on."""
    start, errors = monotonic(), list[RequestError]()
    thread = threading.Thread(target=lambda: errors.append(refused(pool, data)))
    thread.start()
    for _ in range(5):
        assert pool.decode(GOOD).size == (64, 48)
    thread.join(20)
    assert errors[0].code == ErrorCode.INVALID_IMAGE
    assert errors[0].message.startswith(words)
    assert monotonic() - start < 20
    assert pool.decode(GOOD).size == (64, 48)


def test_a_process_that_cannot_end_itself_is_killed(pool: DecodePool) -> None:
    """Where even the kernel's alarm is blocked, the replica kills the process a little later."""
    error = refused(pool, b"wait for good")
    assert error.message.startswith("image took more than 0.3 s")


def test_a_process_that_died_idle_costs_no_request(pool: DecodePool) -> None:
    """A process that something else has ended is replaced, and the file that finds it so is decoded."""
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
        psutil.Process(pid).wait(5)
    assert pool.decode(GOOD).size == (64, 48)


def test_a_process_has_no_secrets(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the replica, where tokens are, does not reach a decoding process."""
    assert "HF_TOKEN" in os.environ or not monkeypatch.setenv("HF_TOKEN", "secret")
    names = refused(pool, b"environment").message
    assert "OMP_NUM_THREADS" in names
    assert "HF_TOKEN" not in names
    assert "PATH'" not in names.replace("LD_LIBRARY_PATH", "")


def test_what_a_decoder_writes_is_dropped(pool: DecodePool, capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries' own output about a file, which its sender could shape, does not reach the log."""
    refused(pool, b"talk")
    assert "FORGED" not in "".join(capfd.readouterr())


def test_processes_end_with_a_replica_that_is_killed() -> None:
    """Decoding processes end when the process that holds them is killed without warning."""
    program = (
        "import time\n"
        "from service.media.decode import ImageLimits\n"
        "from service.media.sandbox.pool import DecodePool\n"
        "from service.media.sandbox.worker import Bounds\n"
        "pool = DecodePool(Bounds(ImageLimits(), 10.0), processes=1)\n"
        "pool.wait_until_ready()\n"
        "print(*pool.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:  # noqa: S603
        assert holder.stdout is not None
        child = psutil.Process(int(holder.stdout.readline()))
        holder.kill()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_does_not_start_says_so() -> None:
    """If decoding processes cannot start, the message names the setting to change."""
    pool = DecodePool(Bounds(LIMITS, SECONDS), processes=1, program="raise SystemExit(1)")
    with pytest.raises(StartupError, match="CAPSTAN_DECODE_PROCESSES=0"):
        pool.wait_until_ready()
    pool.close()


def test_a_process_imports_little() -> None:
    """A decoding process imports neither torch nor the web server, so that it starts at once."""
    program = "import sys, service.media.sandbox.worker; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)  # noqa: S603
    assert not {"torch", "fastapi", "ray", "aiohttp", "asyncio"} & set(out.stdout.decode().split())
