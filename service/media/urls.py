"""Which URLs an image may be fetched from.

A URL is parsed once, by yarl, and the parsed object is what aiohttp connects with: no second parser can see
another host in the same text.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from service.media.addresses import Network, is_open

MAX_CHARACTERS = 8_192
DEFAULT_PORTS = {"https": 443, "http": 80}

NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")
# What inet_aton and browsers take for an IPv4 address, in whatever notation: its last part is a number.
NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z", re.IGNORECASE)
HOST_RULE = re.compile(r"(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)


class UrlRefused(ValueError):  # noqa: N818 - the answer to a question
    """A URL that no image is fetched from; the text ends the sentence that begins with the field's name."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host that is open, or with `below` every host below it; without a port, on the scheme's own."""

    name: str
    port: int | None = None
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> "HostRule":
        """Read ``host``, ``*.host``, ``host:port`` or ``[address]:port``. Raises ValueError for another."""
        found = HOST_RULE.fullmatch(text)
        if found is None or (found[3] and not 0 < int(found[3]) < 2**16):
            raise ValueError(f"{text!r} is no host; write images.example.org, *.example.org or host:9000")
        name = found[2].strip("[]").lower().rstrip(".")
        return cls(name, int(found[3]) if found[3] else None, below=bool(found[1]))

    def opens(self, host: str, port: int, default: int) -> bool:
        """Whether this rule opens a port of a host."""
        named = host.endswith(f".{self.name}") if self.below else host == self.name
        return named and port == (self.port or default)


@dataclass(frozen=True, slots=True)
class UrlRules:
    """What a URL must keep to: no rule of hosts opens all of them; networks are open besides the public."""

    http: bool = False
    hosts: tuple[HostRule, ...] = ()
    networks: tuple[Network, ...] = ()

    def check(self, url: URL) -> None:
        """Raise UrlRefused for a URL whose parts say already that it must not be opened."""
        if url.scheme not in DEFAULT_PORTS or not url.absolute or not url.raw_host:
            raise UrlRefused("does not begin with https:// and a host; send such a URL, or the image itself")
        if url.scheme == "http" and not self.http:
            raise UrlRefused(
                "begins with http://; this server takes https:// only (CAPSTAN_IMAGE_URL_HTTP); "
                "send such a URL, or the image itself"
            )
        if "@" in url.raw_authority or url.raw_user is not None or url.raw_password is not None:
            raise UrlRefused("carries credentials; send a URL without them, or the image itself")
        host, port = url.raw_host.lower().removesuffix("."), url.port or 0
        self._check_host(host)
        default = DEFAULT_PORTS[url.scheme]
        if self.hosts:
            if not any(rule.opens(host, port, default) for rule in self.hosts):
                raise UrlRefused(
                    "names a host or port that is not open to requests (CAPSTAN_IMAGE_URL_HOSTS); "
                    "send the image itself"
                )
        elif port != default:
            raise UrlRefused(
                f"names port {port}; this server opens {default} only (CAPSTAN_IMAGE_URL_HOSTS); "
                "send the image itself"
            )

    def _check_host(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            # The resolver's answers are checked too; this keeps the notations away from it.
            if NUMBER.match(host) or not NAME.match(host):
                raise UrlRefused("names a host that is none; write its name as it is registered") from None
        else:  # aiohttp asks no resolver about an address
            if not is_open(host, self.networks):
                raise UrlRefused(CLOSED)


CLOSED = "leads nowhere, or to an address that is not open to requests; send the image itself"


def parse_url(text: str, base: URL | None = None) -> URL:
    """The URL that a text holds, without its fragment; a redirect's is relative to `base`.

    Raises UrlRefused for a text that parsers read differently: control characters, white space, backslashes.
    """
    if len(text) > MAX_CHARACTERS:
        raise UrlRefused(f"is {len(text)} characters; the limit is {MAX_CHARACTERS}; send the image itself")
    if not text.isprintable() or " " in text or "\\" in text:
        raise UrlRefused("holds a space, a backslash or a control character; percent-encode it")
    try:
        url = URL(text)
        return (base.join(url) if base else url).with_fragment(None)
    except (ValueError, TypeError):  # UnicodeError is a ValueError
        raise UrlRefused("is not a valid URL; send https://host/path, or the image itself") from None
