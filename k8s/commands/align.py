"""`capstan align`: bring the running cluster's pools to the installed release."""

from k8s.clients.pods import Pods
from k8s.clients.retry import LIMIT_S, Clock, Retry
from k8s.commands.options import Direct, ServiceName, Timeout, parse_duration, shared
from k8s.commands.session import Session, service_name
from k8s.rollout.align import align_release
from k8s.rollout.watch import Observer


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
