import asyncio
import gzip
import logging
import socket
import threading

import pytest

from service.errors import ErrorCode, RequestError
from tests.support.image_server import NAME, Answer, Clock, fetcher, site, skip, whole
from tests.unit.media.fetching import answer_of, answered, code, fetched, refused


async def trickle(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await skip(0.1)


async def trickle_headers(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: b\r\n")
        await writer.drain()
        await skip(1)


async def silent(_: str, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def silent_for_an_hour(_: str, _writer: asyncio.StreamWriter) -> None:
    await skip(3600)
    await asyncio.Event().wait()


async def endless(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


async def endless_headers(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: b\r\n" * 1000)
        await writer.drain()


async def nonsense(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()


@pytest.mark.parametrize("answer", [trickle, trickle_headers, silent_for_an_hour])
def test_a_slow_answer_ends_in_time(answer: Answer) -> None:
    """A fetch ends after its timeout, however slowly the server answers."""
    with asyncio.Runner(loop_factory=Clock) as runner:
        assert code(runner.run(answer_of(answer, seconds=20))) == ErrorCode.IMAGE_FETCH_FAILED


def test_an_answer_within_the_timeout_is_returned() -> None:
    """A slow server that answers within the timeout is waited for."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await skip(19)
        await whole(b"late")(path, writer)

    with asyncio.Runner(loop_factory=Clock) as runner:
        assert runner.run(answer_of(answer, seconds=20)) == b"late"


def test_a_slow_name_ends_in_time() -> None:
    """A name server that does not answer costs a fetch its seconds and no more."""
    release = threading.Event()

    def lookup(_host: str, _port: int) -> list[str]:
        release.wait(5)
        return []

    async def run() -> None:
        by = fetcher(443, http=False, lookup=lookup, seconds=0.1)
        with pytest.raises(RequestError) as error:
            await fetched(f"https://{NAME}/", by)
        release.set()
        assert error.value.code == ErrorCode.IMAGE_FETCH_FAILED

    asyncio.run(run())


def test_an_endless_body_is_cut_off() -> None:
    """A body without an announced length is read up to the limit."""
    result = answered(endless, max_bytes=1_000_000)
    assert code(result) == ErrorCode.IMAGE_TOO_LARGE
    assert "the limit is 1000000 (CAPSTAN_MAX_IMAGE_BYTES)" in str(result)


def test_an_announced_length_is_believed_when_it_is_too_much() -> None:
    """A body that announces more than the limit is not read."""
    assert code(answered(whole(b"", length=10**12), max_bytes=1000)) == ErrorCode.IMAGE_TOO_LARGE


def test_a_body_of_the_limit_is_taken() -> None:
    """The limit itself is allowed."""
    assert answered(whole(b"x" * 1000), max_bytes=1000) == b"x" * 1000


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"short", length=1000),
        whole(gzip.compress(b"0" * 10_000_000), headers=("Content-Encoding: gzip",)),
        whole(b"x", headers=("Content-Encoding: br",)),
        whole(b"x", status="404 Not Found"),
        whole(b"x", status="206 Partial Content"),
        whole(b"x", status="302 Found"),
        whole(status="204 No Content"),
        whole(b"x", headers=("A: " + "b" * 100_000,)),
        endless_headers,
        nonsense,
    ],
)
def test_all_failures_read_alike(answer: Answer) -> None:
    """Whatever an open server does wrong, the words are the same, and a compressed body is not expanded."""
    result = answered(answer)
    assert code(result) == ErrorCode.IMAGE_FETCH_FAILED
    assert str(result) == (
        "image_url could not be fetched; check that it returns the image itself, without a login"
    )


def test_a_closed_port_reads_like_a_failure() -> None:
    """Where nothing listens, the words are those for every other failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = refused(f"http://{NAME}:{port}/", fetcher(port))
    assert error.code == ErrorCode.IMAGE_FETCH_FAILED
    assert str(error).startswith("image_url could not be fetched; check")


def test_no_more_are_fetched_at_once() -> None:
    """Fetches beyond the limit wait until another one ends."""
    busy = most = 0
    pair = asyncio.Barrier(2)

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await pair.wait()  # no answer comes unless two fetches run at the same time
        await whole(b"x")(path, writer)
        busy -= 1

    async def run() -> None:
        async with site(answer) as here:
            by = fetcher(here.port, concurrent=2)
            assert await asyncio.gather(*(by.fetch(here.url(), field="f") for _ in range(8))) == [b"x"] * 8
            await by.close()

    asyncio.run(run())
    assert most == 2


def test_a_place_is_free_again_after_a_failure() -> None:
    """Fetches that fail, end late or are cancelled give their place back."""

    async def run() -> None:
        async with site(silent) as dead, site(whole(b"x")) as alive:
            by = fetcher(dead.port, alive.port, concurrent=1, seconds=0.05)
            for _ in range(3):
                with pytest.raises(RequestError):
                    await by.fetch(dead.url(), field="f")
            waiting = asyncio.ensure_future(by.fetch(dead.url(), field="f"))
            await asyncio.sleep(0)
            waiting.cancel()
            assert await by.fetch(alive.url(), field="f") == b"x"
            await by.close()

    asyncio.run(run())


def test_the_log_names_no_host(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells the kind of a failure, and neither URL nor address."""
    with caplog.at_level(logging.DEBUG, "capstan"):
        answered(whole(b"short", length=1000), path="/token-123")
    assert "ClientPayloadError" in caplog.text
    assert not any(secret in caplog.text for secret in (NAME, "127.0.0.1", "token-123"))


def test_a_fetcher_closes_without_having_fetched() -> None:
    """A fetcher that was never used closes, and closes twice."""

    async def run() -> None:
        by = fetcher()
        await by.close()
        await by.close()

    asyncio.run(run())
