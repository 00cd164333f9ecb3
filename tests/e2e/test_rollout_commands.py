"""Every other command of `capstan`, as a user runs it on a release with API keys."""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.commands import run
from tests.e2e.conftest import KEY, keys
from tests.e2e.site import Site, ground
from tests.e2e.waiting import until

VALUES, PAIR = (Path(__file__).parent / f"{name}_values.yaml" for name in ("rollout", "pair"))
WHOLE, SHORT = "a red circle left of a blue square", "a red circle left"
NEW_CLUSTER = "head.env.MARK={}"


@pytest.fixture(scope="module")
def site(address: str) -> Iterator[Site]:
    """A release with API keys and two replicas, made without a key."""
    with ground(address) as found:
        for body in keys():
            found.namespace.create(body)
        ended = found.install("-f", str(VALUES), "-f", str(PAIR))
        assert "shapes: not tested: the service requires a key; set CAPSTAN_API_KEY" in ended.said
        yield replace(found, key=KEY)


def test_status_says_what_kubectl_says(site: Site) -> None:
    """`status --json` has the pods, nodes, GPUs, cluster and replicas that the API server has."""
    status, pods = site.read("status"), site.namespace.pods()
    assert status["serves"]
    assert (status["active"], status["pending"]) == (site.active(), "")
    where = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in pods}
    assert {pod["name"]: pod["node"] for pod in status["pods"]} == where
    assert [(m["name"], m["status"], m["running"], m["wanted"]) for m in status["models"]] == [
        ("shapes", "RUNNING", 2, 2)
    ]
    assert status["gpus"]["nvidia.com/gpu"] == _gpus(site)
    assert {image["digest"] for image in status["images"]} == {
        container["imageID"] for pod in pods for container in pod["status"]["containerStatuses"]
    }


def _gpus(site: Site) -> dict[str, int]:
    """GPUs as nodes and pods of all namespaces tell them."""
    nodes = site.namespace.all("Node")
    total = sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)
    everywhere = yaml.safe_load(run("kubectl", "get", "pods", "--all-namespaces", "--output", "json"))
    used = sum(
        int(container["resources"].get("requests", {}).get("nvidia.com/gpu", 0))
        for pod in everywhere["items"]
        for container in pod["spec"]["containers"]
    )
    return {"free": total - used, "allocatable": total}


@contextmanager
def lines(site: Site, *arguments: str) -> Iterator[tuple[Iterator[str], list[int]]]:
    """The lines of a command that does not end by itself, and its exit code after Ctrl-C."""
    # A script's background jobs, and what they start, ignore SIGINT unless they ask for it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process, codes = site.start(*arguments), list[int]()
    assert process.stdout
    late = threading.Timer(60.0, process.kill)
    late.start()
    try:
        yield iter(process.stdout), codes
        process.send_signal(signal.SIGINT)
        process.communicate()
        codes.append(process.returncode)
    finally:
        late.cancel()
        process.kill()
        process.wait()


def test_status_is_watched(site: Site) -> None:
    """`status --watch` without a terminal prints plain lines again and again, until Ctrl-C."""
    with lines(site, "status", "--watch") as (output, codes):
        seen = ""
        while seen.count("release capstan in namespace") < 2:
            seen += next(output)
    assert codes == [130]
    assert "shapes  RUNNING" in seen
    assert not re.search(r"[^\n -~]", seen)


def test_logs_are_followed(site: Site) -> None:
    """`logs MODEL --follow` shows a request made meanwhile, behind model and pod."""
    worker = site.namespace.pods("ray.io/node-type=worker")[0]["metadata"]["name"]
    with lines(site, "logs", "shapes", "--follow", "--lines", "1") as (output, codes):
        next(output)
        site.caption(name="seen-in-the-log")
        found = next(line for line in output if "seen-in-the-log" in line)
    assert found.startswith(f"shapes {worker} | ")
    assert "POST /caption 200" in found
    assert codes == [130]


def test_doctor(site: Site, tmp_path: Path) -> None:
    """The doctor finds nothing missing here, and names the Secret that other values would need."""
    ended = site.run("doctor")
    assert (ended.code, [line for line in ended.said.splitlines() if not line.startswith("ok ")]) == (0, [])
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"apiKeys": {"existingSecret": "nowhere"}}))
    ended = site.run("doctor", "-f", str(values))
    assert ended.code == 1
    assert "nowhere" in ended.said


