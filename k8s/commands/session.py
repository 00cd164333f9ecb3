"""What every command shares: its options, its output, and the clients it connects."""

from dataclasses import dataclass

from k8s.clients.helm import Release, Revision
from k8s.clients.kubeconfig import Location
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.process import Processes
from k8s.commands.display import Display
from k8s.errors import ClusterError, RefusedError
from k8s.rollout.propose import ray_service


@dataclass(frozen=True, slots=True)
class Session:
    """The options that every command has."""

    location: Location
    display: Display
    verbose: bool = False

    def client(self) -> KubernetesClient:
        """A connection to the cluster. Raises UsageError where none is configured."""
        return KubernetesClient.connect(self.location)

    def release(self, client: KubernetesClient) -> Release:
        """The Helm release; with -v its helm commands are shown."""
        processes = Processes(self.display.say if self.verbose else None)
        return Release(processes, self.location, client.namespace)


def installed_revisions(client: KubernetesClient, release: Release) -> list[Revision]:
    """The revisions of a release, oldest first. Raises RefusedError where it is not installed."""
    found = release.history()
    if not found:
        raise RefusedError(_not_installed(client, release))
    return found


def service_name(release: Release) -> str:
    """The name of an installed release's RayService."""
    service = ray_service(release.manifest())
    return str(service["metadata"]["name"]) if service else release.name


def _not_installed(client: KubernetesClient, release: Release) -> str:
    try:
        if client.find(f"/api/v1/namespaces/{client.namespace}") is None:
            return f"namespace {client.namespace} does not exist; name another with --namespace"
    except ClusterError:
        pass  # An account that cannot read namespaces may still read what is in one.
    message = f"release {release.name} does not exist in namespace {release.namespace}"
    others = release.others()
    if others:
        return f"{message}; installed are: {', '.join(others)} (--release)"
    return f"{message}; install it with capstan deploy, or name another namespace with --namespace"
