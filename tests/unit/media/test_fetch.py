import asyncio
import gzip
import logging
import socket
import threading
from contextlib import AbstractAsyncContextManager

import pytest
from yarl import URL

from service.errors import ErrorCode, RequestError
from service.media.fetch import Fetcher
from service.media.resolver import system_lookup
from service.media.url_policy import UrlRules
from tests.support.image_server import NAME, Answer, Clock, Site, fetcher, moved, site, skip, whole


async def fetched(url: str, by: Fetcher) -> bytes:
    try:
        return await by.fetch(url, field="image_url")
    finally:
        await by.close()


def refused(url: str, by: Fetcher) -> RequestError:
    with pytest.raises(RequestError) as error:
        asyncio.run(fetched(url, by))
    return error.value


def answered(answer: Answer, path: str = "/", **options: object) -> bytes | RequestError:
    """What a fetch gives from a site with this answer."""
    return asyncio.run(answer_of(answer, path, **options))


async def answer_of(answer: Answer, path: str = "/", **options: object) -> bytes | RequestError:
    """See `answered`."""
    async with site(answer) as here:
        by = fetcher(here.port, **options)  # type: ignore[arg-type]
        try:
            return await fetched(here.url(path), by)
        except RequestError as error:
            return error


def code(result: bytes | RequestError) -> ErrorCode:
    assert isinstance(result, RequestError)
    return result.code


def other(port: int) -> AbstractAsyncContextManager[Site]:
    """A server that must never be reached, on another of this machine's addresses."""
    return site(whole(b"evil"), address="127.0.0.2", port=port)


def test_an_image_is_fetched() -> None:
    """The bytes of the answer are given as they are."""
    assert answered(whole(b"\x89PNG...")) == b"\x89PNG..."


def test_a_request_says_little() -> None:
    """A request carries no cookie, no referrer and no wish for compression, and names the host it is for."""

    async def run() -> list[str]:
        async with site(whole(b"x", headers=("Set-Cookie: a=b",))) as here:
            by = fetcher(here.port)
            await by.fetch(here.url("/x?y=%2B#z"), field="image_url")
            await by.fetch(here.url("/x"), field="image_url")
            await by.close()
            assert f"Host: {NAME}:{here.port}" in here.heads[0]
            return here.heads

    first, second = asyncio.run(run())
    assert first.startswith("GET /x?y=%2B HTTP/1.1\r\n")
    assert "Accept-Encoding: identity" in first
    assert not {"cookie", "referer", "authorization"} & {
        line.partition(":")[0].lower() for line in second.split("\r\n")
    }


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and credentials of the environment are not used."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert answered(whole(b"x")) == b"x"


def test_fetching_can_be_switched_off() -> None:
    """Where fetching is off, no URL is opened and the message names the setting."""
    error = refused("https://example.org/", fetcher(enabled=False))
    assert (error.code, error.field) == (ErrorCode.IMAGE_URL_FORBIDDEN, "image_url")
    assert "CAPSTAN_IMAGE_URL_ENABLED" in error.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@example.org/", ErrorCode.IMAGE_URL_FORBIDDEN),
        ("http://example.org/", ErrorCode.IMAGE_URL_FORBIDDEN),
        ("file:///etc/passwd", ErrorCode.IMAGE_URL_FORBIDDEN),
        ("https://0x7f000001/", ErrorCode.IMAGE_URL_FORBIDDEN),
        ("https://[::ffff:127.0.0.1]/", ErrorCode.IMAGE_URL_FORBIDDEN),
        ("https://example.org\\@x/", ErrorCode.INVALID_REQUEST),
        ("https://[::1", ErrorCode.INVALID_REQUEST),
    ],
)
def test_a_refused_url_is_not_looked_up(url: str, expected: ErrorCode) -> None:
    """A URL that is refused by its form costs no question to a name server."""

    def lookup(host: str, port: int) -> list[str]:
        raise AssertionError(host, port)

    assert refused(url, fetcher(http=False, networks=(), lookup=lookup)).code == expected


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["::1"], ["fe80::1%1"], ["::ffff:8.8.8.8"], ["8.8.8.8", "127.0.0.1"], ["127.1"], [], None],
)
def test_closed_addresses_look_like_none(addresses: list[str] | None) -> None:
    """A name with a closed address among its own, or with none at all, is refused in the same words."""

    def lookup(_host: str, _port: int) -> list[str]:
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return addresses

    error = refused("https://internal.example.org/", fetcher(networks=(), lookup=lookup))
    assert error.code == ErrorCode.IMAGE_URL_FORBIDDEN
    assert error.message == (
        "image_url does not resolve, or resolves to an address that is not allowed; send the image itself"
    )


