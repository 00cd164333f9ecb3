"""`capstan history` lists the revisions of Helm; `capstan rollback` returns to one."""

from typing import Any

from k8s.clients.helm import Revision, last_deployed
from k8s.commands.deploy import announce, hold_lease_and_run
from k8s.commands.session import Session, installed_revisions
from k8s.errors import RefusedError
from k8s.resources.pod import short_digest
from k8s.rollout.history import History, RolloutEntry
from k8s.rollout.propose import propose_change, require_kuberay
from k8s.rollout.rollback import unstick
from k8s.rollout.rollout import Result, Rollout, RolloutOptions

COLUMNS = ("REVISION", "WHEN", "WHO", "OUTCOME", "SECONDS", "IMAGE", "WHAT")


def rollback(session: Session, revision: int | None, options: RolloutOptions, *, ask: bool) -> None:
    """Return to a revision, else to the last that served. Raises RefusedError where there is none."""
    client = session.client()
    require_kuberay(client)

    def act(rollout: Rollout) -> Result:
        release = rollout.release
        unstick(client, release, rollout.say)
        known = installed_revisions(client, release)
        wanted = revision or rollout.history.last_serving(known, known[-1].number)
        if wanted is None or wanted not in [r.number for r in known]:
            name = f"revision {wanted}" if wanted else "earlier revision that served"
            numbers = ", ".join(str(r.number) for r in known)
            raise RefusedError(f"no {name} to return to; Helm has {numbers}")
        installed, former = release.manifest(last_deployed(known)), release.manifest(wanted)
        proposal = propose_change(client, installed, former)
        announce(session, proposal, ask=ask)
        return rollout.roll_back(wanted, options, proposal)

    hold_lease_and_run(session, client, act)


def history(session: Session) -> None:
    """Show Helm's revisions with their history entries."""
    client = session.client()
    release = session.release(client)
    known = installed_revisions(client, release)
    entries = History(client, release.name).entries()
    found = [revision_json(r, entries.get(r.number)) for r in known]
    session.display.result({"revisions": found})
    session.display.table("revisions", COLUMNS, [_row(each) for each in found])


def revision_json(revision: Revision, entry: RolloutEntry | None) -> dict[str, Any]:
    """One revision, from Helm and from the history."""
    return {
        "revision": revision.number,
        "when": entry.when if entry else revision.updated,
        "who": entry.who if entry else "",
        "what": list(entry.what) if entry else [revision.description],
        "outcome": entry.outcome if entry else revision.status,
        "reason": entry.reason if entry else "",
        "seconds": entry.seconds if entry else 0.0,
        "images": list(entry.images) if entry else [],
        "chart": revision.chart,
    }


def _row(found: dict[str, Any]) -> list[str]:
    return [
        str(found["revision"]),
        found["when"],
        found["who"],
        found["outcome"],
        str(found["seconds"]),
        " ".join(short_digest(i) for i in found["images"]) or "-",
        "; ".join(found["what"])[:100],
    ]
