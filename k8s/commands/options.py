"""The options of the commands, and their parsing."""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from k8s.clients.kubeconfig import Location
from k8s.commands.session import Display, Session
from k8s.errors import UsageError
from k8s.rollout.rollout import RolloutOptions

SHARED = "Where and how"
STRATEGIES = ("alongside", "replace")
UNITS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(?:\d+[smh])+|\d+")


ReleaseName = Annotated[
    str,
    typer.Option(
        "--release",
        "-r",
        metavar="NAME",
        envvar="CAPSTAN_RELEASE",
        help="Name of the Helm release.",
        rich_help_panel=SHARED,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Namespace. Default: the context's.",
        rich_help_panel=SHARED,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="Context of the kubeconfig. Default: the current one.",
        rich_help_panel=SHARED,
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="Kubeconfig file. Default: KUBECONFIG, then ~/.kube/config.",
        rich_help_panel=SHARED,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write the result as JSON to standard output.", rich_help_panel=SHARED)
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show each helm command, without secrets.", rich_help_panel=SHARED),
]

Chart = Annotated[
    Path | None,
    typer.Option(
        "--chart", metavar="PATH", help="Path of the chart. Default: the one installed with capstan."
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--values",
        "-f",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Values file; repeat for more, later ones win. Without any, the former values stay.",
    ),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="One value, such as models.main.replicas=2; repeat for more."
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image", metavar="IMAGE", help="Image: a tag, repository:tag or repository@sha256:digest."
    ),
]
Timeout = Annotated[
    str,
    typer.Option("--timeout", metavar="TIME", help="Deadline, such as 90s, 20m or 1h."),
]
Grace = Annotated[
    str,
    typer.Option(
        "--scheduling-grace",
        metavar="TIME",
        help="How long a pod may wait for a node that fits before the rollout fails.",
    ),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="alongside|replace",
        autocompletion=lambda: list(STRATEGIES),
        help="For a new cluster: `alongside` keeps the old one until the new one serves; `replace` deletes "
        "it first, and nothing serves meanwhile.",
    ),
]
NoRollback = Annotated[bool, typer.Option("--no-rollback", help="Leave a failed rollout in place.")]
NoSmoke = Annotated[bool, typer.Option("--no-smoke-test", help="Skip the test caption at the end.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        envvar="CAPSTAN_API_KEY",
        help="API key for the smoke test.",
        show_envvar=True,
    ),
]
ServiceName = Annotated[
    str | None,
    typer.Option("--service", metavar="NAME", help="Name of the RayService. Default: the release's."),
]
Direct = Annotated[
    bool, typer.Option("--direct", help="Connect to pods without a port-forward: from inside the cluster.")
]
Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Before traffic goes to a new cluster, caption these images on the old and the new one.",
    ),
]
MaxChanged = Annotated[
    int,
    typer.Option(
        "--max-changed",
        metavar="PERCENT",
        min=0,
        max=100,
        help="With --compare: how many captions may differ.",
    ),
]
MaxFailed = Annotated[
    int, typer.Option("--max-failed", metavar="N", min=0, help="With --compare: how many captions may fail.")
]
MaxSlowdown = Annotated[
    float,
    typer.Option(
        "--max-slowdown",
        metavar="FACTOR",
        min=1.0,
        help="With --compare: how many times as long the median caption may take.",
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask for confirmation. Without a terminal capstan never asks."),
]

OPTIONS: dict[str, tuple[Any, Any]] = {
    "release": (ReleaseName, "capstan"),
    "namespace": (Namespace, None),
    "context": (Context, None),
    "kubeconfig": (Kubeconfig, None),
    "as_json": (AsJson, False),
    "verbose": (Verbose, False),
}


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options in place of its first parameter, a Session."""
    own = inspect.signature(command, eval_str=True)
    parameters = list(own.parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in OPTIONS.items()
    ]

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - whatever the command takes
        shared = {name: named.pop(name) for name in OPTIONS}
        location = Location(*(shared.pop(n) for n in ("release", "namespace", "context", "kubeconfig")))
        command(Session(location, Display(as_json=shared["as_json"]), shared["verbose"]), *arguments, **named)

    all_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters] + added
    run.__signature__ = inspect.Signature(all_parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in all_parameters}
    del run.__wrapped__
    return run


def rollout_options(
    timeout: str,
    grace: str,
    strategy: str = "alongside",
    *,
    rollback: bool = True,
    smoke: bool = True,
    key: str | None,
) -> RolloutOptions:
    """The options of a rollout. Raises UsageError for a malformed one."""
    return RolloutOptions(
        timeout_s=parse_duration(timeout, "--timeout"),
        rollback=rollback,
        replace=parse_strategy(strategy),
        smoke_test=smoke,
        key=key,
        scheduling_grace_s=parse_duration(grace, "--scheduling-grace"),
    )


def parse_strategy(strategy: str) -> bool:
    """Whether a strategy deletes the old cluster first. Raises UsageError for an unknown one."""
    if strategy not in STRATEGIES:
        raise UsageError(f"--strategy {strategy!r} is not one of {', '.join(STRATEGIES)}")
    return strategy == "replace"


def parse_duration(text: str, option: str) -> float:
    """The seconds of a duration such as `90`, `20m` or `1h30m`. Raises UsageError for anything else."""
    if not DURATION.fullmatch(text):
        raise UsageError(f"{option} {text!r} is not a duration; write 90s, 20m or 1h30m")
    parts = re.findall(r"(\d+)([smh])", text)
    found = float(text) if text.isdigit() else float(sum(int(n) * UNITS[unit] for n, unit in parts))
    if not found:
        raise UsageError(f"{option} {text!r} is zero; write 90s, 20m or 1h30m")
    return found
