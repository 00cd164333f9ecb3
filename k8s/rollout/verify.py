"""Verifying a release: waiting until it serves as its RayService says, then testing it. Changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from k8s.clients.pods import Pods
from k8s.clients.retry import LIMIT_S, Clock, Retry
from k8s.errors import RefusedError
from k8s.planning.failures import SCHEDULING_GRACE_S
from k8s.planning.verdict import Target, fixed_pools
from k8s.resources.rayservice import RayService, serve_applications
from k8s.resources.snapshot import Snapshot
from k8s.rollout import smoke_test
from k8s.rollout.watch import Observer, watch

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How long to wait, and whether and with which key to test."""

    timeout_s: float = 1200.0
    scheduling_grace_s: float = SCHEDULING_GRACE_S
    smoke_test: bool = True
    key: str | None = None


class _ChangedError(Exception):
    """The RayService has another generation than the one that is watched."""


def verify_release(
    observer: Observer, pods: Pods, options: VerifyOptions, say: Callable[[str], None], clock: Clock
) -> Snapshot:
    """Watch until the RayService serves as it is stored, test every model, and return the last snapshot.

    A change of the RayService meanwhile is followed. Raises RefusedError where there is no RayService, and
    RolloutError where it fails, is not done in time, or a model fails the test.
    """
    end, since = clock.monotonic() + options.timeout_s, datetime.now(UTC)
    while True:
        service = Retry(LIMIT_S, say, clock).run(observer.service)
        if service is None:
            raise RefusedError("the RayService does not exist; check --release and --namespace")
        target = _target(service, options)
        say(f"verifying generation {target.generation} of RayService {service['metadata']['name']}")

        def observe(generation: int = target.generation) -> Snapshot:
            seen = observer.snapshot(since)
            if seen.service is not None and seen.service.generation != generation:
                raise _ChangedError
            return seen

        try:
            left_s = max(round(end - clock.monotonic()), 0)
            seen = watch(observe, target, timeout_s=left_s, say=say, clock=clock)
        except _ChangedError:
            continue
        if options.smoke_test:
            smoke_test.check(seen, target.configs, pods, options.key, say, clock)
        return seen


def _target(service: Json, options: VerifyOptions) -> Target:
    return Target(
        generation=RayService.from_api(service).generation,
        configs=serve_applications(service),
        pools=fixed_pools(service),
        scheduling_grace_s=options.scheduling_grace_s,
    )
