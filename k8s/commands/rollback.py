"""`capstan rollback`: return to a former revision."""

from k8s.clients.helm import last_deployed
from k8s.commands.deploy import announce, hold_lease_and_run
from k8s.commands.session import Session, installed_revisions
from k8s.errors import RefusedError
from k8s.rollout.propose import propose_change, require_kuberay
from k8s.rollout.rollback import unstick
from k8s.rollout.rollout import Result, Rollout, RolloutOptions


def rollback(session: Session, revision: int | None, options: RolloutOptions, *, ask: bool) -> None:
    """Return to a revision, else to the last that served. Raises RefusedError where there is none."""
    client = session.client()
    require_kuberay(client)

    def act(rollout: Rollout) -> Result:
        release = rollout.release
        unstick(client, release, rollout.say)
        known = installed_revisions(client, release)
        wanted = revision or rollout.last_good(known[-1].number)
        if wanted is None or wanted not in [r.number for r in known]:
            name = f"revision {wanted}" if wanted else "earlier revision that served"
            numbers = ", ".join(str(r.number) for r in known)
            raise RefusedError(f"no {name} to return to; Helm has {numbers}")
        installed, former = release.manifest(last_deployed(known)), release.manifest(wanted)
        proposal = propose_change(client, installed, former)
        announce(session, proposal, ask=ask)
        return rollout.roll_back(wanted, options, proposal)

    hold_lease_and_run(session, client, act)
