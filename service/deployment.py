"""The Serve deployment: each replica holds the model and answers HTTP itself.

The FastAPI ingress is the replica, which saves a hop: a gateway deployment in front of a model deployment
reached a fifth of the requests per second.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from ray import get_runtime_context, serve

from service import logs
from service.api.auth.replica_count import ReplicaCount
from service.autoscaling.policy import QUEUED, RATE
from service.metrics.ray_export import RayExport
from service.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

CLOSE_SECONDS = 10.0


@serve.ingress()
class Model:
    """What Serve manages; a `Replica` does the work."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # torch and transformers take seconds to import, and the process that imports this class only to read
        # the Serve config file needs neither.
        from service import ingress  # noqa: PLC0415
        from service.replica import Replica  # noqa: PLC0415

        runtime: Any = get_runtime_context()
        given = runtime.get_assigned_resources()
        parsed = Settings(**settings).for_resources(cpus=given.get("CPU", 0.0), gpus=given.get("GPU", 0.0))
        logs.configure(parsed.log_level, parsed.log_format)
        gpus = len(runtime.get_accelerator_ids().get("GPU", []))
        context = serve.get_replica_context()
        replicas = ReplicaCount(partial(_count_running, context.app_name, context.deployment))
        self.replica = Replica(parsed, gpus=gpus, replicas=replicas)
        self.export = RayExport(
            self.replica.telemetry.metrics.registry,
            {"application": context.app_name, "replica": context.replica_tag},
        )
        self.export.start()
        ingress.install(self.replica)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        return self.replica.application()

    def reconfigure(self, user_config: dict[str, Any] | None) -> None:
        """Take new generation defaults from Serve's `user_config`; the model stays loaded."""
        self.replica.reconfigure(user_config or {})

    def check_health(self) -> None:
        """Raise if the engine no longer works, so that Serve replaces the replica."""
        self.replica.engine.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The work of this replica for `WorkPolicy`; nothing as long as its speed is not known."""
        work = self.replica.engine.stats().work
        return {} if work is None else {RATE: work.rate, QUEUED: work.queued}

    async def __del__(self) -> None:
        replica = getattr(self, "replica", None)
        if replica is not None:
            self.export.stop()
            await replica.close(CLOSE_SECONDS)
        logs.flush()


def _count_running(application: str, name: str) -> int:
    """The running replicas of a deployment, which the controller is asked for."""
    states = serve.status().applications[application].deployments[name].replica_states
    return sum(count for state, count in states.items() if state == "RUNNING")


deployment: serve.Deployment = serve.deployment(
    name="Model",
    # The engine limits its own queue and answers 503 beyond it, so Serve's limit must be the higher one.
    max_ongoing_requests=1024,
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=60,
    ray_actor_options={"num_cpus": 1},
)(Model)
