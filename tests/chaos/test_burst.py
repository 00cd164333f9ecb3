"""Many times the load, for a minute."""

import asyncio

import pytest

from bench.figures import quantile
from bench.overload import Load, Outcome, bodies
from tests.chaos.target import SEEDS, UPLOADS_S, Target

TIMES = 24
BURST_S = 60.0
STEADY_S = 20.0
REFUSAL_S = 0.1
CLIENTS = len(SEEDS) + len(UPLOADS_S)


async def _peak_burst_and_after(url: str, host: str) -> list[Outcome]:
    work = bodies(2_000, seed=1)
    return [
        await Load(url, label, work, seconds=seconds, host=host).closed_loop(clients)
        for label, clients, seconds in (
            ("before", CLIENTS, STEADY_S),
            ("burst", TIMES * CLIENTS, BURST_S),
            ("after", CLIENTS, STEADY_S),
        )
    ]


@pytest.mark.slow
def test_burst(target: Target) -> None:
    """24 times the clients get nine tenths of the peak and refusals within 0.1 s, and leave no trace."""
    url = f"{target.site.address}/caption"
    before, burst, after = asyncio.run(_peak_burst_and_after(url, target.site.host))
    for outcome in (before, burst, after):
        print(outcome.row)  # noqa: T201 - the figures
    assert (before.errors, burst.errors, after.errors) == (0, 0, 0)
    # The queue may hold all of them.
    assert not burst.refused or quantile(burst.refused, 0.95) / 1000 <= REFUSAL_S
    assert burst.rate >= 0.9 * before.rate
    assert after.rate >= 0.9 * before.rate
