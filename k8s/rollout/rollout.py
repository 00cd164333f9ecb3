"""A rollout from its plan to its end: apply, watch, try, and put back what failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from k8s.doors.cluster import Cluster
from k8s.doors.pods import Pods
from k8s.doors.release import Release, Values
from k8s.errors import CapstanError, RolledBackError, RolloutError, UnreachableError
from k8s.rollout import smoke
from k8s.rollout.active import align
from k8s.rollout.history import FAILED, ROLLED_BACK, RUNNING, SERVING, Entry, History, stamp
from k8s.rollout.insist import LIMIT_S, insist
from k8s.rollout.lock import holder_name
from k8s.rollout.observe import Observer
from k8s.rollout.restore import Restorer
from k8s.rollout.vacancy import vacate
from k8s.rollout.watch import Clock, WatchError, watch
from k8s.rules.goal import Goal, goal_of, pools_of
from k8s.rules.proposal import Proposal, check_room
from k8s.state.snapshot import Snapshot

Json = Mapping[str, Any]
Say = Callable[[str], None]
Got = TypeVar("Got")

SMOKE_LIMIT_S = 60.0
# A rollback takes its time, however short the rollout's own deadline was.
SETTLING_S = 600.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a rollout is to be made."""

    timeout_s: float = 1200.0
    rollback: bool = True
    replace: bool = False
    smoke: bool = True
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a rollout ended."""

    revision: int
    seconds: float
    sentence: str
    changed: bool


class Rollout:
    """One rollout of one release. The caller holds the lock."""

    def __init__(self, cluster: Cluster, release: Release, say: Say, clock: Clock | None = None) -> None:
        self.cluster = cluster
        self.release = release
        self.pods = Pods(cluster)
        self.history = History(cluster, release.name)
        self.say = say
        self.clock = clock or Clock()

    def deploy(self, chart: Path, values: Values, wishes: Wishes, proposal: Proposal) -> Result:
        """Apply a proposal that was shown, watch it to its end, and put back what failed.

        Raises RefusedError before any change, RolledBackError, or RolloutError where nothing was put back.
        """
        check_room(proposal, replace=wishes.replace)
        began = self.clock.monotonic()
        deployed = self._deployed(proposal)
        if not proposal.changes:
            return self._finish_former(proposal, wishes, began)
        restorer = Restorer(self.cluster, self.release, proposal.name, self.say)
        if proposal.plan.new_cluster:
            restorer.drop_pending()
        lines = proposal.what()
        revision = self.release.upgrade(chart, values, f"{holder_name()}: {'; '.join(lines)[:200]}")
        self._insist(lambda: restorer.thaw(proposal.after["spec"].get("upgradeStrategy")))
        entry = Entry(revision, holder_name(), stamp(), tuple(lines))
        self._insist(lambda: self.history.write(entry))
        goal = self._insist(lambda: self._goal(proposal, deployed))
        self.say(f"revision {revision} is applied; watching for at most {wishes.timeout_s:g} s")
        return self._see_through(proposal, goal, wishes, entry, began)

    def back(self, revision: int, wishes: Wishes, proposal: Proposal) -> Result:
        """Go back to a former revision and watch that to its end. Raises RolloutError where it fails."""
        check_room(proposal, replace=wishes.replace)
        began = self.clock.monotonic()
        deployed = self._deployed(proposal)
        Restorer(self.cluster, self.release, proposal.name, self.say).go_back(revision)
        newest = self.release.history()[-1].number
        entry = Entry(newest, holder_name(), stamp(), (f"rollback to {revision}",))
        self._insist(lambda: self.history.write(entry))
        goal = self._insist(lambda: self._goal(proposal, deployed))
        careful = Wishes(wishes.timeout_s, False, wishes.replace, wishes.smoke, wishes.key)
        return self._see_through(proposal, goal, careful, entry, began)

    def _insist(self, act: Callable[[], Got], limit_s: float = LIMIT_S) -> Got:
        return insist(act, self.say, self.clock, limit_s=limit_s)

    def _goal(self, proposal: Proposal, deployed: Mapping[str, float]) -> Goal:
        """What must be seen, now that the proposal is applied."""
        live = self.cluster.get(f"{self.cluster.ray}/rayservices/{proposal.name}")
        return goal_of(proposal, live["metadata"]["generation"], deployed)

    def _finish_former(self, proposal: Proposal, wishes: Wishes, began: float) -> Result:
        """Nothing is to be applied; but a former rollout may have been left in the middle."""
        entries = self.history.entries()
        newest = self.release.history()[-1].number
        entry = entries.get(newest)
        if entry is None or entry.outcome != RUNNING:
            if proposal.settled:
                return Result(newest, 0.0, "nothing to do: what runs is what is wanted", changed=False)
            entry = entry or Entry(newest, holder_name(), stamp(), ("watched to its end",))
        self.say(f"revision {newest} was left in the middle; watching it to its end")
        return self._see_through(proposal, self._goal(proposal, {}), wishes, entry, began)

    def _see_through(
        self, proposal: Proposal, goal: Goal, wishes: Wishes, entry: Entry, began: float
    ) -> Result:
        try:
            seen = self._to_the_end(proposal, goal, wishes)
        except RolloutError as error:
            self._explain(error)
            seconds = self.clock.monotonic() - began
            self._put_back(proposal, wishes, entry.ended(FAILED, reason=str(error), seconds=seconds), error)
        seconds = self.clock.monotonic() - began
        images = tuple(
            sorted({c.image_id or c.image for p in seen.pods for c in p.containers if not c.first})
        )
        self._note(entry.ended(SERVING, seconds=seconds, images=images))
        return Result(
            entry.revision, seconds, f"revision {entry.revision} serves after {seconds:.0f} s", changed=True
        )

    def _to_the_end(self, proposal: Proposal, goal: Goal, wishes: Wishes) -> Snapshot:
        observer = Observer(self.cluster, self.pods, proposal.name)
        since = datetime.now(UTC)
        if not goal.new_cluster:
            self._insist(lambda: align(self.cluster, proposal.after, self.say, shrink=False))
        elif wishes.replace and proposal.cluster is not None:
            name, limit_s = proposal.cluster["metadata"]["name"], wishes.timeout_s
            since = vacate(self.cluster, name, timeout_s=limit_s, say=self.say, clock=self.clock)
            goal = replace(goal, room_since=since)

        def observe() -> Snapshot:
            return observer.snapshot(since)

        seen = watch(observe, goal, timeout_s=wishes.timeout_s, say=self.say, clock=self.clock)
        if wishes.smoke:
            self._try(seen, goal, wishes.key)
        if not goal.new_cluster:
            self._insist(lambda: align(self.cluster, proposal.after, self.say, shrink=True, seen=seen))
            even = replace(goal, pools=pools_of(proposal.after))
            seen = watch(observe, even, timeout_s=wishes.timeout_s, say=self.say, clock=self.clock)
        return seen

    def _try(self, seen: Snapshot, goal: Goal, key: str | None) -> None:
        serving = seen.service.active.cluster if seen.service and seen.service.active else ""
        pod = smoke.proxy_pod(seen.pods, serving)
        if pod is None:
            raise RolloutError(f"smoke test: no pod of {serving} is ready")
        send = smoke.sender(self.pods.request, pod.name)
        try:
            outcomes = self._insist(lambda: smoke.run(goal.configs, send, key), SMOKE_LIMIT_S)
        except UnreachableError as error:
            raise RolloutError(f"the smoke test got no answer: {error}") from None
        for outcome in outcomes:
            self.say(outcome.sentence)
        failed = [o.sentence for o in outcomes if o.passed is False]
        if failed:
            raise RolloutError("; ".join(failed))

    def _explain(self, error: RolloutError) -> None:
        """Say what failed, with the last lines of the guilty log."""
        self.say(f"failed: {error}")
        failure = error.failure if isinstance(error, WatchError) else None
        if failure is None or not failure.pod:
            return
        previous = failure.kind in ("CrashLoopBackOff", "OOMKilled")
        try:
            lines = self.pods.log(failure.pod, failure.container, previous=previous)
        except UnreachableError:
            return
        for line in lines:
            self.say(f"  {failure.pod} | {line}")

    def _put_back(self, proposal: Proposal, wishes: Wishes, entry: Entry, error: RolloutError) -> None:
        """Go back to what served before; always raises."""
        self._note(entry)
        good = self.good_before(entry.revision)
        if not wishes.rollback or good is None:
            why = "--no-rollback" if not wishes.rollback else "there is no former revision that served"
            raise RolloutError(f"{error}; nothing was rolled back ({why})") from error
        self.say(f"rolling back to revision {good}")
        restorer = Restorer(self.cluster, self.release, proposal.name, self.say)
        try:
            restorer.go_back(good)
            restorer.settle(max(wishes.timeout_s, SETTLING_S), self.pods, self.clock)
        except CapstanError as second:
            raise RolloutError(
                f"{error}; and the rollback to revision {good} failed as well: {second}; see capstan status"
            ) from error
        self._note(entry.ended(ROLLED_BACK, reason=str(error), seconds=entry.seconds))
        newest = self.release.history()[-1].number
        self._note(Entry(newest, holder_name(), stamp(), (f"rollback to {good}",), SERVING))
        raise RolledBackError(f"{error}; rolled back: revision {good} serves") from error

    def _note(self, entry: Entry) -> None:
        try:
            self._insist(lambda: self.history.write(entry))
        except CapstanError as error:
            self.say(f"the outcome could not be noted: {error}")

    def good_before(self, revision: int) -> int | None:
        """The newest revision before that one which is not known to have failed, if Helm still has one."""
        entries = self.history.entries()
        known = [
            r.number
            for r in self.release.history()
            if r.number < revision and r.status in ("deployed", "superseded")
        ]
        good = [n for n in known if n not in entries or entries[n].outcome == SERVING]
        return max(good, default=None)

    def _deployed(self, proposal: Proposal) -> dict[str, float]:
        if proposal.before is None:
            return {}
        try:
            seen = Observer(self.cluster, self.pods, proposal.name).snapshot()
        except UnreachableError:
            return {}
        serving = seen.service.active.cluster if seen.service and seen.service.active else ""
        return {a.name: a.deployed_at for a in seen.apps.get(serving, ())}
