"""Where pods run, and as whom."""

from tests.e2e.release import Release

GPU = "nvidia.com/gpu"


def test_every_worker_runs_on_a_gpu_node_and_holds_a_gpu(release: Release) -> None:
    """All workers are on nodes that have GPUs, one GPU each, and the head is on a node that has none."""
    nodes = {
        node["metadata"]["name"]: int(node["status"]["allocatable"].get(GPU, 0))
        for node in release.namespace.all("Node")
    }
    workers, (head,) = release.workers(), release.namespace.pods("ray.io/node-type=head")
    assert {pod["metadata"]["labels"]["ray.io/group"] for pod in workers} == {"busy", "quiet"}
    assert [nodes[pod["spec"]["nodeName"]] > 0 for pod in workers] == [True] * len(workers)
    assert [pod["spec"]["containers"][0]["resources"]["limits"][GPU] for pod in workers] == ["1"] * len(
        workers
    )
    assert nodes[head["spec"]["nodeName"]] == 0


def test_each_model_runs_in_its_own_pool(release: Release) -> None:
    """A replica of each model, and none of the other's, lives in the pods of the model's pool."""
    for pool, model in (("busy", "shapes"), ("quiet", "other")):
        pod = release.workers(pool)[0]["metadata"]["name"]
        processes = release.execute(pod, "bash", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert f"ServeReplica:{model}:Model" in processes
        others = {"shapes", "other"} - {model}
        assert not any(f"ServeReplica:{other}:Model" in processes for other in others)


def test_a_pod_has_what_kuberay_asks_for_and_little_else(release: Release) -> None:
    """A worker is user 1000, cannot write to its root, and has KubeRay's tools but no compiler."""
    pod = release.workers("quiet")[0]["metadata"]["name"]
    tools = "bash wget grep tini cc gcc g++ clang"
    script = f"id -u; touch /app/x 2>/dev/null || echo read-only; command -v {tools} || true"
    user, root, *found = release.execute(pod, "bash", "-c", script).split()
    assert (user, root) == ("1000", "read-only")
    assert [tool.rpartition("/")[2] for tool in found] == ["bash", "wget", "grep", "tini"]
