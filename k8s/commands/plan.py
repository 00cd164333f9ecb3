"""`capstan plan`: what a deploy would do."""

from pathlib import Path
from typing import Any

from k8s.clients.helm import Values
from k8s.commands.session import Session
from k8s.planning.proposal import Proposal, check_proposal
from k8s.rollout.propose import propose


def plan(session: Session, chart: Path, values: Values, *, replace: bool) -> bool:
    """Show what a deploy would do; returns whether it would change anything.

    `replace`: whether the old cluster would go first. Raises RefusedError where deploy would.
    """
    client = session.client()
    proposal = propose(client, session.release(client), chart, values)
    session.display.result(proposal_json(proposal), proposal_lines(proposal))
    check_proposal(proposal, replace=replace)
    return proposal.changes


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
