"""A rollout in four steps: apply, watch, verify, and finish or roll back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from k8s.clients.helm import Release, Values
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.clients.retry import LIMIT_S, Clock, Retry
from k8s.errors import CapstanError, RolledBackError, RolloutError
from k8s.planning.comparison import Limits, ModelComparison, beyond
from k8s.planning.failures import SCHEDULING_GRACE_S
from k8s.planning.proposal import Proposal, check_proposal
from k8s.planning.verdict import Target, fixed_pools, target_of
from k8s.resources.snapshot import Snapshot
from k8s.rollout import hold, smoke_test
from k8s.rollout.align import align
from k8s.rollout.compare import CaptionComparer
from k8s.rollout.history import FAILED, ROLLED_BACK, RUNNING, SERVING, History, RolloutEntry, new_entry
from k8s.rollout.lease import holder_name
from k8s.rollout.propose import ray_service
from k8s.rollout.rollback import Rollback
from k8s.rollout.teardown import Teardown
from k8s.rollout.watch import Observer, failure_lines, watch

Json = dict[str, Any]
Say = Callable[[str], None]
Guard = Callable[[], None]

# A rollback gets this long, however short the rollout's own deadline was.
MIN_ROLLBACK_S = 600.0


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """The options of a rollout."""

    timeout_s: float = 1200.0
    rollback: bool = True
    replace: bool = False
    smoke_test: bool = True
    key: str | None = None
    scheduling_grace_s: float = SCHEDULING_GRACE_S
    images: tuple[Path, ...] = ()
    """What the old and the new cluster caption before traffic is switched; empty: no comparison."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Result:
    """How a rollout ended."""

    revision: int
    seconds: float
    sentence: str
    changed: bool
    comparison: tuple[ModelComparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """A rollout that is applied: its history entry, its target and when it began."""

    entry: RolloutEntry
    target: Target
    began: float


class Rollout:
    """One rollout of one release. The caller holds the lease, which `guard` checks before every change."""

    def __init__(
        self, client: KubernetesClient, release: Release, say: Say, guard: Guard, clock: Clock | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.client = client.with_options(Retry(LIMIT_S, say, self.clock), guard)
        self.release = release
        self.pods = Pods(client)
        self.history = History(self.client, release.name)
        self.say = say

    def deploy(self, chart: Path, values: Values, options: RolloutOptions, proposal: Proposal) -> Result:
        """Apply a proposal, watch and verify it, and roll back if it fails.

        Raises RefusedError before any change, RolledBackError, or RolloutError if nothing was rolled back.
        """
        check_proposal(proposal, replace=options.replace)
        if not proposal.changes:
            return self._finish_earlier(proposal, options)
        if options.images:
            self._comparer(options).check_baseline(proposal, self._observer(proposal).snapshot())
        applied = self._apply(chart, values, proposal, options)
        self.say(f"revision {applied.entry.revision} is applied; it has {options.timeout_s:g} s to serve")
        return self._watch_and_finish(proposal, applied, options)

    def roll_back(self, revision: int, options: RolloutOptions, proposal: Proposal) -> Result:
        """Return to a former revision, watch and verify it. Raises RolloutError if it fails."""
        check_proposal(proposal, replace=options.replace)
        began, deployed = self.clock.monotonic(), self._observer(proposal).deployed_at()
        self._return_to(revision, proposal.after)
        applied = self._applied(
            proposal, deployed, began, new_entry(self._newest(), f"rollback to {revision}")
        )
        return self._watch_and_finish(proposal, applied, replace(options, rollback=False))

    def _watch_and_finish(self, proposal: Proposal, applied: Applied, options: RolloutOptions) -> Result:
        try:
            compared = self._compare(proposal, applied.target, options) if options.images else []
            seen = self._watch(proposal, applied.target, options)
        except RolloutError as error:
            for line in failure_lines(error, self.pods):
                self.say(line)
            self._fail_or_roll_back(proposal, applied, options, error)
        return replace(self._finish(applied, seen), comparison=tuple(compared))

    def _apply(self, chart: Path, values: Values, proposal: Proposal, options: RolloutOptions) -> Applied:
        """Step 1: install or upgrade the Helm release, and record it."""
        began, deployed = self.clock.monotonic(), self._observer(proposal).deployed_at()
        teardown = Teardown(self.client, proposal.name, self.say)
        if proposal.plan.new_cluster and not proposal.settled:
            hold.abandon(teardown, self._serving() or proposal.after)
        changes = tuple(proposal.summary())
        self.client.guard()
        revision = self.release.upgrade(chart, values, f"{holder_name()}: {'; '.join(changes)[:200]}")
        teardown.restore_strategy(proposal.after["spec"].get("upgradeStrategy"))
        set_switch = hold.hold if options.images else hold.release
        set_switch(self.client, proposal.after)
        return self._applied(proposal, deployed, began, new_entry(revision, *changes))

    def _compare(self, proposal: Proposal, target: Target, options: RolloutOptions) -> list[ModelComparison]:
        """Step 2, before the switch: compare the captions of both clusters, then let KubeRay switch.

        Raises RolloutError beyond a limit; the switch is held then.
        """
        seen = self._observe(proposal, replace(target, held=True), options, datetime.now(UTC))
        found = self._comparer(options).compare(proposal, seen, timeout_s=options.timeout_s)
        if exceeded := beyond(found, options.limits):
            raise RolloutError("; ".join(exceeded))
        hold.release(self.client, proposal.after)
        return found

    def _watch(self, proposal: Proposal, target: Target, options: RolloutOptions) -> Snapshot:
        """Step 2: wait until every replica runs; growing pools are aligned first, shrinking ones last."""
        since = datetime.now(UTC)
        if not target.new_cluster:
            align(self.client, proposal.after, self.say, shrink=False)
        elif options.replace and proposal.ray_cluster is not None:
            name, teardown = target.old_cluster, Teardown(self.client, proposal.name, self.say)
            since = teardown.delete_active(name, timeout_s=options.timeout_s, clock=self.clock)
            target = replace(target, placeable_since=since)

        seen = self._observe(proposal, target, options, since)
        if options.smoke_test:
            smoke_test.check(seen, target.configs, self.pods, options.key, self.say, self.clock)
        if not target.new_cluster:
            align(self.client, proposal.after, self.say, shrink=True, seen=seen)
            target = replace(target, pools=fixed_pools(proposal.after))
            seen = self._observe(proposal, target, options, since)
        return seen

    def _observe(
        self, proposal: Proposal, target: Target, options: RolloutOptions, since: datetime
    ) -> Snapshot:
        observer, limit_s = self._observer(proposal), options.timeout_s
        target = replace(target, scheduling_grace_s=options.scheduling_grace_s)
        return watch(
            partial(observer.snapshot, since), target, timeout_s=limit_s, say=self.say, clock=self.clock
        )

    def _finish(self, applied: Applied, seen: Snapshot) -> Result:
        """Step 4: record the success."""
        seconds, revision = self.clock.monotonic() - applied.began, applied.entry.revision
        images = {c.image_id or c.image for p in seen.pods for c in p.containers if not c.init}
        entry = applied.entry.ended(SERVING, seconds=seconds, images=tuple(sorted(images)))
        self.history.record(entry, self.say)
        return Result(revision, seconds, f"revision {revision} serves after {seconds:.0f} s", changed=True)

    def _fail_or_roll_back(
        self, proposal: Proposal, applied: Applied, options: RolloutOptions, error: RolloutError
    ) -> NoReturn:
        """Step 4 of a failed rollout: record it, and return to the revision that served before."""
        seconds = self.clock.monotonic() - applied.began
        entry = applied.entry.ended(FAILED, reason=str(error), seconds=seconds)
        self.history.record(entry, self.say)
        # An API server that restarts just now must not cost the rollback.
        retry = Retry(LIMIT_S, self.say, self.clock)
        good = self.history.last_serving(retry.run(self.release.history), entry.revision)
        if not options.rollback or good is None:
            reason = "--no-rollback" if not options.rollback else "no former revision served"
            raise RolloutError(f"{error}; nothing was rolled back ({reason})") from error
        self.say(f"rolling back to revision {good}")
        try:
            former = ray_service(retry.run(partial(self.release.manifest, good))) or proposal.after
            rollback = self._return_to(good, former)
            rollback.watch(max(options.timeout_s, MIN_ROLLBACK_S), self.pods, self.clock)
        except CapstanError as second:
            raise RolloutError(
                f"{error}; the rollback to revision {good} failed too: {second}; see capstan status"
            ) from error
        self.history.record(entry.ended(ROLLED_BACK, reason=str(error), seconds=entry.seconds), self.say)
        self.history.record(new_entry(self._newest(), f"rollback to {good}").ended(SERVING), self.say)
        raise RolledBackError(f"{error}; rolled back: revision {good} serves") from error

    def _return_to(self, revision: int, former: Json) -> Rollback:
        """Apply a former revision, whose RayService is `former`."""
        rollback = Rollback(self.client, self.release, former["metadata"]["name"], self.say)
        rollback.apply(revision)
        return rollback

    def _finish_earlier(self, proposal: Proposal, options: RolloutOptions) -> Result:
        """Nothing is to be applied; but an earlier rollout may be unfinished."""
        newest = self._newest()
        entry = self.history.entries().get(newest)
        if entry is None or entry.outcome != RUNNING:
            if proposal.settled:
                return Result(newest, 0.0, "nothing to do: the release is up to date", changed=False)
            entry = entry or new_entry(newest, "watched to its end")
        self.say(f"revision {newest} is unfinished; watching it to its end")
        applied = Applied(entry, self._target(proposal, {}), self.clock.monotonic())
        return self._watch_and_finish(proposal, applied, replace(options, images=()))

    def _applied(
        self, proposal: Proposal, deployed: Mapping[str, float], began: float, entry: RolloutEntry
    ) -> Applied:
        self.history.write(entry)
        return Applied(entry, self._target(proposal, deployed), began)

    def _target(self, proposal: Proposal, deployed: Mapping[str, float]) -> Target:
        live = self.client.get(f"{self.client.ray}/rayservices/{proposal.name}")
        return target_of(proposal, live["metadata"]["generation"], deployed)

    def _serving(self) -> Json | None:
        """The RayService of the newest revision that served; None where none did."""
        good = self.history.last_serving(self.release.history(), self._newest() + 1)
        return ray_service(self.release.manifest(good)) if good else None

    def _newest(self) -> int:
        return self.release.history()[-1].number

    def _observer(self, proposal: Proposal) -> Observer:
        return Observer(self.client.with_options(Retry()), self.pods, proposal.name)

    def _comparer(self, options: RolloutOptions) -> CaptionComparer:
        return CaptionComparer(self.pods, options.images, options.key, self.say, self.clock)
