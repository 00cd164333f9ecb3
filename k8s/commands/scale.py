"""`capstan scale` and `capstan restart`: deploys that change the values of one model."""

from pathlib import Path
from typing import Any

from k8s.clients.helm import Values
from k8s.commands.deploy import deploy
from k8s.commands.session import Session, installed_revisions
from k8s.errors import UsageError
from k8s.rollout.history import timestamp
from k8s.rollout.rollout import RolloutOptions

# The chart serves this model on this pool where the values name none.
DEFAULT_MODEL, DEFAULT_POOL = "embedded", "cpu"

Bounds = tuple[int | None, int | None]
Pairs = tuple[tuple[str, Any], ...]


def scale(
    session: Session,
    chart: Path,
    model: str,
    replicas: int | None,
    bounds: Bounds,
    options: RolloutOptions,
    *,
    ask: bool,
) -> None:
    """Change a model's number of replicas."""
    pairs = scale_values(_installed_values(session), model, replicas, bounds)
    deploy(session, chart, Values(extra=pairs), options, ask=ask)


def restart(session: Session, chart: Path, model: str, options: RolloutOptions, *, ask: bool) -> None:
    """Restart a model's replicas: an environment variable changes, and Serve replaces them."""
    pairs = (*default_values(_installed_values(session), model), _restart_value(model))
    deploy(session, chart, Values(extra=pairs), options, ask=ask)


def scale_values(values: dict[str, Any], model: str, replicas: int | None, bounds: Bounds) -> Pairs:
    """The chart values for that number of replicas. Raises UsageError where the numbers contradict."""
    first = default_values(values, model)
    least, most = bounds
    at = f"models.{model}"
    if replicas is not None:
        if least is not None or most is not None:
            raise UsageError(f"give either a number of replicas ({replicas}) or --min and --max, not both")
        return (*first, (f"{at}.replicas", replicas), (f"{at}.autoscaling", None))
    if least is None or most is None:
        raise UsageError("give a number of replicas, or both --min and --max")
    if most < max(least, 1):
        raise UsageError(f"--max {most} is below --min {least}; raise --max or lower --min")
    return (
        *first,
        (f"{at}.replicas", None),
        (f"{at}.autoscaling.minReplicas", least),
        (f"{at}.autoscaling.maxReplicas", most),
    )


def default_values(values: dict[str, Any], model: str) -> Pairs:
    """The values that spell out the chart's default model, so that `models.MODEL` can be changed.

    Raises UsageError where the release does not serve the model.
    """
    models = values.get("models") or {}
    if model in models:
        return ()
    if not models and model == DEFAULT_MODEL:
        pool: Pairs = ()
        if not values.get("nodePools"):
            pool = ((f"nodePools.{DEFAULT_POOL}.gpusPerNode", 0),)
        return (*pool, (f"models.{model}.gpusPerReplica", 0))
    known = ", ".join(models) or DEFAULT_MODEL
    raise UsageError(f"the release does not serve model {model!r}; it serves {known}")


def _restart_value(model: str) -> tuple[str, str]:
    return f"models.{model}.env.RESTARTED_AT", timestamp()


def _installed_values(session: Session) -> dict[str, Any]:
    client = session.client()
    release = session.release(client)
    installed_revisions(client, release)
    return release.values()
