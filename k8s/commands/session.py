"""What every command shares: its output, its cluster and its release."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from k8s.clients.helm import Release, Revision
from k8s.clients.kubeconfig import Location
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.process import Processes
from k8s.errors import ClusterError, RefusedError
from k8s.rollout.propose import ray_service


class Display:
    """Progress goes to standard error, results to standard output (JSON with `as_json`)."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(soft_wrap=True, highlight=False, markup=False)
        self._err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def say(self, sentence: str) -> None:
        """Write a line of progress."""
        self._err.print(sentence)

    def result(
        self,
        value: Any,  # noqa: ANN401 - what JSON can hold
        lines: Sequence[str] = (),
        *,
        more: bool = False,
    ) -> None:
        """Write the result: the JSON value, or lines of text. With `more` to follow, a value is one line."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=None if more else 2, default=str) + "\n")
        else:
            for line in lines:
                self._out.print(line)
        sys.stdout.flush()

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table on a terminal, aligned columns elsewhere, and nothing with JSON."""
        if self.as_json:
            return
        if self._out.is_terminal:
            table = Table(*head, title=title, title_justify="left")
            for row in rows:
                table.add_row(*row)
            self._out.print(table)
            return
        widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
        self._out.print(title)
        for row in [head, *rows]:
            self._out.print("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


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
        if not client.has_namespace():
            return f"namespace {client.namespace} does not exist; name another with --namespace"
    except ClusterError:
        pass  # The release is missing, whatever else is wrong.
    message = f"release {release.name} does not exist in namespace {release.namespace}"
    others = release.others()
    if others:
        return f"{message}; installed are: {', '.join(others)} (--release)"
    return f"{message}; install it with capstan deploy, or name another namespace with --namespace"
