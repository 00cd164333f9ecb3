"""What every command begins with: the doors to the cluster and to helm, and a display."""

from dataclasses import dataclass

from k8s.commands.display import Display
from k8s.doors.cluster import Cluster
from k8s.doors.place import Place
from k8s.doors.process import Processes
from k8s.doors.release import Release


@dataclass(frozen=True, slots=True)
class Session:
    """The options that every command shares, and what they open."""

    place: Place
    display: Display
    verbose: bool = False

    @property
    def processes(self) -> Processes:
        """The door to subprocesses; with -v each command line is shown."""
        return Processes(self.display.say if self.verbose else None)

    def cluster(self) -> Cluster:
        """A connection to the cluster. Raises UsageError where none is configured."""
        return Cluster.connect(self.place)

    def release(self, cluster: Cluster) -> Release:
        """The Helm release."""
        return Release(self.processes, self.place, cluster.namespace)
