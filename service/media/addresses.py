"""Which addresses of the Internet Protocol lie in the public Internet.

From IANA's registries of special-purpose addresses and of IPv6 global unicast; the standard library's
`is_global` answers otherwise from one patch release to the next. IPv6 is closed but for what is given out to
networks, so that mapped, translated (NAT64), unique local, link-local and multicast addresses need no row.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLOSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host, and what some systems take for it
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own, and a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that answers inside one cloud only, with secrets
        "169.254.0.0/16",  # link-local, metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, metadata of one cloud
        "192.0.2.0/24",  # documentation, as are 198.51.100.0/24 and 203.0.113.0/24
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
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
        "2001::/23",  # protocol assignments: Teredo, which holds IPv4 addresses, ORCHID, benchmarks
        "2001:db8::/32",  # documentation, as is 3fff::/20
        "2002::/16",  # 6to4, which holds IPv4 addresses
        "3fff::/20",
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is one that a stranger's server may have."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in CLOSED_IPV4)
    return address in OPEN_IPV6 and not any(address in network for network in CLOSED_IPV6)


def is_open(text: str, allowed: Iterable[Network]) -> bool:
    """Whether the address written as `text` is public or in one of the networks allowed besides."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return is_public(address) or any(address in network for network in allowed)
