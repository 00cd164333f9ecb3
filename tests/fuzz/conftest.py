"""Fuzzing on a budget of seconds: half of it from seeds that never change, half from fresh ones.

`FUZZ_SECONDS` is the budget of each test, `FUZZ_SEED` the fresh seed, which the summary tells.
"""

import itertools
import os
import random
from collections.abc import Callable
from time import monotonic
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))
FRESH = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().getrandbits(32))
EXAMPLES = 50

SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)

Fuzz = Callable[[Callable[[Any], None], st.SearchStrategy[Any]], None]


@pytest.fixture
def fuzz() -> Fuzz:
    """Run a check on examples until the budget is spent, or one fails."""

    def run(check: Callable[[Any], None], examples: st.SearchStrategy[Any]) -> None:
        for seed in (0, FRESH):
            end, rounds = monotonic() + SECONDS / 2, itertools.count(seed)
            while monotonic() < end:
                _round(check, examples, next(rounds))

    return run


def _round(check: Callable[[Any], None], examples: st.SearchStrategy[Any], seed: int) -> None:
    def example(value: Any) -> None:
        check(value)

    try:
        hypothesis.seed(seed)(SETTINGS(hypothesis.given(examples)(example)))()
    except BaseException as error:
        error.add_note(f"FUZZ_SEED={seed} finds it again")
        raise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"fuzzed {SECONDS:g} s a test, FUZZ_SEED={FRESH}")
