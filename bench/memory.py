"""The memory of a replica over many requests, read from the operating system."""

from dataclasses import dataclass

import psutil

from bench import http

REPLICA = "ray::ServeReplica"
MEBIBYTE = 2**20
CLIENTS = 32
STEPS = (1_000, 5_000, 10_000, 20_000)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of the replicas after some requests."""

    requests: int
    bytes: int

    @property
    def row(self) -> str:
        """One line."""
        return f"after {self.requests} requests: {self.bytes / MEBIBYTE:.0f} MiB"


def replica_bytes() -> int:
    """Resident memory of all replicas on this machine."""
    processes = psutil.process_iter(["cmdline", "memory_info"])
    found = [
        process.info["memory_info"].rss
        for process in processes
        if process.info["cmdline"] and process.info["cmdline"][0].startswith(REPLICA)
    ]
    if not found:
        raise RuntimeError("there is no replica on this machine; start one with make serve")
    return sum(found)


async def measure(url: str, *, steps: tuple[int, ...], seed: int) -> list[Memory]:
    """Send requests up to each of the `steps`, all with new images, and read the memory there."""
    found, sent = [], 0
    for number, total in enumerate(steps):
        await http.measure(url, model="", loads=[CLIENTS], count=total - sent, seed=seed + number, same=False)
        sent = total
        found.append(Memory(total, replica_bytes()))
    return found
