"""Loading a checkpoint onto several GPUs: the replica keeps the outline, each rank a part of the weights."""

import logging
from dataclasses import dataclass

import torch

from service.engine.checkpoint.dtype import RequestedDtype, choose
from service.engine.checkpoint.load import outline
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.checkpoint.progress import size
from service.engine.checkpoint.source import locate
from service.engine.parallel.division import refuse_indivisible, refuse_missing
from service.engine.parallel.group import RankGroup
from service.engine.parallel.messages import Setup

logger = logging.getLogger("capstan.checkpoint")

# For the largest checkpoints from the slowest of network disks.
START_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ParallelModel(LoadedModel):
    """A model whose weights are on the ranks of `group`; `model` itself is an outline without numbers."""

    group: RankGroup


def load_parallel(
    name: str,
    *,
    gpus: int,
    given: int,
    revision: str | None = None,
    dtype: RequestedDtype = "auto",
    device: torch.device | None = None,
    max_tiles: int | None = None,
    attention: str = "sdpa",
    start_seconds: float = START_SECONDS,
) -> ParallelModel:
    """Load a checkpoint onto `gpus` of the `given` GPUs, or into as many processes where `device` is the CPU.

    See `load` for the rest. Raises DeviceError, before any weight is read, where there are too few GPUs or
    the model cannot be divided among them; else what `load` raises.
    """
    device = device or torch.device("cpu")
    refuse_missing(gpus, given, device)
    precision = choose(dtype, device)
    directory = locate(name, revision)
    loaded = outline(name, directory, revision=revision, dtype=precision, device=device, max_tiles=max_tiles)
    refuse_indivisible(loaded.model.config, gpus)
    setup = Setup(
        rank=0,
        size=gpus,
        port=0,
        directory=str(directory),
        dtype=dtype,
        device=device,
        max_tiles=max_tiles,
        attention=attention,
        threads=max(1, torch.get_num_threads() // gpus),
        log_level=logger.getEffectiveLevel(),
    )
    group = RankGroup(setup, start_seconds=start_seconds)
    logger.info("%d ranks share %s, the fullest with %s", gpus, name, size(max(group.held_bytes.values())))
    return ParallelModel(
        **{field: getattr(loaded, field) for field in LoadedModel.__dataclass_fields__}, group=group
    )