def test_localhost_is_closed_by_the_systems_own_resolver() -> None:
    """The system's resolver is asked, and what it says of localhost is refused."""
    assert refused("https://localhost/", fetcher(networks=(), lookup=system_lookup)).code == (
        ErrorCode.IMAGE_URL_FORBIDDEN
    )


def test_the_checked_address_is_the_one_connected_to() -> None:
    """A name that answers otherwise the second time (DNS rebinding) is asked once for a connection."""

    async def run() -> None:
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        async with (
            site(whole(b"good")) as good,
            site(whole(b"evil"), address="127.0.0.2", port=good.port) as evil,
        ):
            by = fetcher(good.port, lookup=lambda _host, _port: next(answers))
            assert await by.fetch(good.url(), field="image_url") == b"good"
            with pytest.raises(RequestError) as error:
                await by.fetch(good.url(), field="image_url")
            await by.close()
        assert error.value.code == ErrorCode.IMAGE_URL_FORBIDDEN
        assert (len(good.heads), len(evil.heads)) == (1, 0)

    asyncio.run(run())


def test_a_name_that_rebinds_between_redirects_is_refused() -> None:
    """A redirect to the same name is looked up and checked again."""

    async def run() -> None:
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        async with (
            site(moved("/1")) as good,
            site(whole(b"evil"), address="127.0.0.2", port=good.port) as evil,
        ):
            by = fetcher(good.port, lookup=lambda _host, _port: next(answers))
            with pytest.raises(RequestError) as error:
                await fetched(good.url(), by)
        assert error.value.code == ErrorCode.IMAGE_URL_FORBIDDEN
        assert (len(good.heads), len(evil.heads)) == (1, 0)

    asyncio.run(run())


class AllowAnyUrl(UrlRules):
    """A policy that forbids no URL."""

    def check(self, url: URL) -> None:
        pass


def test_the_socket_has_the_last_word() -> None:
    """An address that passed the other checks is refused where the socket is created."""

    async def run() -> None:
        async with site(whole(b"evil")) as here:
            with pytest.raises(RequestError) as error:
                await fetched(here.url(host="127.0.0.1"), fetcher(networks=(), policy=AllowAnyUrl))
        assert error.value.code == ErrorCode.IMAGE_URL_FORBIDDEN
        assert here.heads == []

    asyncio.run(run())


@pytest.mark.parametrize("status", ["301 Moved Permanently", "303 See Other", "307 X", "308 Y"])
def test_three_redirects_are_followed(status: str) -> None:
    """Up to three redirects are followed."""
    assert answered(moved("/1", "2", "/3", status=status)) == b"image"


def test_a_fourth_redirect_is_not_followed() -> None:
    """A fetch ends with the fourth redirect."""
    assert code(answered(moved("/1", "/2", "/3", "/4"))) == ErrorCode.IMAGE_FETCH_FAILED


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/", "http://169.254.169.254/latest/", "http://[::1]/", "http://0x7f.1/", "file:///etc/passwd",
        "http://internal.test/", "//127.0.0.2/", "http://images.test:22/", "http://u:p@images.test/", "http://[::1",
        "data:image/png;base64,AAAA", "http:\\\\127.0.0.1", "gopher://images.test/",
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_the_first_url(location: str) -> None:
    """A redirect to what must not be opened is refused in the words for closed addresses."""
    result = answered(moved(location))
    assert code(result) == ErrorCode.IMAGE_URL_FORBIDDEN
    assert "does not resolve, or resolves to an address that is not allowed" in str(result)


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
