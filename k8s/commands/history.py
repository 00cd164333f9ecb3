"""`capstan history`: the revisions of Helm, with who made each and how it ended."""

from typing import Any

from k8s.clients.helm import Revision
from k8s.commands.session import Session, installed_revisions
from k8s.resources.pod import short_digest
from k8s.rollout.history import History, RolloutEntry

COLUMNS = ("REVISION", "WHEN", "WHO", "OUTCOME", "SECONDS", "IMAGE", "WHAT")


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
