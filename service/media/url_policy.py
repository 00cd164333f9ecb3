"""Policy for fetching images: which URLs, hosts and IP addresses a request may name.

A URL is parsed once, by yarl, and aiohttp connects using the parsed object, so no second parser can read
another host from the same text. Addresses follow IANA's registries of special-purpose addresses and of IPv6
global unicast, because `is_global` of the standard library changes between patch releases. IPv6 is closed
except for the range allocated to networks, so mapped, translated (NAT64), unique local, link-local and
multicast need no entry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLOSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host; some systems route it to loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; metadata of one cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that serves secrets inside one cloud
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; metadata of one cloud
        "192.0.2.0/24",  # documentation, like 198.51.100.0/24 and 203.0.113.0/24
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
OPEN_IPV6 = IPv6Network("2000::/3")
CLOSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo (embeds IPv4 addresses), ORCHID, benchmarking
        "2001:db8::/32",  # documentation, like 3fff::/20
        "2002::/16",  # 6to4 (embeds IPv4 addresses)
        "3fff::/20",
    )
)

MAX_CHARACTERS = 8_192
DEFAULT_PORTS = {"https": 443, "http": 80}

NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\Z")
# inet_aton and browsers read a host as an IPv4 address when its last label is a number in any notation.
NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z", re.IGNORECASE)
HOST_RULE = re.compile(r"(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in CLOSED_IPV4)
    return address in OPEN_IPV6 and not any(address in network for network in CLOSED_IPV6)


def is_open(text: str, allowed: Iterable[Network]) -> bool:
    """Whether `text` is an IP address that is public or in an allowed network."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return is_public(address) or any(address in network for network in allowed)


class UrlRefused(ValueError):  # noqa: N818 - an outcome, not a fault
    """The policy forbids this URL; the message completes a sentence that starts with the field's name."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """An allowed host, or with `below` all its subdomains. `port` defaults to that of the scheme."""

    name: str
    port: int | None = None
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> "HostRule":
        """Parse ``host``, ``*.host``, ``host:port`` or ``[address]:port``. Raises ValueError otherwise."""
        found = HOST_RULE.fullmatch(text)
        if found is None or (found[3] and not 0 < int(found[3]) < 2**16):
            raise ValueError(f"{text!r} is not a host; write images.example.org, *.example.org or host:9000")
        name = found[2].strip("[]").lower().rstrip(".")
        return cls(name, int(found[3]) if found[3] else None, below=bool(found[1]))

    def allows(self, host: str, port: int, default: int) -> bool:
        """Whether this rule allows `port` of `host`; `default` is the port of the scheme."""
        named = host.endswith(f".{self.name}") if self.below else host == self.name
        return named and port == (self.port or default)


@dataclass(frozen=True, slots=True)
class UrlRules:
    """The URL policy of a replica.

    Without `hosts`, every public host is allowed. `networks` are allowed in addition to public addresses.
    """

    http: bool = False
    hosts: tuple[HostRule, ...] = ()
    networks: tuple[Network, ...] = ()

    def check(self, url: URL) -> None:
        """Raise UrlRefused for a URL that is forbidden by its text alone, before any DNS lookup."""
        if url.scheme not in DEFAULT_PORTS or not url.absolute or not url.raw_host:
            raise UrlRefused("does not start with https:// and a host; send such a URL, or the image itself")
        if url.scheme == "http" and not self.http:
            raise UrlRefused(
                "starts with http://; this server accepts only https:// (CAPSTAN_IMAGE_URL_HTTP); "
                "send an https:// URL, or the image itself"
            )
        if "@" in url.raw_authority or url.raw_user is not None or url.raw_password is not None:
            raise UrlRefused("contains credentials; send a URL without them, or the image itself")
        host, port = url.raw_host.lower().removesuffix("."), url.port or 0
        self._check_host(host)
        default = DEFAULT_PORTS[url.scheme]
        if self.hosts:
            if not any(rule.allows(host, port, default) for rule in self.hosts):
                raise UrlRefused(
                    "names a host or port that is not allowed (CAPSTAN_IMAGE_URL_HOSTS); "
                    "send the image itself"
                )
        elif port != default:
            raise UrlRefused(
                f"names port {port}; this server allows only port {default} (CAPSTAN_IMAGE_URL_HOSTS); "
                "send the image itself"
            )

    def _check_host(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            # The resolver's answers are checked too; this keeps unusual notations away from it.
            if NUMBER.match(host) or not NAME.match(host):
                raise UrlRefused("has an invalid host; write the host name as registered") from None
        else:  # aiohttp does not resolve an address
            if not is_open(host, self.networks):
                raise UrlRefused(CLOSED)


CLOSED = "does not resolve, or resolves to an address that is not allowed; send the image itself"


def parse_url(text: str, base: URL | None = None) -> URL:
    """Parse a URL and drop its fragment; the target of a redirect is relative to `base`.

    Raises UrlRefused for text that parsers disagree on: control characters, white space, backslashes.
    """
    if len(text) > MAX_CHARACTERS:
        raise UrlRefused(f"is {len(text)} characters; the limit is {MAX_CHARACTERS}; send the image itself")
    if not text.isprintable() or " " in text or "\\" in text:
        raise UrlRefused("contains a space, a backslash or a control character; percent-encode it")
    try:
        url = URL(text)
        return (base.join(url) if base else url).with_fragment(None)
    # UnicodeError is a ValueError; yarl 1.25 raises IndexError for brackets before an empty host.
    except (ValueError, TypeError, IndexError):
        raise UrlRefused("is not a valid URL; send https://host/path, or the image itself") from None
