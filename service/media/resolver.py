"""Names become addresses, and only addresses that are open leave this file.

aiohttp connects to what its resolver answers and asks no other: the address that was checked is the address
that is used, whatever the name answers the next time (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from service.errors import CapstanError
from service.media.addresses import Network, is_open

Lookup = Callable[[str, int], Sequence[str]]


class AddressClosed(CapstanError):  # noqa: N818 - the answer to a question
    """A name that has no address, or one that is not open. The two must look alike from outside."""


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses that the operating system knows for a name. Raises OSError where it knows none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(entry[4][0]) for entry in found]


class CheckedResolver(AbstractResolver):
    """Resolves in threads of its own, so that slow names hold up no other work of the replica."""

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
        """The addresses of a host, each of them open. Raises AddressClosed where one is not."""
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
        """Drop lookups that wait; one under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
