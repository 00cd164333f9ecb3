"""The program of one rank: loads its part of a model and computes what the replica sends.

An entry point of its own: `RankProcess` starts it, and it hands transformers and torch the environment that
they read.
"""

import logging
import os
import sys
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.tensor import DTensor

from service.engine.checkpoint.load import load
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.parallel.channel import Channel
from service.engine.parallel.lockstep import Lockstep, Replica
from service.engine.parallel.messages import Batch, Failed, Finished, FromRank, Ready, Setup, ToRank
from service.errors import StartupError

logger = logging.getLogger("capstan.engine")

FORMAT = "%(asctime)s %(levelname)s %(name)s: rank {rank}: %(message)s"
SETUP_SECONDS = 60.0
IDLE_SECONDS = 3600.0
# Loading may keep one rank from the others for long; later, an engine's stall limit comes first.
MEET_SECONDS = 1800.0


def main(descriptor: int) -> None:
    """Serve the replica at the other end of a socket until it lets go."""
    replica: Replica = Channel(descriptor)
    setup = replica.receive(SETUP_SECONDS)
    if not isinstance(setup, Setup):
        raise TypeError(f"{type(setup).__name__} came where Setup was due")
    _log(setup)
    try:
        _meet(setup)
        loaded = _load(setup)
    except Exception as error:
        logger.exception("the model could not be loaded")
        replica.send(Failed(_words(error), refusal=error if isinstance(error, StartupError) else None))
        sys.exit(1)
    replica.send(Ready(_held_bytes(loaded)))
    serve(loaded, replica, setup.rank)


def serve(loaded: LoadedModel, replica: Channel[ToRank, FromRank], rank: int) -> None:
    """Compute batches until the replica closes its end."""
    while True:
        try:
            batch = replica.receive(IDLE_SECONDS)
        except TimeoutError:
            continue
        except EOFError:
            return
        if not isinstance(batch, Batch):
            raise TypeError(f"{type(batch).__name__} came where Batch was due")
        replica.send(_outcome(Lockstep(loaded, batch, replica, rank)))
        if loaded.device.type == "cuda":
            # A GPU that has failed for good raises here, which ends the rank.
            torch.cuda.synchronize(loaded.device)


def _outcome(lockstep: Lockstep) -> Finished | Failed:
    try:
        with torch.inference_mode():
            lockstep.generate()
    except Exception as error:
        logger.exception("a batch of %d requests failed", len(lockstep.batch.rows))
        return Failed(_words(error), tokens=lockstep.tokens)
    return Finished()


def _log(setup: Setup) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT.format(rank=setup.rank)))
    root = logging.getLogger("capstan")
    root.addHandler(handler)
    # What loading tells is the same on every rank.
    root.setLevel(setup.log_level if setup.rank == 0 else max(setup.log_level, logging.WARNING))


def _meet(setup: Setup) -> None:
    """Join the other ranks: over NCCL on GPUs, over gloo on the CPU."""
    numbers = {"RANK": setup.rank, "LOCAL_RANK": setup.rank, "WORLD_SIZE": setup.size}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    # All ranks are on one machine.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if setup.device.type == "cpu":
        torch.set_num_threads(setup.threads)
    else:
        torch.cuda.set_device(setup.rank)
    timeout = timedelta(seconds=MEET_SECONDS)
    store = TCPStore("127.0.0.1", setup.port, setup.size, is_master=False, timeout=timeout)
    cuda = setup.device.type == "cuda"
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=setup.rank,
        world_size=setup.size,
        timeout=timeout,
        device_id=torch.device("cuda", setup.rank) if cuda else None,
    )


def _load(setup: Setup) -> LoadedModel:
    cuda = setup.device.type == "cuda"
    return load(
        setup.directory,
        dtype=setup.dtype,
        device=torch.device("cuda", setup.rank) if cuda else torch.device("cpu"),
        max_tiles=setup.max_tiles,
        attention=setup.attention,
        shards=setup.size,
    )


def _held_bytes(loaded: LoadedModel) -> int:
    parameters: Iterable[torch.Tensor] = loaded.model.parameters()
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in parameters]
    return sum(part.numel() * part.element_size() for part in parts)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
