"""A closed loop of clients: each sends its next request when the last is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from bench.figures import Figures, figures
from bench.workload import Sample

Ask = Callable[[Sample], Awaitable[str]]


async def closed_loop(load: str, ask: Ask, work: Sequence[Sample], *, clients: int, warm: int = 8) -> Figures:
    """Have `clients` ask for all of `work`; `ask` gives the caption, or raises for an error."""
    for sample in work[:warm]:
        await ask(sample)
    seconds: list[float] = []
    right = errors = 0
    waiting = iter(work[warm:])

    async def client() -> None:
        nonlocal right, errors
        for sample in waiting:
            start = perf_counter()
            try:
                caption = await ask(sample)
            except (OSError, RuntimeError):
                errors += 1
            else:
                seconds.append(perf_counter() - start)
                right += caption.strip() == sample.caption

    begin = perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return figures(load, seconds, perf_counter() - begin, right=right, errors=errors)
