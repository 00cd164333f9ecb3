"""`capstan plan`: propose and show. `capstan deploy`: then roll out while holding the lease."""

import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer

from k8s.clients.helm import Values
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.process import redact
from k8s.commands.session import Session
from k8s.errors import ClusterError, ExitCode
from k8s.planning.proposal import Proposal, check_proposal
from k8s.rollout.lease import RolloutLease
from k8s.rollout.propose import propose, require_kuberay
from k8s.rollout.rollback import unstick
from k8s.rollout.rollout import Result, Rollout, RolloutOptions

INTERRUPTED = (
    "interrupted: nothing was rolled back, and KubeRay carries on with what was applied. `capstan status` "
    "shows the progress; `capstan deploy` without values watches it to its end; `capstan rollback` goes back."
)


def plan(session: Session, chart: Path, values: Values, *, replace: bool) -> bool:
    """Show what a deploy would do; returns whether it would change anything.

    `replace`: whether the old cluster would go first. Raises RefusedError where deploy would.
    """
    client = session.client()
    proposal = propose(client, session.release(client), chart, values)
    session.display.result(proposal_json(proposal), proposal_lines(proposal))
    check_proposal(proposal, replace=replace)
    return proposal.changes


def deploy(session: Session, chart: Path, values: Values, options: RolloutOptions, *, ask: bool) -> None:
    """Install or upgrade."""
    client = session.client()
    require_kuberay(client)
    ensure_namespace(client)

    def act(rollout: Rollout) -> Result:
        unstick(client, rollout.release, rollout.say)
        proposal = propose(client, rollout.release, chart, values)
        announce(session, proposal, ask=ask)
        return rollout.deploy(chart, values, options, proposal)

    hold_lease_and_run(session, client, act)


def announce(session: Session, proposal: Proposal, *, ask: bool) -> None:
    """Show what will happen, and ask for confirmation on a terminal."""
    for line in proposal_lines(proposal):
        session.display.say(line)
    if ask and proposal.changes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Continue?", abort=True)


def ensure_namespace(client: KubernetesClient) -> None:
    """Create the namespace where it does not exist."""
    try:
        if not client.has_namespace():
            client.create("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
    except ClusterError as error:
        # What is created next says that the namespace is missing.
        if error.status != HTTPStatus.FORBIDDEN:
            raise


def hold_lease_and_run(session: Session, client: KubernetesClient, act: Callable[[Rollout], Result]) -> None:
    """Run a rollout while holding the release's lease, and show its result."""
    release = session.release(client)

    def say(line: str) -> None:
        session.display.say(redact(line))

    with RolloutLease(client, release.name, say) as lease:
        rollout = Rollout(client, release, say, lease.check)
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
        "comparison": [model.value() for model in result.comparison],
    }
    session.display.result(value, [result.sentence])


def proposal_lines(proposal: Proposal) -> list[str]:
    """A proposal as lines of text."""
    found = proposal.plan.lines()
    if proposal.objects and not proposal.plan.first:
        found += ["other objects:", *(f"  - {line}" for line in proposal.objects)]
        found = found[1:] if not proposal.plan.changes else found
    capacity = proposal.capacity
    if capacity is None:
        found.append("capacity: not checked, because this account may not list nodes and pods")
    elif proposal.plan.new_cluster:
        found += [f"{key}: {free} free of {total}" for key, (free, total) in capacity.gpus.items()]
        found += [f"  {line}" for line in capacity.growth if not capacity.shortages]
        found += [f"  ! {line}" for line in capacity.lines()]
    return [*found, *(f"  ! {line}" for line in proposal.warnings)]


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """A proposal as JSON."""
    found = proposal.plan
    return {
        "changes": proposal.changes,
        "first": found.first,
        "newCluster": found.new_cluster,
        "models": {name: effect.name for name, effect in found.models.items()},
        "fields": [
            {"field": c.field, "effect": c.effect.name, "change": c.line(), "models": list(c.models)}
            for c in found.changes
        ],
        "objects": list(proposal.objects),
        "warnings": list(proposal.warnings),
        "capacity": _capacity_json(proposal),
    }


def _capacity_json(proposal: Proposal) -> dict[str, Any] | None:
    capacity = proposal.capacity
    if capacity is None:
        return None
    return {"fits": capacity.fits, "short": capacity.lines(), "growth": list(capacity.growth)}
