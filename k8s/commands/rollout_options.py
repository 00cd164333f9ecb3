"""The options of the commands that make or foresee a rollout."""

from pathlib import Path
from typing import Annotated

import typer

from k8s.commands.deploying import STRATEGIES

Chart = Annotated[
    Path | None,
    typer.Option("--chart", metavar="PATH", help="The chart. Default: the one installed with capstan."),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--values",
        "-f",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Values file; later ones win. Without any, the values set before still hold.",
    ),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One value, such as models.main.replicas=2."),
]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="IMAGE", help="A tag, repository:tag or repository@sha256:digest."),
]
Timeout = Annotated[
    str,
    typer.Option("--timeout", metavar="TIME", help="Deadline of the whole rollout, such as 90s, 20m or 1h."),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="beside|replace",
        autocompletion=lambda: list(STRATEGIES),
        help="For a new cluster: `beside` keeps the old one until the new one serves; `replace` deletes it "
        "first, and nothing serves meanwhile.",
    ),
]
NoRollback = Annotated[bool, typer.Option("--no-rollback", help="Leave a failed rollout as it is.")]
NoSmoke = Annotated[bool, typer.Option("--no-smoke-test", help="Do not caption the known image at the end.")]
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
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask. Nobody is asked without a terminal either.")
]
