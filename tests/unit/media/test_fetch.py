import asyncio
import socket

import pytest
from yarl import URL

from service.errors import ErrorCode, RequestError
from service.media.resolver import system_lookup
from service.media.url_policy import UrlRules
from tests.support.image_server import NAME, fetcher, moved, site, whole
from tests.unit.media.fetching import answered, code, fetched, refused


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