def test_restart(site: Site) -> None:
    """All replicas are replaced, in the same pod, no request fails, and the key opens the smoke test."""
    before, pods = site.replicas(), site.pods()
    with site.load() as load:
        ended = site.run("restart", "shapes")
    assert ended.code == 0
    assert "shapes: the known image was captioned" in ended.said
    assert KEY not in ended.said
    after = site.replicas()
    assert (len(after["shapes"]), after["shapes"] & before["shapes"]) == (2, set())
    assert site.pods() == pods
    assert load.failed == []
    assert load.done > 0


def test_rollback(site: Site) -> None:
    """A rollback goes to the last revision that served, or to one by its number, and its text is served."""
    assert site.run("deploy", "--set", "models.shapes.generation.maxTokens=4").code == 0
    assert site.caption() == SHORT
    short = site.read("status")["revision"]
    with site.load() as load:
        assert site.run("rollback").code == 0
        assert site.caption() == WHOLE
        assert site.run("rollback", str(short)).code == 0
        assert site.caption() == SHORT
    assert load.failed == []
    ended = site.run("rollback", "999")
    assert ended.code == 3
    assert f"Helm has 1, 2, {short}" in ended.said


def test_history(site: Site) -> None:
    """The history has each revision with who, what, which image, how it ended and after how many seconds."""
    revisions = site.read("history")["revisions"]
    assert [each["revision"] for each in revisions] == list(range(1, len(revisions) + 1))
    assert {each["outcome"] for each in revisions} == {"serves"}
    assert revisions[0]["what"] == ["first installation"]
    assert "rollback to 3" in [what for each in revisions for what in each["what"]]
    assert all("process" in each["who"] and each["when"] and each["images"] for each in revisions)
    assert all(each["seconds"] > 0 for each in revisions)
    plain = site.run("history").said
    assert all(f"  {each['revision']} " in plain for each in revisions)


def test_replace_where_two_do_not_fit(site: Site) -> None:
    """With capacity for one cluster, `--strategy replace` warns that nothing serves meanwhile and works."""
    before = site.active()
    quota = {"spec": {"hard": {"requests.nvidia.com/gpu": "1"}}, "metadata": {"name": "one"}}
    site.namespace.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    change = ["deploy", "--set", NEW_CLUSTER.format("replaced")]
    try:
        until(
            "the quota counts the GPU",
            lambda: site.namespace.get("ResourceQuota", "one"),
            _counted,
            seconds=120,
        )
        refused = site.run(*change)
        ended = site.run(*change, "--strategy", "replace")
    finally:
        run("kubectl", "-n", site.namespace.name, "delete", "resourcequota", "one")
    assert refused.code == 3
    assert "--strategy replace" in refused.said
    assert ended.code == 0
    assert "nothing serves meanwhile" in ended.said
    assert site.clusters() == [site.active()]
    assert site.active() != before
    assert site.caption() == SHORT


def _counted(quota: dict[str, Any] | None) -> bool:
    used = ((quota or {}).get("status") or {}).get("used") or {}
    return bool(used.get("requests.nvidia.com/gpu") == "1")


def test_autoscaling(site: Site) -> None:
    """Bounds bring a new cluster with Ray's autoscaler, wider ones change it in place, and one follows it."""
    with site.load() as load:
        assert site.run("scale", "shapes", "--min", "1", "--max", "3").code == 0
        scaled, pods, replicas = site.active(), site.pods(), site.replicas()
        assert _cluster(site)["enableInTreeAutoscaling"]
        assert site.run("scale", "shapes", "--min", "1", "--max", "5").code == 0
        assert site.active() == scaled
        assert site.pods() >= pods  # on a busy machine the load takes a second replica, and a pod for it
        assert site.replicas()["shapes"] >= replicas["shapes"]
        assert _cluster(site)["workerGroupSpecs"][0]["maxReplicas"] == 3
        assert site.run("deploy", "--set", NEW_CLUSTER.format("scaled")).code == 0
        assert site.active() != scaled
    assert load.failed == []
    assert site.clusters() == [site.active()]


def _cluster(site: Site) -> dict[str, Any]:
    cluster = site.namespace.get("RayCluster", site.active())
    assert cluster is not None
    spec: dict[str, Any] = cluster["spec"]
    return spec
