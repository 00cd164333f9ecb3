"""One rollout of a release at a time: a Lease in the release's namespace.

Whether a holder lives is judged by this machine's clock, since the last change of the Lease that it saw, as
client-go's leader election does (tools/leaderelection). Every write names the version that was read.
"""

import getpass
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.retry import Clock
from k8s.errors import CapstanError, ClusterError, LeaseLostError, LockHeldError

LEASE_S = 60
RENEW_S = 5.0
INTERVAL_S = 2.0

Json = dict[str, Any]
Say = Callable[[str], None]


def holder_name() -> str:
    """The holder's identity: user, host and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


class RolloutLease:
    """Held inside `with` and renewed by a thread every 5 s; a dead holder loses it after 60 s.

    Entering raises LockHeldError, which names the holder, while another rollout is in progress.
    """

    def __init__(
        self,
        client: KubernetesClient,
        release: str,
        say: Say,
        *,
        clock: Clock | None = None,
        holder: str | None = None,
    ) -> None:
        self._client = client
        self._name = f"capstan-{release}"
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{client.namespace}/leases"
        self._path = f"{self._collection}/{self._name}"
        self._say = say
        self._clock = clock or Clock()
        self._holder = holder or holder_name()
        self._stored: Json = {}
        self._valid_until = 0.0
        self._mutex = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

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
            self._store({"holderIdentity": "", "renewTime": None, "acquireTime": None})
        except CapstanError:
            return  # It expires, or belongs to another rollout.

    def check(self) -> None:
        """Raise LeaseLostError where this rollout may no longer change anything."""
        if self._clock.monotonic() >= self._valid_until:
            self.renew()

    def renew(self) -> None:
        """Renew the lease. Raises LeaseLostError where another rollout has taken it."""
        self._store({"renewTime": _timestamp()})

    def _take(self) -> None:
        """Take a Lease that is free, or whose holder has not renewed it for its whole duration."""
        found = self._client.find(self._path)
        seen, since, said = found, self._clock.monotonic(), False
        while found is not None and (found.get("spec") or {}).get("holderIdentity"):
            spec = found["spec"]
            if _version(found) != _version(seen):
                raise LockHeldError(held_message(self._name, spec))
            duration_s = spec.get("leaseDurationSeconds", LEASE_S)
            if self._clock.monotonic() - since >= duration_s:
                break
            if not said:
                self._say(f"checking whether {spec['holderIdentity']} is alive, for up to {duration_s} s")
            said = True
            self._clock.sleep(INTERVAL_S)
            found = self._client.find(self._path)
        self._acquire(found)

    def _acquire(self, found: Json | None) -> None:
        start, now = self._clock.monotonic(), _timestamp()
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": now,
            "renewTime": now,
        }
        meta = {"name": self._name, "namespace": self._client.namespace}
        try:
            if found is None:
                body = {"metadata": meta, "spec": spec}
                self._stored = self._client.create(self._collection, body)
            else:
                self._stored = self._client.replace(self._path, {**found, "spec": spec})
        except ClusterError as error:
            if error.status == HTTPStatus.CONFLICT:
                message = f"another rollout has just taken the lease {self._name}; wait until it ends"
                raise LockHeldError(message) from None
            raise
        self._valid_until = start + LEASE_S

    def _store(self, fields: Json) -> None:
        """Change the Lease if this rollout still holds it. Raises LeaseLostError where it does not."""
        with self._mutex:
            start = self._clock.monotonic()
            try:
                self._replace(fields)
            except ClusterError as error:
                if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                    raise
                # The answer to an earlier renewal may have been lost; then the holder is still this one.
                found = self._client.find(self._path) or {}
                holder = (found.get("spec") or {}).get("holderIdentity")
                if holder != self._holder:
                    self._valid_until = 0.0
                    raise LeaseLostError(_lost_message(self._name, holder)) from None
                self._stored = found
                self._replace(fields)
            self._valid_until = start + LEASE_S

    def _replace(self, fields: Json) -> None:
        spec = {**self._stored["spec"], **fields}
        self._stored = self._client.replace(self._path, {**self._stored, "spec": spec})

    def _keep_renewing(self) -> None:
        while not self._done.wait(RENEW_S):
            try:
                self.renew()
            except LeaseLostError:
                return  # `check` reports it before the next change.
            except CapstanError:
                continue  # The API server may be down for a while.


def held_message(name: str, spec: Json) -> str:
    """Who holds the lease since when, and what to do."""
    return (
        f"another rollout is in progress: {spec.get('holderIdentity')} holds the lease {name} since "
        f"{spec.get('acquireTime', 'an unknown time')}; wait for it (a dead holder loses the lease after "
        f"{spec.get('leaseDurationSeconds', LEASE_S)} s)"
    )


def _lost_message(name: str, holder: str | None) -> str:
    return (
        f"the lease {name} was lost to {holder or 'another rollout'}, so this rollout stopped; "
        "nothing was rolled back; see capstan status"
    )


def _version(found: Json | None) -> str:
    return str(((found or {}).get("metadata") or {}).get("resourceVersion"))


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
