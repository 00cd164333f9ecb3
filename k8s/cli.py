"""`capstan`: the command line. Each command parses its options and calls one function."""

import sys
from dataclasses import replace
from importlib.metadata import version
from typing import Annotated

import typer

from client.command import caption
from client.errors import ClientError
from k8s.clients.helm import Values, find_chart
from k8s.clients.process import redact
from k8s.commands import keys
from k8s.commands.deploy import deploy as run_deploy
from k8s.commands.deploy import plan as show_plan
from k8s.commands.doctor import doctor as run_doctor
from k8s.commands.history import history as show_history
from k8s.commands.history import rollback as run_rollback
from k8s.commands.logs import logs as show_logs
from k8s.commands.options import (
    Chart,
    Compare,
    Files,
    Grace,
    Image,
    Key,
    MaxChanged,
    MaxFailed,
    MaxSlowdown,
    NoRollback,
    NoSmoke,
    Pairs,
    Strategy,
    Timeout,
    Yes,
    parse_strategy,
    rollout_options,
    shared,
)
from k8s.commands.scale import restart, scale
from k8s.commands.session import Session
from k8s.commands.size import size
from k8s.commands.status import status as show_status
from k8s.commands.usage import usage
from k8s.commands.verify import align, verify
from k8s.errors import CapstanError, ExitCode
from k8s.planning.comparison import Limits
from k8s.rollout.compare import find_images

app = typer.Typer(
    name="capstan",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=(
        "Deploy Capstan on Kubernetes and watch each rollout to its end.\n\n"
        "Exit codes: 0 done, 1 failed, 2 there are changes (plan), 3 refused before anything changed, "
        "4 failed and rolled back, 5 failed and not rolled back, 6 cluster unreachable, "
        "7 helm or kubectl failed, 64 usage, 130 interrupted."
    ),
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"capstan {version('capstan-serve')}")
        raise typer.Exit


@app.callback()
def _capstan(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(short_help="Install or upgrade, and watch until every model serves.")
@shared
def deploy(
    session: Session,
    chart: Chart = None,
    values: Files = None,
    pairs: Pairs = None,
    image: Image = None,
    timeout: Timeout = "20m",
    grace: Grace = "60s",
    strategy: Strategy = "alongside",
    *,
    compare: Compare = None,
    max_changed: MaxChanged = 10,
    max_failed: MaxFailed = 0,
    max_slowdown: MaxSlowdown = 1.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    no_rollback: NoRollback = False,
    no_smoke_test: NoSmoke = False,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Install or upgrade, watch until every model serves, and roll back on failure."""
    given = Values(tuple(values or ()), tuple(pairs or ()), image)
    if dry_run:
        show_plan(session, find_chart(chart), given, replace=parse_strategy(strategy))
        return
    options = rollout_options(
        timeout, grace, strategy, rollback=not no_rollback, smoke=not no_smoke_test, key=api_key
    )
    if compare is not None:
        limits = Limits(max_changed, max_failed, max_slowdown)
        options = replace(options, images=tuple(find_images(compare)), limits=limits)
    run_deploy(session, find_chart(chart), given, options, ask=not yes)


@app.command(short_help="Show what deploy would do.")
@shared
def plan(
    session: Session,
    chart: Chart = None,
    values: Files = None,
    pairs: Pairs = None,
    image: Image = None,
    strategy: Strategy = "alongside",
) -> None:
    """Show what deploy would do. Exit code 0: nothing, 2: there are changes, 3: it would be refused."""
    given = Values(tuple(values or ()), tuple(pairs or ()), image)
    if show_plan(session, find_chart(chart), given, replace=parse_strategy(strategy)):
        raise typer.Exit(ExitCode.CHANGES)


@app.command(short_help="Show models, replicas, traffic, pods, GPUs and events.")
@shared
def status(
    session: Session,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat every 2 s until Ctrl-C.")] = False,
) -> None:
    """Show models, replicas, requests per second, pods, GPUs, versions and the last events.

    Exit code 1: not everything serves.
    """
    if not show_status(session, repeat=watch):
        raise typer.Exit(ExitCode.FAILED)


app.command(short_help="Change a model's number of replicas.")(scale)
app.command(short_help="Restart a model's replicas, one after another.")(restart)


@app.command(short_help="Return to a former revision.")
@shared
def rollback(
    session: Session,
    revision: Annotated[
        int | None,
        typer.Argument(metavar="REVISION", help="Revision. Default: the last that served.", min=1),
    ] = None,
    timeout: Timeout = "20m",
    grace: Grace = "60s",
    strategy: Strategy = "alongside",
    *,
    no_smoke_test: NoSmoke = False,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Return to a former revision, and watch until every model serves."""
    options = rollout_options(timeout, grace, strategy, rollback=False, smoke=not no_smoke_test, key=api_key)
    run_rollback(session, revision, options, ask=not yes)


@app.command(short_help="List the revisions: who, when, what, and how it ended.")
@shared
def history(session: Session) -> None:
    """List the revisions: who, when, what changed, which image, and how it ended."""
    show_history(session)


@app.command(short_help="Show the logs of all replicas.")
@shared
def logs(
    session: Session,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model's replicas.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", help="Last lines of each replica.", min=1, max=10_000)
    ] = 50,
) -> None:
    """Show the logs of all replicas, each line prefixed with its model and pod."""
    show_logs(session, model, follow=follow, lines=lines)


@app.command(short_help="Check what a deploy needs, and how to fix it.")
@shared
def doctor(
    session: Session, chart: Chart = None, values: Files = None, pairs: Pairs = None, image: Image = None
) -> None:
    """Check what a deploy needs; a line that is not ok names the fix. Exit code 1: something is missing."""
    given = Values(tuple(values or ()), tuple(pairs or ()), image)
    if not run_doctor(session, chart, given):
        raise typer.Exit(ExitCode.FAILED)


app.command(short_help="Wait until the release serves, and test it.")(verify)
app.command(short_help="Bring the running cluster's pools to the release.")(align)
app.command(short_help="Sum what each key has used, and its cost.")(usage)
app.command(short_help="Estimate the GPUs for a rate of captions.")(size)
app.command(short_help="Caption images, directories and buckets.")(caption)
app.add_typer(keys.app)


def main() -> None:
    """Run `capstan` and exit with its code."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except (CapstanError, ClientError) as error:
        _say(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        _say(f"{error.format_message()} ({context.command_path if context else 'capstan'} --help)")
        code = ExitCode.USAGE
    sys.exit(int(code or 0))


def _say(sentence: str) -> None:
    sys.stderr.write(f"capstan: {redact(sentence)}\n")


if __name__ == "__main__":
    main()
