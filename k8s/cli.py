"""`capstan`: the commands. Each parses its options and calls the one function that does the work."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from k8s.commands import deploying, diagnosing, keys_cli, looking, reading
from k8s.commands.duration import seconds
from k8s.commands.options import shared
from k8s.commands.rollout_options import (
    Chart,
    Files,
    Image,
    Key,
    NoRollback,
    NoSmoke,
    Pairs,
    Strategy,
    Timeout,
    Yes,
)
from k8s.commands.session import Session
from k8s.doors.process import redact
from k8s.doors.release import Values, find_chart
from k8s.errors import CapstanError, ExitCode
from k8s.rollout.rollout import Wishes

app = typer.Typer(
    name="capstan",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=(
        "Deploy Capstan on Kubernetes and see each rollout to its end.\n\n"
        "Exit codes: 0 done, 1 failed, 2 there are changes (plan), 3 refused before anything changed, "
        "4 failed and rolled back, 5 failed and not rolled back, 6 cluster not reachable, "
        "7 helm or kubectl failed, 64 usage, 130 interrupted."
    ),
)

app.add_typer(keys_cli.app)


def _version(wanted: bool) -> None:
    if wanted:
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


def wishes(timeout: str, strategy: str, *, rollback: bool, smoke: bool, key: str | None) -> Wishes:
    """The wishes of a command line. Raises UsageError for a malformed one."""
    return Wishes(seconds(timeout), rollback, deploying.replaces(strategy), smoke, key)


@app.command(short_help="Install or upgrade, and watch until every model serves.")
@shared
def deploy(
    session: Session,
    chart: Chart = None,
    values: Files = None,
    pairs: Pairs = None,
    image: Image = None,
    timeout: Timeout = "20m",
    strategy: Strategy = "beside",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    no_rollback: NoRollback = False,
    no_smoke_test: NoSmoke = False,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Install or upgrade, watch until every model serves, and roll back what failed."""
    said = Values(tuple(values or ()), tuple(pairs or ()), image)
    if dry_run:
        deploying.show_plan(session, find_chart(chart), said)
        return
    wanted = wishes(timeout, strategy, rollback=not no_rollback, smoke=not no_smoke_test, key=api_key)
    deploying.deploy(session, find_chart(chart), said, wanted, ask=not yes)


@app.command(short_help="Say what deploy would do.")
@shared
def plan(
    session: Session, chart: Chart = None, values: Files = None, pairs: Pairs = None, image: Image = None
) -> None:
    """Say what deploy would do. Exit code 0: nothing, 2: there are changes, 3: it would be refused."""
    said = Values(tuple(values or ()), tuple(pairs or ()), image)
    if deploying.show_plan(session, find_chart(chart), said):
        raise typer.Exit(ExitCode.CHANGES)


@app.command(short_help="Show models, replicas, traffic, pods, GPUs and events.")
@shared
def status(
    session: Session,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every 2 s, until Ctrl-C.")] = False,
) -> None:
    """Show models, replicas, requests a second, pods, GPUs, versions and the last events.

    Exit code 1: not everything serves.
    """
    if not looking.status(session, again=watch):
        raise typer.Exit(ExitCode.FAILED)


@app.command(short_help="Change a model's number of replicas.")
@shared
def scale(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model: its key in `models`.")],
    replicas: Annotated[int | None, typer.Argument(metavar="N", help="Replicas, fixed.", min=1)] = None,
    fewest: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Fewest replicas, with --max.", min=0)
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Most replicas, with --min.", min=1)
    ] = None,
    chart: Chart = None,
    timeout: Timeout = "20m",
    *,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Change a model's number of replicas: fixed (`scale main 3`), or bounds (`--min 1 --max 4`)."""
    wanted = wishes(timeout, "beside", rollback=True, smoke=True, key=api_key)
    deploying.scale(session, find_chart(chart), model, replicas, (fewest, most), wanted, ask=not yes)


@app.command(short_help="Restart a model's replicas, one after another.")
@shared
def restart(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model: its key in `models`.")],
    chart: Chart = None,
    timeout: Timeout = "20m",
    *,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Restart the replicas of a model, one after another, on the cluster that serves."""
    wanted = wishes(timeout, "beside", rollback=True, smoke=True, key=api_key)
    deploying.restart(session, find_chart(chart), model, wanted, ask=not yes)


@app.command(short_help="Go back to a former revision.")
@shared
def rollback(
    session: Session,
    revision: Annotated[
        int | None,
        typer.Argument(metavar="REVISION", help="Revision. Without it: the last that served.", min=1),
    ] = None,
    timeout: Timeout = "20m",
    strategy: Strategy = "beside",
    *,
    no_smoke_test: NoSmoke = False,
    api_key: Key = None,
    yes: Yes = False,
) -> None:
    """Go back to a former revision, and watch that to its end."""
    wanted = wishes(timeout, strategy, rollback=False, smoke=not no_smoke_test, key=api_key)
    deploying.rollback(session, revision, wanted, ask=not yes)


@app.command(short_help="List the revisions: who, when, what, and how it ended.")
@shared
def history(session: Session) -> None:
    """List the revisions: who, when, what changed, which image, and how it ended."""
    looking.history(session)


@app.command(short_help="Show the logs of all replicas.")
@shared
def logs(
    session: Session,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model's replicas.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", help="Last lines of each replica.", min=1, max=10_000)
    ] = 50,
) -> None:
    """Show the logs of all replicas, each line prefixed with its model and pod."""
    reading.logs(session, model, follow=follow, lines=lines)


@app.command(short_help="Check what a deploy needs, and say what to do.")
@shared
def doctor(
    session: Session, chart: Chart = None, values: Files = None, pairs: Pairs = None, image: Image = None
) -> None:
    """Check what a deploy needs; a line that is not ok says what to do. Exit code 1: something is missing."""
    said = Values(tuple(values or ()), tuple(pairs or ()), image)
    if not diagnosing.doctor(session, chart, said):
        raise typer.Exit(ExitCode.FAILED)


def main() -> None:
    """Run `capstan` and exit with its code."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except CapstanError as error:
        _say(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        _say(f"{error.format_message()} ({where.command_path if where else 'capstan'} --help)")
        code = ExitCode.USAGE
    sys.exit(int(code or 0))


def _say(sentence: str) -> None:
    sys.stderr.write(f"capstan: {redact(sentence)}\n")


if __name__ == "__main__":
    main()
