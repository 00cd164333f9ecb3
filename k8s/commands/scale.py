"""`capstan scale` and `capstan restart`: deploys that change the values of one model."""

from typing import Annotated, Any

import typer

from k8s.clients.helm import Values, find_chart
from k8s.commands.deploy import deploy
from k8s.commands.options import Chart, Grace, Key, Timeout, Yes, rollout_options, shared
from k8s.commands.session import Session, installed_revisions
from k8s.errors import UsageError
from k8s.rollout.history import timestamp

# The chart serves this model on this pool where the values name none.
DEFAULT_MODEL, DEFAULT_POOL = "embedded", "cpu"

Bounds = tuple[int | None, int | None]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model: its key in `models`.")]
Pairs = tuple[tuple[str, Any], ...]


@shared
def scale(
    session: Session,
    model: Model,
    replicas: Annotated[
        int | None, typer.Argument(metavar="N", help="Fixed number of replicas.", min=1)
    ] = None,
    minimum: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Fewest replicas, with --max.", min=0)
    ] = None,
    maximum: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Most replicas, with --min.", min=1)
    ] = None,
    chart: Chart = None,
    timeout: Timeout = "20m",
    grace: Grace = "60s",
    *,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Change a model's number of replicas, or the bounds within which it is autoscaled."""
    options = rollout_options(timeout, grace, key=api_key)
    numbers = replica_values(model, replicas, (minimum, maximum))
    pairs = (*default_values(_installed_values(session), model), *numbers)
    deploy(session, find_chart(chart), Values(extra=pairs), options, ask=not yes)


@shared
def restart(
    session: Session,
    model: Model,
    chart: Chart = None,
    timeout: Timeout = "20m",
    grace: Grace = "60s",
    *,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Restart a model's replicas, one after another, on the cluster that serves."""
    options = rollout_options(timeout, grace, key=api_key)
    # An environment variable changes, so Serve replaces the replicas.
    pairs = (*default_values(_installed_values(session), model), _restart_value(model))
    deploy(session, find_chart(chart), Values(extra=pairs), options, ask=not yes)


def replica_values(model: str, replicas: int | None, bounds: Bounds) -> Pairs:
    """The values of a model for that number of replicas. Raises UsageError where the numbers contradict."""
    least, most = bounds
    at = f"models.{model}"
    if replicas is not None:
        if least is not None or most is not None:
            raise UsageError(f"give either a number of replicas ({replicas}) or --min and --max, not both")
        return ((f"{at}.replicas", replicas), (f"{at}.autoscaling", None))
    if least is None or most is None:
        raise UsageError("give a number of replicas, or both --min and --max")
    if most < max(least, 1):
        raise UsageError(f"--max {most} is below --min {least}; raise --max or lower --min")
    return (
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
