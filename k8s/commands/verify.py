"""`capstan verify` and `capstan align`, for hooks and Jobs, after Helm or a GitOps tool changed a release."""

from k8s.clients.pods import Pods
from k8s.clients.process import redact
from k8s.clients.retry import LIMIT_S, Clock, Retry
from k8s.commands.options import (
    Direct,
    Grace,
    Key,
    NoSmoke,
    ServiceName,
    Timeout,
    parse_duration,
    shared,
)
from k8s.commands.session import Session, service_name
from k8s.rollout.align import align_release
from k8s.rollout.verify import VerifyOptions, verify_release
from k8s.rollout.watch import Observer


@shared
def verify(
    session: Session,
    timeout: Timeout = "20m",
    grace: Grace = "60s",
    *,
    no_smoke_test: NoSmoke = False,
    api_key: Key = None,
    service: ServiceName = None,
    direct: Direct = False,
) -> None:
    """Wait until the release serves as stored in the cluster, and request a test caption from each model.

    For hooks and CI, after Helm, Argo CD or Flux has changed the release: it watches like deploy, and changes
    nothing. Exit code 0: every model serves, 3: there is no such release, 5: the rollout failed.
    """
    options = VerifyOptions(
        parse_duration(timeout, "--timeout"),
        parse_duration(grace, "--scheduling-grace"),
        not no_smoke_test,
        api_key,
    )

    def say(line: str) -> None:
        session.display.say(redact(line))

    clock, client = Clock(), session.client()
    name = service or service_name(session.release(client))
    pods = Pods(client, direct=direct)
    seen = verify_release(Observer(client, pods, name), pods, options, say, clock)
    generation = seen.service.generation if seen.service else 0
    value = {"service": name, "generation": generation, "outcome": "serves"}
    session.display.result(value, [f"RayService {name} serves generation {generation}"])


@shared
def align(
    session: Session, timeout: Timeout = "20m", *, service: ServiceName = None, direct: Direct = False
) -> None:
    """Bring worker pods, bounds and tolerations of the running cluster to the installed release.

    KubeRay ignores them on a running RayService. deploy and scale do this too; the chart runs it after a
    `helm upgrade`. Pools grow at once, and shrink after Serve has stopped the replicas.
    """
    timeout_s = parse_duration(timeout, "--timeout")
    clock = Clock()
    client = session.client().with_options(Retry(LIMIT_S, session.display.say, clock))
    name = service or service_name(session.release(client))
    observer = Observer(client, Pods(client, direct=direct), name)
    align_release(client, observer, session.display.say, timeout_s=timeout_s, clock=clock)
