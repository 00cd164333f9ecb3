"""The RayJob of examples/batch."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import ROOT
from tests.chart.test_examples import KUBERNETES

JOB: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "batch" / "rayjob.yaml").read_text())["spec"]
CLUSTER = JOB["rayClusterSpec"]
TEMPLATES = {
    "submitter": JOB["submitterPodTemplate"],
    "head": CLUSTER["headGroupSpec"]["template"],
    "worker": CLUSTER["workerGroupSpecs"][0]["template"],
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_pod_is_valid(name: str) -> None:
    """Each pod template is a pod by the schemas of Kubernetes, and runs restricted."""
    template = TEMPLATES[name]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_workers_hold_the_engines() -> None:
    """There is a worker with enough GPUs and CPUs for each engine of the entrypoint."""
    options = dict(re.findall(r"--(\w+) (\d+)", JOB["entrypoint"]))
    (group,) = CLUSTER["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert group["replicas"] == int(options["replicas"])
    assert resources["limits"]["nvidia.com/gpu"] == int(options["gpus"])
    assert resources["requests"]["cpu"] > int(options["cpus"])


def test_the_program_is_in_the_image() -> None:
    """The entrypoint's file is one that the Dockerfile copies, and Ray's version is the pinned one."""
    program = JOB["entrypoint"].split()[1].removeprefix("/app/")
    assert (ROOT / program).exists()
    assert f"COPY {program.rpartition('/')[0]}/caption_bucket.py" in (ROOT / "Dockerfile").read_text()
    assert f"ray=={CLUSTER['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
