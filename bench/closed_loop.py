"""A closed loop of clients: each sends its next request when the last is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from bench.figures import Answer, Figures, figures
from bench.workload import Sample

Ask = Callable[[Sample], Awaitable[Answer]]


async def closed_loop(load: str, ask: Ask, work: Sequence[Sample], *, clients: int, warm: int = 8) -> Figures:
    """Have `clients` ask for all of `work`; `ask` gives the answer, or raises for an error."""
    for sample in work[:warm]:
        await ask(sample)
    answers: list[Answer] = []
    right = errors = 0
    waiting = iter(work[warm:])

    async def client() -> None:
        nonlocal right, errors
        for sample in waiting:
            try:
                answer = await ask(sample)
            except (OSError, RuntimeError):
                errors += 1
            else:
                answers.append(answer)
                right += answer.caption.strip() == sample.caption

    begin = perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return figures(load, answers, perf_counter() - begin, right=right, errors=errors)
