"""`capstan size`: GPUs, replicas and the values file for a rate of captions. Needs no cluster."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from k8s.commands.session import Display
from k8s.errors import RefusedError, UsageError
from k8s.planning import sizing
from k8s.planning.sizing import GPUS, ModelShape, Sizing, Workload
from k8s.resources.quantity import plural


def size(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Directory of a checkpoint, or its config.json.", exists=True),
    ],
    *,
    gpu: Annotated[
        str,
        typer.Option("--gpu", metavar="|".join(GPUS), autocompletion=lambda: list(GPUS), help="Kind of GPU."),
    ],
    images_per_second: Annotated[
        float, typer.Option("--images-per-second", metavar="N", min=0.001, help="Captions a second.")
    ],
    tiles: Annotated[
        int,
        typer.Option("--tiles", metavar="N", min=1, max=128, help="Tiles of an image, with its thumbnail."),
    ] = 13,
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", min=1, max=1_000_000, help="Tokens of a caption.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
) -> None:
    """Estimate the GPUs for a rate of captions, and write a values file.

    The estimate is a roofline: what the card's data sheet allows, times the shares that docs/sizing.md names.
    Measure before you buy. Exit code 3: not even eight GPUs hold the model.
    """
    if gpu not in GPUS:
        raise UsageError(f"--gpu {gpu!r} is not one of {', '.join(GPUS)}")
    shape, work = _read_shape(model), Workload(images_per_second, tiles, tokens)
    found = sizing.size(shape, GPUS[gpu], work)
    if found is None:
        raise RefusedError(
            f"eight GPUs of kind {gpu} do not hold {shape.weight_bytes / 2**30:.1f} GiB of weights and the "
            f"cache of {sizing.LEAST_BATCH} captions; choose a larger GPU, or fewer tiles"
        )
    values = size_values(found)
    value = {
        "gpusPerReplica": found.gpus_per_replica,
        "replicas": found.replicas,
        "captionsPerSecond": round(found.captions_per_second * found.replicas, 2),
        "gpuHoursAMonth": found.gpu_hours_a_month,
        "cachePages": found.pages,
        "values": values,
    }
    Display(as_json=as_json).result(
        value, [*size_lines(shape, gpu, found), yaml.safe_dump(values, sort_keys=False).rstrip()]
    )


def size_lines(shape: ModelShape, gpu: str, found: Sizing) -> list[str]:
    """A sizing as comments above the values."""
    rate, gpus = found.captions_per_second, plural(found.gpus_per_replica, "GPU")
    replicas, weights = plural(found.replicas, "replica"), f"{shape.weight_bytes / 2**30:.1f} GiB"
    pages = f"{found.pages} pages of {sizing.PAGE_TOKENS} tokens, {found.pages_per_caption} for each caption"
    total = f"{rate:.2f} captions/s for each replica, {rate * found.replicas:.2f} in total"
    return [
        f"# {replicas} with {gpus} of kind {gpu} each; {found.gpu_hours_a_month} GPU hours a month",
        f"# weights: {weights}; cache: {pages}, {found.batch} captions at a time",
        f"# expected: {total} (roofline; planned for {sizing.PLANNED_LOAD:.0%} of it)",
    ]


def size_values(found: Sizing) -> dict[str, Any]:
    """The chart values of a sizing; the source of the model is left to fill in."""
    model = {
        "source": "NAME OR PATH",
        "nodePool": "gpu",
        "gpusPerReplica": found.gpus_per_replica,
        "replicas": found.replicas,
        "settings": {"max_concurrent_sequences": found.batch},
    }
    return {"models": {"main": model}, "nodePools": {"gpu": {"gpusPerNode": found.gpus_per_replica}}}


def _read_shape(path: Path) -> ModelShape:
    file = path / "config.json" if path.is_dir() else path
    try:
        return ModelShape.from_config(json.loads(file.read_text()))
    except (OSError, UnicodeDecodeError, ValueError):
        raise UsageError(
            f"{file} is not a readable JSON file; download a checkpoint's config.json and name it"
        ) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} does not describe a vision tower and a language model with attention ({error}); "
            "other families must be measured"
        ) from None
