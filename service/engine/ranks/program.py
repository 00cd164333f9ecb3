"""The program of one rank: loads its part of a model and computes what the replica sends.

An entry point of its own: `RankProcess` starts it, and it hands transformers and torch the environment that
they read.
"""

import functools
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.tensor import DTensor

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.checkpoint.plan import Plan
from service.checkpoint.quantization import weights_of
from service.device import name_of, pick
from service.engine.choose import choose, executor
from service.engine.executor import Leader, LeadingExecutor, Peer, follow
from service.engine.ranks.channel import Channel
from service.engine.ranks.messages import Failed, FromRank, LogLine, Ready, Setup, ToRank
from service.engine.runner.tensor_parallel import refuse_indivisible
from service.engine.step_loop import StepLoop
from service.engine_options import EngineOptions
from service.errors import StartupError
from service.prompt.grammar import Grammars
from service.protocol.stats import EngineDescription

logger = logging.getLogger("capstan.engine")

SETUP_SECONDS = 60.0
# Loading may keep one rank from the others for long; later, an engine's stall limit comes first.
MEET_SECONDS = 1800.0

Replica = Channel[ToRank, FromRank]


def main(descriptor: int, peers: Sequence[int], listener: int) -> None:
    """Serve the replica at the other end of a socket until it closes its end.

    `listener` is the socket of the store where ranks meet, on rank 0 of several.
    """
    replica: Replica = Channel(socket.socket(fileno=descriptor))
    setup, _ = replica.receive(SETUP_SECONDS)
    if not isinstance(setup, Setup):
        raise TypeError(f"{type(setup).__name__} came where Setup was due")
    logging.getLogger("capstan").addHandler(ReplicaLog(replica))
    # What loading reports is the same on every rank.
    level = setup.log_level if setup.rank == 0 else max(setup.log_level, logging.WARNING)
    logging.getLogger("capstan").setLevel(level)
    torch.set_num_threads(max(1, (setup.threads or torch.get_num_threads()) // setup.size))
    try:
        loaded = _load(setup, replica, listener)
        others = [Channel[Any, Any](socket.socket(fileno=peer)) for peer in peers]
        if setup.rank == 0:
            run = prepare(loaded, setup.options, replica, others).run
        else:
            run = _follower(loaded, setup.options, replica, others[0])
    except Exception as error:
        if not isinstance(error, StartupError):
            logger.exception("the model could not be loaded")
        refusal = error if isinstance(error, StartupError) else None
        replica.send(Failed(f"{type(error).__name__}: {error}", refusal))
        sys.exit(1)
    run()


def prepare(
    loaded: LoadedModel, options: EngineOptions, replica: Replica, peers: Sequence[Peer] = ()
) -> StepLoop:
    """Plan the memory of rank 0, and say that requests can come. Raises StartupError."""
    batcher, features = choose(loaded, options, peers)
    description = _description(
        loaded, batcher.name, batcher.slots, batcher.context_length, batcher.cache_bytes
    )
    replica.send(
        Ready(description, batcher.context_length, _held_bytes(loaded), features.pages, features.page_bytes)
    )
    own = getattr(batcher, "executor", None)
    leading = own if isinstance(own, LeadingExecutor) else None
    return StepLoop(
        batcher,
        replica,
        device=loaded.device,
        image_token=_image_token(loaded),
        grammars=Grammars(loaded.tokenizer, loaded.stop_ids),
        leading=leading,
    )


def _follower(
    loaded: LoadedModel, options: EngineOptions, replica: Replica, leader: Leader
) -> Callable[[], None]:
    """Plan the memory of another rank; returns what computes the steps that rank 0 plans."""
    local, _, context_length = executor(loaded, options)
    description = _description(loaded, local.runner.name, options.slots, context_length, 0)
    replica.send(Ready(description, context_length, _held_bytes(loaded)))
    return functools.partial(follow, local, leader, _image_token(loaded))


def _image_token(loaded: LoadedModel) -> int | None:
    return getattr(loaded.model.config, "image_token_id", None)


def _description(
    loaded: LoadedModel, runner: str, slots: int, context_length: int, cache_bytes: int
) -> EngineDescription:
    return EngineDescription(
        runner=runner,
        slots=slots,
        context_length=context_length,
        cache_bytes=cache_bytes,
        dtype=name_of(loaded.dtype),
        device=str(loaded.device),
        startup_seconds=dict(loaded.seconds),
        tiling=loaded.inputs.tiling,
        chat_format=loaded.inputs.chat_format,
    )


class ReplicaLog(logging.Handler):
    """Sends log records to the replica, whose log they join."""

    def __init__(self, replica: Replica) -> None:
        super().__init__()
        self._replica = replica

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; what cannot be pickled of it becomes text."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        record.msg, record.args, record.exc_info = message, None, None
        try:
            self._replica.send(LogLine(record))
        except OSError:
            sys.stderr.write(message + "\n")


def _meet(setup: Setup, device: torch.device, listener: int) -> None:
    """Join the other ranks: over NCCL on GPUs, over gloo on the CPU."""
    cuda = device.type == "cuda"
    # Each rank sees its own GPU alone, so that is always the first.
    numbers = {"RANK": setup.rank, "LOCAL_RANK": 0 if cuda else setup.rank, "WORLD_SIZE": setup.size}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    # All ranks are on one machine.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    timeout = timedelta(seconds=MEET_SECONDS)
    store = TCPStore(
        "127.0.0.1",
        setup.port,
        setup.size,
        is_master=setup.rank == 0,
        timeout=timeout,
        wait_for_workers=False,
        master_listen_fd=listener if setup.rank == 0 else None,
    )
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=setup.rank,
        world_size=setup.size,
        timeout=timeout,
        device_id=device if cuda else None,
    )


def _load(setup: Setup, replica: Replica, listener: int) -> LoadedModel:
    device = pick(setup.device, setup.gpus)

    def planned(plan: Plan) -> None:
        if setup.size > 1:
            refuse_indivisible(plan.config, setup.size)
        if setup.rank == 0:
            replica.send(plan.outline())
        if setup.size > 1:
            _meet(setup, device, listener)

    return load(
        setup.directory,
        dtype=setup.dtype,
        device=device,
        max_tiles=setup.max_tiles,
        shards=setup.size,
        adapter=None if setup.adapter is None else Path(setup.adapter),
        quantization=setup.quantization,
        planned=planned,
    )


def _held_bytes(loaded: LoadedModel) -> int:
    weights = weights_of(loaded.model)
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in weights]
    return sum(part.numel() * part.element_size() for part in parts)
