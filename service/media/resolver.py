"""A DNS resolver for aiohttp that returns only addresses the URL policy allows.

aiohttp connects to what its resolver returns and asks no other, so the checked address is the one used,
whatever the name resolves to next time (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from service.errors import CapstanError
from service.media.url_policy import Network, is_open

Lookup = Callable[[str, int], Sequence[str]]


class AddressClosed(CapstanError):  # noqa: N818 - an outcome, not a fault
    """A name does not resolve or has a forbidden address. Clients must not be able to tell which."""


def system_lookup(host: str, port: int) -> list[str]:
    """Resolve a name with the operating system. Raises OSError for an unknown name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(entry[4][0]) for entry in found]


class CheckedResolver(AbstractResolver):
    """Resolves in its own threads, so that slow names do not delay other work of the replica."""

    def __init__(self, networks: tuple[Network, ...], *, lookup: Lookup, threads: int) -> None:
        self._networks = networks
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="capstan-resolver")

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp passes it
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises AddressClosed unless every one is allowed."""
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.run_in_executor(self._threads, self._lookup, host, port)
        except (OSError, UnicodeError):
            raise AddressClosed from None
        if not addresses or not all(is_open(address, self._networks) for address in addresses):
            raise AddressClosed
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Cancel queued lookups; a running one ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
