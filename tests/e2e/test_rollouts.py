"""Each kind of rollout in a real cluster, under a steady load of captions of one to three seconds."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config

from tests.e2e.commands import run
from tests.e2e.relay import Relay
from tests.e2e.release import CHART
from tests.e2e.site import Ended, Site, ground
from tests.e2e.waiting import until

VALUES = Path(__file__).parent / "rollout_values.yaml"
# A new cluster: two pods start Ray, Serve and torch on cores that everything else shares.
NEW_CLUSTER = "head.env.MARK={}"
AWAY_S = 20.0


@pytest.fixture(scope="module")
def site(address: str) -> Iterator[Site]:
    """A release made by `capstan deploy`."""
    with ground(address) as found:
        found.install("-f", str(VALUES))
        yield found


def test_sampling_default(site: Site) -> None:
    """A sampling default changes in place: no pod is replaced and no request fails."""
    before = site.workers()
    with site.load() as load:
        assert site.run("deploy", "--set", "models.shapes.generation.maxTokens=32").code == 0
    assert load.failed == []
    assert load.done > 0
    assert site.workers() == before


def test_scale_up_then_down(site: Site) -> None:
    """One replica becomes two and one again, worker pods follow, and no request fails."""
    with site.load() as load:
        assert site.run("scale", "shapes", "2").code == 0
        assert len(site.workers()) == 2
        assert site.run("scale", "shapes", "1").code == 0
        assert len(site.workers()) == 1
    assert load.failed == []
    assert len(site.clusters()) == 1


def test_helm_alone_scales_up_then_down(site: Site) -> None:
    """`helm upgrade` without `capstan` makes one replica two and one again, and no request fails."""
    with site.load() as load:
        for replicas in (2, 1):
            values = ["--reuse-values", "--set", f"models.shapes.replicas={replicas}", "--timeout", "5m"]
            run("helm", "upgrade", "capstan", str(CHART), "-n", site.namespace.name, *values, seconds=320)
            until("worker pods follow", lambda: len(site.workers()), replicas.__eq__, seconds=60)
    assert load.failed == []
    assert len(site.clusters()) == 1


def test_new_cluster(site: Site) -> None:
    """A new cluster takes over without a failed request, serves the new text, and the old one is gone."""
    before = site.active()
    with site.load() as load:
        change = ["--set", NEW_CLUSTER.format("new"), "--set", "models.shapes.generation.maxTokens=4"]
        assert site.run("deploy", *change).code == 0
    assert load.failed == []
    assert site.clusters() == [site.active()]
    assert site.active() != before
    assert load.captions == {"a red circle left of a blue square", "a red circle left"}
    assert site.caption() == "a red circle left"


def test_no_capacity(site: Site) -> None:
    """Without capacity for both clusters, nothing is changed and the message has the numbers."""
    quota = {"spec": {"hard": {"requests.nvidia.com/gpu": "1"}}, "metadata": {"name": "one"}}
    site.namespace.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    before = site.service()["metadata"]["generation"]
    try:
        until(
            "only the active cluster's GPU is counted",
            lambda: site.namespace.get("ResourceQuota", "one"),
            _counted,
            seconds=120,
        )
        ended = site.run("deploy", "--set", NEW_CLUSTER.format("refused"))
    finally:
        run("kubectl", "-n", site.namespace.name, "delete", "resourcequota", "one")
    assert ended.code == 3
    assert "1 nvidia.com/gpu more needed, 1 nvidia.com/gpu of 1 nvidia.com/gpu used" in ended.said
    assert site.service()["metadata"]["generation"] == before


def _counted(quota: dict[str, Any] | None) -> bool:
    used = ((quota or {}).get("status") or {}).get("used") or {}
    return bool(used.get("requests.nvidia.com/gpu") == "1")


def test_scale_beyond_the_pool(site: Site) -> None:
    """More replicas than GPUs are refused with the numbers."""
    ended = site.run("scale", "shapes", "40")
    assert ended.code == 3
    assert " of 39 pods of 1 nvidia.com/gpu" in ended.said
    assert len(site.workers()) == 1


# Variables that are no settings stop the application at import.
CRASH = "extraEnv[0].name=CAPSTAN_NO_SUCH_SETTING,extraEnv[0].value=x"
# An empty directory where the image has its checkpoint.
EMPTY = (
    "extraVolumes[0].name=empty,extraVolumes[0].emptyDir.sizeLimit=1Mi,"
    "extraVolumeMounts[0].name=empty,extraVolumeMounts[0].mountPath=/app/service/models/embedded"
)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (["--image", "localhost/nothing:1"], "cannot be pulled"),
        (["--set", CRASH], "CAPSTAN_NO_SUCH_SETTING is not a setting"),
        (["--set", EMPTY], "checkpoint"),
    ],
    ids=["image", "import", "checkpoint"],
)
def test_failure_is_rolled_back(site: Site, change: list[str], cause: str) -> None:
    """A rollout that fails is reported with its cause and rolled back; no request fails, nothing is left."""
    before = site.active()
    with site.load() as load:
        ended = site.run("deploy", *change)
    assert ended.code == 4
    assert cause in ended.said
    assert load.failed == []
    assert site.clusters() == [before]
    assert site.run("plan").code == 0
    failed, put_back = site.read("history")["revisions"][-2:]
    assert (failed["outcome"], put_back["outcome"]) == ("rolled back", "serves")
    assert cause in failed["reason"]


def test_readiness_that_never_comes(site: Site) -> None:
    """A rollout that does not end passes its deadline and is rolled back."""
    before = site.active()
    with site.load() as load:
        ended = site.run("deploy", "--set", NEW_CLUSTER.format("slow"), "--timeout", "20s")
    assert ended.code == 4
    assert "not done within 20 s" in ended.said
    assert load.failed == []
    assert site.clusters() == [before]


def test_two_at_once_and_a_killed_one(site: Site) -> None:
    """A second deploy learns who holds the lease; one after a killed helper sees the rollout to its end."""
    with site.load() as load:
        first = site.start("deploy", "--set", NEW_CLUSTER.format("killed"))
        try:
            until("a second cluster starts", site.clusters, lambda found: len(found) == 2, seconds=120)
            second = site.run("deploy", "--set", NEW_CLUSTER.format("other"))
            assert second.code == 3
            assert f"process {first.pid}" in second.said
        finally:
            first.send_signal(signal.SIGKILL)
            first.communicate()
        until("the lock is free", lambda: site.run("deploy", "--dry-run").code, (0).__eq__, seconds=60)
        ended = until("the dead holder's lock ends", lambda: site.run("deploy"), _not_held, seconds=600)
        assert ended.code == 0
    assert load.failed == []
    assert site.clusters() == [site.active()]


def _not_held(ended: Ended) -> bool:
    return "holds the lease" not in ended.said


def test_api_server_away(site: Site, tmp_path: Path) -> None:
    """An API server that is away for twenty seconds in the middle does not end a rollout."""
    found = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    cluster = found["clusters"][0]["cluster"]
    host, _, port = cluster["server"].rpartition("/")[2].partition(":")
    with Relay(host, int(port or 443)) as relay:
        cluster["server"] = f"https://127.0.0.1:{relay.port}"
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(found))
        config.load_kube_config(str(path))
        with site.load() as load:
            process = site.start("deploy", "--set", NEW_CLUSTER.format("away"), kubeconfig=path)
            until("a second cluster starts", site.clusters, lambda found: len(found) == 2, seconds=120)
            relay.cut()
            restore = threading.Timer(AWAY_S, relay.restore)
            restore.start()
            said, _ = process.communicate(timeout=600)
            restore.join()
    print(said)  # noqa: T201 - shown where the test fails
    assert process.returncode == 0
    assert "the API server does not answer" in said
    assert load.failed == []
    assert site.clusters() == [site.active()]
