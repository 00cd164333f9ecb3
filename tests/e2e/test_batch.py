"""The RayJob of examples/batch in a cluster."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.commands import run
from tests.e2e.objects import Namespace

MANIFEST = Path(__file__).parent.parent.parent / "examples" / "batch" / "rayjob.yaml"
SECONDS = 300


def small(body: dict[str, Any]) -> dict[str, Any]:
    """The example with this run's image, the embedded model and pods that fit on a test cluster."""
    image = f"{os.environ.get('IMAGE', 'localhost/capstan')}:{os.environ.get('TAG', 'e2e')}"
    spec = body["spec"]
    cluster = spec["rayClusterSpec"]
    spec["entrypoint"] = "python /app/examples/batch/caption_bucket.py /app/examples/images /tmp/captions"
    del spec["runtimeEnvYAML"]
    (group,) = cluster["workerGroupSpecs"]
    group |= {"replicas": 1, "minReplicas": 1, "maxReplicas": 1, "rayStartParams": {"num-cpus": "4"}}
    for template in (spec["submitterPodTemplate"], cluster["headGroupSpec"]["template"], group["template"]):
        (container,) = template["spec"]["containers"]
        container["image"] = image
        container["resources"] = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "4Gi"}}
    return body


def test_the_api_server_takes_the_cluster_of_the_example(namespace: Namespace) -> None:
    """The cluster of the job, as it is in the manifest, fits the schema of a RayCluster."""
    job = yaml.safe_load(MANIFEST.read_text())
    cluster = {
        "apiVersion": job["apiVersion"],
        "kind": "RayCluster",
        "metadata": job["metadata"],
        "spec": job["spec"]["rayClusterSpec"],
    }
    name = f"--namespace={namespace.name}"
    flags = ["--dry-run=server", "--validate=strict"]
    run("kubectl", "create", *flags, name, "-f", "-", stdin=yaml.safe_dump(cluster))


@pytest.mark.skipif(not os.environ.get("E2E_BATCH"), reason="takes two minutes; set E2E_BATCH=1 to run it")
def test_the_job_succeeds(namespace: Namespace) -> None:
    """The job captions the images of its image, and KubeRay calls it a success."""
    body = small(yaml.safe_load(MANIFEST.read_text()))
    name = f"--namespace={namespace.name}"
    run("kubectl", "create", name, "-f", "-", stdin=yaml.safe_dump(body))
    try:
        run(
            "kubectl",
            "wait",
            name,
            "rayjob/caption-bucket",
            "--for=jsonpath={.status.jobStatus}=SUCCEEDED",
            f"--timeout={SECONDS}s",
            seconds=SECONDS + 30,
        )
    finally:
        run("kubectl", "delete", name, "rayjob/caption-bucket", "--wait=false")
