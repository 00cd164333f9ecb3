"""The API server accepts what the chart renders, the CRDs' schemas and the restricted profile included."""

from pathlib import Path

import pytest

from tests.e2e.commands import run
from tests.e2e.objects import Namespace
from tests.e2e.release import CHART, ROOT

EXAMPLES = sorted((ROOT / "examples" / "values").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_accepts_every_example(example: Path, namespace: Namespace) -> None:
    """A server-side dry run takes every object of an example, with no field that its schema lacks."""
    # A dry run makes no account, and the API server refuses the test's pod without one.
    account = "serviceAccount.create=false"
    rendered = run(
        "helm", "template", "x", str(CHART), "-n", namespace.name, "-f", str(example), "--set", account
    )
    said = run("kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert "rayservice.ray.io/x created (server dry run)" in said
    assert "Warning" not in said
