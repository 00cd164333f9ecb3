"""The commands that change a release: propose, show, and roll out under the lock."""

import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer

from k8s.commands.session import Session
from k8s.doors.cluster import Cluster
from k8s.doors.process import redact
from k8s.doors.release import Release, Values, last_deployed
from k8s.errors import ClusterError, ExitCode, RefusedError, UsageError
from k8s.rollout.history import stamp
from k8s.rollout.installed import revisions
from k8s.rollout.lock import Lock
from k8s.rollout.plan import compare, propose, require_kuberay
from k8s.rollout.restore import unstick
from k8s.rollout.rollout import Result, Rollout, Wishes
from k8s.rules.proposal import Proposal, check_room

STRATEGIES = ("beside", "replace")
# The chart serves this model on this pool where the values name none.
DEFAULT_MODEL, DEFAULT_POOL = "embedded", "cpu"


def replaces(strategy: str) -> bool:
    """Whether a strategy deletes the old cluster first. Raises UsageError for an unknown one."""
    if strategy not in STRATEGIES:
        raise UsageError(f"--strategy {strategy!r} is not known; choose one of {', '.join(STRATEGIES)}")
    return strategy == "replace"


def show_plan(session: Session, chart: Path, values: Values) -> bool:
    """Show what a deploy would do, and return whether there is anything.

    Raises RefusedError where there is no room for it.
    """
    cluster = session.cluster()
    proposal = propose(cluster, session.release(cluster), chart, values)
    show(session, proposal)
    check_room(proposal, replace=False)
    return proposal.changes


def show(session: Session, proposal: Proposal) -> None:
    """Show a proposal: as JSON, or as lines."""
    session.display.result(value_of(proposal), lines_of(proposal))


def deploy(session: Session, chart: Path, values: Values, wishes: Wishes, *, ask: bool) -> None:
    """Install or upgrade."""
    cluster = session.cluster()
    require_kuberay(cluster)
    ensure_namespace(cluster)

    def act(rollout: Rollout) -> Result:
        unstick(cluster, rollout.release, rollout.say)
        proposal = propose(cluster, rollout.release, chart, values)
        announce(session, proposal, ask=ask)
        return rollout.deploy(chart, values, wishes, proposal)

    _under_lock(session, cluster, act)


def scale(
    session: Session,
    chart: Path,
    model: str,
    replicas: int | None,
    bounds: tuple[int | None, int | None],
    wishes: Wishes,
    *,
    ask: bool,
) -> None:
    """Change a model's number of replicas."""
    cluster = session.cluster()
    current = installed_values(cluster, session.release(cluster))
    pairs = scaling(current, model, replicas, bounds)
    deploy(session, chart, Values(extra=pairs), wishes, ask=ask)


def restart(session: Session, chart: Path, model: str, wishes: Wishes, *, ask: bool) -> None:
    """Restart a model's replicas: a variable in their environment changes, and Serve replaces them."""
    cluster = session.cluster()
    current = installed_values(cluster, session.release(cluster))
    pairs = (*named(current, model), (f"models.{model}.env.RESTARTED_AT", stamp()))
    deploy(session, chart, Values(extra=pairs), wishes, ask=ask)


def rollback(session: Session, revision: int | None, wishes: Wishes, *, ask: bool) -> None:
    """Go back to a former revision."""
    cluster = session.cluster()
    release = session.release(cluster)
    require_kuberay(cluster)

    def act(rollout: Rollout) -> Result:
        unstick(cluster, release, rollout.say)
        known = revisions(cluster, release)
        target = revision or rollout.good_before(known[-1].number)
        if target is None or target not in [r.number for r in known]:
            numbers = ", ".join(str(r.number) for r in known)
            raise RefusedError(
                f"there is no revision {target or 'that served before'} to go back to; Helm has {numbers}"
            )
        proposal = compare(cluster, release.manifest(last_deployed(known)), release.manifest(target))
        announce(session, proposal, ask=ask)
        return rollout.back(target, wishes, proposal)

    _under_lock(session, cluster, act)


