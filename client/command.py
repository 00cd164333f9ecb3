"""`capstan caption`: parses its options and starts a run."""

import os
from pathlib import Path
from typing import Annotated

import typer

from client.asking import Asking
from client.errors import ClientError, UsageError
from client.job import Job
from client.outputs.output import Format


def caption(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Images: a file, a directory, a glob, a URL, or s3:// or gs:// and a bucket.",
        ),
    ],
    *,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="CAPSTAN_SERVER",
            show_envvar=True,
            help="Address of a server. Without one, the embedded model is served for the run.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CAPSTAN_API_KEY_FILE",
            exists=True,
            dir_okay=False,
            help="File with the API key. Default: the variable CAPSTAN_API_KEY.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .jsonl, .csv or .parquet file, or a directory for .txt files. Default: standard output.",
        ),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Form of the output. Default: by the name of --output.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="Default: the server's.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most tokens of a caption. Default: the server's.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0.0, max=2.0, help="Default: the server's.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", metavar="N", min=1, max=4096, help="Images in progress.")
    ] = 16,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Longest wait for one answer.")
    ] = 300.0,
    retry: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="How long an image is tried again.")
    ] = 600.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Caption an image, a directory of a million, or a bucket.

    With --output, a run that was interrupted or killed goes on when the same command runs again; images that
    failed are then tried again. Exit code 1: some images have no caption, and their records say why.
    """
    named = {"prompt": prompt, "max_tokens": max_tokens, "temperature": temperature}
    fields = {name: str(value) for name, value in named.items() if value is not None}
    job = Job(tuple(sources), server, _key(api_key_file), output, form, concurrency, quiet=quiet)
    try:
        totals = job.run(Asking(fields, timeout, retry))
    except KeyboardInterrupt:
        if output is not None:
            typer.echo(f"capstan: stopped; the same command goes on from {output}", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        raise ClientError(f"{error.filename or 'output'}: {error.strerror or error}") from None
    if totals.failed:
        raise typer.Exit(1)


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("CAPSTAN_API_KEY") or None
    key = file.read_text().strip()
    if not key or not key.isprintable() or " " in key:
        raise UsageError(f"--api-key-file {file} has no key; write the key alone into it")
    return key
