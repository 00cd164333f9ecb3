"""How pods drain before they stop."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import Object, Rendered, render

VALUES: dict[str, Any] = {
    "models": {"a": {"nodePool": "steady"}, "b": {"nodePool": "spot"}},
    "nodePools": {"steady": {}, "spot": {"spot": True}},
    "serve": {"drainSeconds": 120},
}


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render(VALUES)


def script(spec: Object) -> str:
    """Return the preStop script of a Ray pod."""
    shell, flag, text = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, flag) == ("/bin/bash", "-c")
    return str(text)


def test_everything_drains_for_the_same_time(rendered: Rendered) -> None:
    """Replicas, pods and the old cluster of a rollout drain equally long; Kubernetes waits longer."""
    assert rendered.deployment("a")["graceful_shutdown_timeout_s"] == 120
    assert rendered.one("RayService")["spec"]["rayClusterDeletionDelaySeconds"] == 120
    assert rendered.head["terminationGracePeriodSeconds"] == 135
    assert rendered.worker("steady")["terminationGracePeriodSeconds"] == 135
    assert "--deadline-remaining-seconds 120" in script(rendered.worker("steady"))


def test_spot_nodes_drain_before_they_are_reclaimed(rendered: Rendered) -> None:
    """On spot nodes, which clouds reclaim after 25 to 30 s, draining ends after 20 s."""
    assert "--deadline-remaining-seconds 20" in script(rendered.worker("spot"))
    assert rendered.group("spot")["labels"]["ray.io/market-type"] == "spot"


def test_the_scripts_are_valid(rendered: Rendered) -> None:
    """Bash parses both scripts without an error."""
    for spec in (rendered.head, rendered.worker("steady")):
        subprocess.run(["/bin/bash", "-n", "-c", script(spec)], check=True, timeout=10)  # noqa: S603


def test_a_worker_does_not_wait_for_itself(rendered: Rendered) -> None:
    """The pattern that finds replicas by command line does not match the script itself."""
    text = script(rendered.worker("steady"))
    (pattern,) = re.findall(r'grep -qs "([^"]+)"', text)
    assert re.search(pattern, "ray::ServeReplica:a:Model")
    assert not re.search(pattern, text)


CONNECTIONS = """\
  sl  local_address rem_address   st tx_queue
  25: 0000000000000000FFFF00000600580A:18EB 0000000000000000FFFF0000{peer}580A:A15A {state} 00000000:00000000
"""


@pytest.mark.parametrize(
    ("peer", "state", "waits"),
    [("0502", "01", True), ("0600", "01", False), ("0502", "06", False)],
    ids=["a worker", "itself", "closed"],
)
def test_the_head_waits_for_workers(
    rendered: Rendered, tmp_path: Path, peer: str, state: str, *, waits: bool
) -> None:
    """The head waits while another pod is connected to its port 6379, but not for its own connections."""
    table = tmp_path / "tcp"
    table.write_text(CONNECTIONS.format(peer=peer, state=state))
    function = script(rendered.head).partition("while ((")[0]
    function = function.replace("/proc/net/tcp6", "").replace("/proc/net/tcp", str(table))
    done = subprocess.run(["/bin/bash", "-c", function + "workers"], check=False, timeout=10)  # noqa: S603
    assert (done.returncode == 0) is waits
