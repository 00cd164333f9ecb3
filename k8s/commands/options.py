"""The options that every command has, declared once."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from k8s.commands.display import Display
from k8s.commands.session import Session
from k8s.doors.place import Place

SHARED = "Where and how"

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
        help="Namespace. Without it: the context's.",
        rich_help_panel=SHARED,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="Context of the kubeconfig. Without it: the current one.",
        rich_help_panel=SHARED,
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="Kubeconfig file. Without it: KUBECONFIG, then ~/.kube/config.",
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

OPTIONS: dict[str, tuple[Any, Any]] = {
    "release": (ReleaseName, "capstan"),
    "namespace": (Namespace, None),
    "context": (Context, None),
    "kubeconfig": (Kubeconfig, None),
    "as_json": (AsJson, False),
    "verbose": (Verbose, False),
}


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes a Session first, as one that takes the shared options instead."""
    own = inspect.signature(command, eval_str=True)
    parameters = list(own.parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in OPTIONS.items()
    ]

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - whatever the command takes
        said = {name: named.pop(name) for name in OPTIONS}
        place = Place(said["release"], said["namespace"], said["context"], said["kubeconfig"])
        command(Session(place, Display(as_json=said["as_json"]), said["verbose"]), *arguments, **named)

    all_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters] + added
    run.__signature__ = inspect.Signature(all_parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in all_parameters}
    del run.__wrapped__
    return run