def scaling(
    values: dict[str, Any], model: str, replicas: int | None, bounds: tuple[int | None, int | None]
) -> tuple[tuple[str, Any], ...]:
    """The chart values that give a model so many replicas. Raises UsageError where they make no sense."""
    first = named(values, model)
    least, most = bounds
    at = f"models.{model}"
    if replicas is not None:
        if least is not None or most is not None:
            raise UsageError(f"give either a number of replicas ({replicas}) or --min and --max, not both")
        return (*first, (f"{at}.replicas", replicas), (f"{at}.autoscaling", None))
    if least is None or most is None:
        raise UsageError("give a number of replicas, or both --min and --max")
    if most < max(least, 1):
        raise UsageError(f"--max {most} is below --min {least}; replicas must fit between them")
    return (
        *first,
        (f"{at}.replicas", None),
        (f"{at}.autoscaling.minReplicas", least),
        (f"{at}.autoscaling.maxReplicas", most),
    )


def named(values: dict[str, Any], model: str) -> tuple[tuple[str, Any], ...]:
    """What must be said first so that `models.MODEL` can be changed: the chart's default model, in full.

    Raises UsageError where the release serves no such model.
    """
    models = values.get("models") or {}
    if model in models:
        return ()
    if not models and model == DEFAULT_MODEL:
        pool: tuple[tuple[str, Any], ...] = ()
        if not values.get("nodePools"):
            pool = ((f"nodePools.{DEFAULT_POOL}.gpusPerNode", 0),)
        return (*pool, (f"models.{model}.gpusPerReplica", 0))
    known = ", ".join(models) or DEFAULT_MODEL
    raise UsageError(f"the release serves no model {model!r}; it serves {known}")


def installed_values(cluster: Cluster, release: Release) -> dict[str, Any]:
    """The values of the installed release. Raises RefusedError where there is none."""
    revisions(cluster, release)
    return release.values()


def announce(session: Session, proposal: Proposal, *, ask: bool) -> None:
    """Say what will happen, and ask where there is somebody to ask."""
    for line in lines_of(proposal):
        session.display.say(line)
    if ask and proposal.changes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Go on?", abort=True)


def ensure_namespace(cluster: Cluster) -> None:
    """Make the namespace where there is none."""
    try:
        if cluster.find(f"/api/v1/namespaces/{cluster.namespace}") is None:
            cluster.create("/api/v1/namespaces", {"metadata": {"name": cluster.namespace}})
    except ClusterError as error:
        # Who may not see namespaces can still deploy into one that is there.
        if error.status != HTTPStatus.FORBIDDEN:
            raise


def lines_of(proposal: Proposal) -> list[str]:
    """A proposal for a person."""
    found = proposal.plan.lines()
    if proposal.objects and not proposal.plan.first:
        found += ["other objects:", *(f"  - {line}" for line in proposal.objects)]
        found = found[1:] if not proposal.plan.changes else found
    account = proposal.account
    if account is None:
        found.append("room: not counted, as this account may not list nodes and pods")
    elif proposal.plan.new_cluster:
        found += [f"{key}: {free} free of {total}" for key, (free, total) in account.gpus.items()]
        found += [f"  {line}" for line in account.growth if not account.short]
        found += [f"  ! {line}" for line in account.lines()]
    return found


def value_of(proposal: Proposal) -> dict[str, Any]:
    """A proposal as JSON."""
    plan = proposal.plan
    account = proposal.account
    return {
        "changes": proposal.changes,
        "first": plan.first,
        "newCluster": plan.new_cluster,
        "models": {name: effect.name for name, effect in plan.models.items()},
        "fields": [
            {"field": c.field, "effect": c.effect.name, "change": c.line(), "models": list(c.models)}
            for c in plan.changes
        ],
        "objects": list(proposal.objects),
        "room": None
        if account is None
        else {
            "fits": account.fits,
            "short": account.lines(),
            "growth": list(account.growth),
        },
    }


def _under_lock(session: Session, cluster: Cluster, act: Callable[[Rollout], Result]) -> None:
    release = session.release(cluster)
    with Lock(cluster, release.name):
        rollout = Rollout(cluster, release, lambda line: session.display.say(redact(line)))
        try:
            result = act(rollout)
        except KeyboardInterrupt:
            session.display.say(INTERRUPTED)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
    value = {
        "revision": result.revision,
        "seconds": round(result.seconds, 1),
        "outcome": result.sentence,
        "changed": result.changed,
    }
    session.display.result(value, [result.sentence])


INTERRUPTED = (
    "interrupted: nothing was rolled back, and KubeRay goes on with what was applied. `capstan status` shows "
    "how far it is; `capstan deploy` without values watches it to its end; `capstan rollback` goes back."
)
