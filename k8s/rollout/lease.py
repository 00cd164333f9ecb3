"""One rollout of a release at a time: a Lease in the release's namespace."""

import getpass
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from k8s.clients.kubernetes import KubernetesClient
from k8s.errors import CapstanError, ClusterError, LockHeldError

LEASE_S = 30
RENEW_S = 8.0

Json = dict[str, Any]

RELEASED = {"spec": {"holderIdentity": "", "renewTime": None}}


def holder_name() -> str:
    """The holder's identity: user, host and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


def expired(spec: Json, now: datetime) -> bool:
    """Whether a Lease was released, or its holder did not renew it in time."""
    renewed = spec.get("renewTime")
    if not spec.get("holderIdentity") or not renewed:
        return True
    last = datetime.fromisoformat(renewed)
    return now - last > timedelta(seconds=spec.get("leaseDurationSeconds", LEASE_S))


class RolloutLease:
    """Held inside `with` and renewed by a thread; a dead holder loses it after 30 s.

    Entering raises LockHeldError, which names the holder, while another rollout is in progress.
    """

    def __init__(self, client: KubernetesClient, release: str) -> None:
        self._client = client
        self._name = f"capstan-{release}"
        self._holder = holder_name()
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{client.namespace}/leases"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=RENEW_S)
        try:
            self._client.patch(f"{self._path}/{self._name}", RELEASED)
        except CapstanError:
            return  # It expires by itself.

    def _take(self) -> None:
        found = self._client.find(f"{self._path}/{self._name}")
        try:
            if found is None:
                meta = {"name": self._name, "namespace": self._client.namespace}
                self._client.create(self._path, {"metadata": meta, "spec": self._spec()})
                return
            spec = found.get("spec") or {}
            if not expired(spec, datetime.now(UTC)):
                raise LockHeldError(held_message(self._name, spec))
            # The resource version makes the second of two takers fail.
            self._client.replace(f"{self._path}/{self._name}", {**found, "spec": self._spec()})
        except ClusterError as error:
            if error.status == HTTPStatus.CONFLICT:
                raise LockHeldError(
                    f"another rollout has just taken the lease {self._name}; wait until it ends"
                ) from None
            raise

    def _spec(self) -> Json:
        now = _stamp()
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": now,
            "renewTime": now,
        }

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S):
            try:
                self._client.patch(f"{self._path}/{self._name}", {"spec": {"renewTime": _stamp()}})
            except CapstanError:
                continue  # The API server may be down for a while; the next turn retries.


def held_message(name: str, spec: Json) -> str:
    """Who holds the lease since when, and what to do."""
    return (
        f"another rollout is in progress: {spec.get('holderIdentity')} holds the lease {name} since "
        f"{spec.get('acquireTime', 'an unknown time')}; wait for it (a dead holder loses the lease after "
        f"{spec.get('leaseDurationSeconds', LEASE_S)} s)"
    )


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
