"""How `capstan` starts."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LISTS_MODULES = """
import sys
sys.argv[0] = "capstan"
from k8s.cli import main
try:
    main()
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
SLOW = {"kubernetes", "websocket", "ray", "torch"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["deploy", "--help"], {}),
        ([], {"_CAPSTAN_COMPLETE": "complete_bash", "COMP_WORDS": "capstan st", "COMP_CWORD": "1"}),
    ],
)
def test_slow_libraries_are_not_imported(arguments: list[str], environment: dict[str, str]) -> None:
    """Neither help nor completion imports the libraries that only a connected command needs."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", LISTS_MODULES, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert "status" in done.stdout or "--timeout" in done.stdout
    assert SLOW & set(done.stderr.split()) == set()
