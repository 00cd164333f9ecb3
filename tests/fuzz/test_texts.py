"""Whatever the text, a data URL, a URL, a redirect or a path gives what it may, or a refusal."""

# ruff: noqa: PT017 - a refusal is one of the right answers

import base64
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st
from yarl import URL

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.sources import decode_base64, read_path
from service.media.url_policy import UrlRefused, UrlRules, is_public, parse_url
from tests.fuzz.conftest import Fuzz

pytestmark = pytest.mark.slow

LIMITS = ImageLimits(max_bytes=300)

PIECES = [
    "https://", "http://", "https:", "HTTPS://", "file://", "data:", "//", "/", "\\", "@", ":", "#", "?",
    "%", ".", "[", "]", "user:pass@", "@127.0.0.1", "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1",
    "2130706433", "0", "::1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25lo]", "169.254.169.254",
    "8.8.8.8", "localhost", "example.org", "EXAMPLE.org.", ":443", ":80", ":22", ":0", ":65536", "%2e",
    "%40", "%2f", "%00", "%5c", "\t", "\r\n", " ", "\0", "\u3002", "\uff0f", "\uff20", "\u2460", "ß", "ü",
    "\u200b", "\u202e", "\ud800", "xn--", "-", "_", "..", "../", "&", ";", "=",
]  # fmt: skip
urls = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10).map("".join)
hosts = urls.map(lambda tail: "https://" + tail)


def test_urls(fuzz: Fuzz) -> None:
    """A URL that is opened is https on port 443 of a name or a public address, the same for other parsers."""

    def check(text: str) -> None:
        try:
            url = parse_url(text)
            UrlRules().check(url)
        except UrlRefused as refused:
            assert "127.0.0.1" not in str(refused)
            return
        _check_opened(url)
        if text.isascii():
            assert urlsplit(text).hostname == url.raw_host

    fuzz(check, urls | hosts)


def test_redirects(fuzz: Fuzz) -> None:
    """A redirect that is followed leads where a first URL might."""
    base = URL("https://example.org/a/b?c")

    def check(location: str) -> None:
        try:
            url = parse_url(location, base)
            UrlRules().check(url)
        except UrlRefused:
            return
        _check_opened(url)

    fuzz(check, urls)


def _check_opened(url: URL) -> None:
    assert (url.scheme, url.port, url.user, url.password, url.raw_fragment) == ("https", 443, None, None, "")
    host = url.raw_host
    assert host
    assert host.isascii()
    assert not set(host) & set("@/\\?#%[] \t\r\n\0")
    # What aiohttp sends and what it connects to are one.
    assert URL(str(url)).raw_host == host
    try:
        address = ip_address(host)
    except ValueError:
        assert not host.rstrip(".").rpartition(".")[2].isdigit()
    else:
        assert is_public(address)


def test_data_urls(fuzz: Fuzz) -> None:
    """Base64 in any dress gives at most the bytes allowed, or a refusal of the closed list."""
    heads = st.sampled_from(
        ["", "data:image/png;base64,", "DATA:image/x;a=b;base64,", "data:,", "data:image/svg+xml,"]
    )
    bodies = st.binary(max_size=400).map(lambda data: base64.b64encode(data).decode()) | st.text(max_size=40)

    def check(text: str) -> None:
        try:
            data = decode_base64(text, LIMITS)
        except RequestError as error:
            assert error.code in {ErrorCode.INVALID_REQUEST, ErrorCode.IMAGE_TOO_LARGE}
        else:
            assert len(data) <= LIMITS.max_bytes

    fuzz(check, st.tuples(heads, bodies, st.sampled_from(["", "=", "\n", " ", "%3D"])).map("".join))


def test_paths(fuzz: Fuzz, tmp_path: Path) -> None:
    """No path reads a file outside the open directories."""
    root = tmp_path / "open"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.png").write_bytes(b"inside")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "a.png").write_bytes(b"outside")
    pieces = [
        "..",
        ".",
        "/",
        "sub",
        "out",
        "a.png",
        "~",
        "\0",
        str(tmp_path),
        str(root),
        "\ud800",
        "%2e%2e",
        "\\",
    ]

    def check(path: str) -> None:
        try:
            assert read_path(path, [root], LIMITS) == b"inside"
        except RequestError as error:
            assert error.code in {ErrorCode.IMAGE_PATH_FORBIDDEN, ErrorCode.IMAGE_NOT_FOUND}
            assert str(tmp_path) not in error.message

    fuzz(check, st.lists(st.sampled_from(pieces) | st.text(max_size=2), max_size=8).map("/".join))
