"""Whether a release is there at all, and what to do where it is not."""

from k8s.doors.cluster import Cluster
from k8s.doors.release import Release, Revision
from k8s.errors import ClusterError, RefusedError
from k8s.rollout.plan import ray_service


def revisions(cluster: Cluster, release: Release) -> list[Revision]:
    """The revisions of a release, oldest first. Raises RefusedError where it is not installed."""
    found = release.history()
    if not found:
        raise RefusedError(_absent(cluster, release))
    return found


def service_name(release: Release) -> str:
    """The name of an installed release's RayService."""
    service = ray_service(release.manifest())
    return str(service["metadata"]["name"]) if service else release.name


def _absent(cluster: Cluster, release: Release) -> str:
    try:
        if cluster.find(f"/api/v1/namespaces/{cluster.namespace}") is None:
            return f"namespace {cluster.namespace} does not exist; name another with --namespace"
    except ClusterError:
        pass  # Who may not see namespaces can still look into one.
    said = f"release {release.name} does not exist in namespace {release.namespace}"
    others = release.neighbours()
    if others:
        return f"{said}; there is {', '.join(others)} (--release)"
    return f"{said}; capstan deploy makes it, --namespace names another"
