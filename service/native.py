"""The native engine of a replica: the checkpoint on its devices, as the settings say.

A module of its own, because importing torch and transformers takes seconds and memory that a replica in front
of another server does without.
"""

import logging

import torch

from service.engine import device
from service.engine.checkpoint import dtype
from service.engine.checkpoint.load import outline
from service.engine.checkpoint.progress import timed
from service.engine.checkpoint.source import locate
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.ranks.division import refuse_indivisible, refuse_missing
from service.engine.ranks.group import RankGroup
from service.engine.ranks.messages import Setup
from service.errors import DeviceError
from service.media.decode import ImageDecoder
from service.settings import Settings


def native_engine(settings: Settings, gpus: int, decoder: ImageDecoder) -> Engine:
    """Start the processes of the model; `gpus` is the number that Ray assigned to this replica.

    Raises StartupError if the model cannot be divided as the settings say, or has no valid configuration.
    """
    options = EngineOptions(
        slots=settings.max_concurrent_sequences,
        max_waiting=settings.max_waiting,
        queue_seconds=settings.max_queue_seconds,
        preparation_threads=settings.preparation_thread_count,
        memory_fraction=settings.memory_fraction,
        cache_bytes=settings.cache_bytes,
        feature_cache_images=settings.feature_cache_images,
        chunk_tokens=settings.prefill_chunk_tokens,
        cuda_graphs=settings.cuda_graphs,
        runner=settings.runner,
    )
    size, chosen = settings.gpus_per_replica, device.pick(settings.device, gpus)
    if size > 1:
        refuse_missing(size, gpus, chosen)
        if settings.runner == "generate":
            raise DeviceError(
                f"CAPSTAN_RUNNER=generate needs CAPSTAN_GPUS_PER_REPLICA to be 1, not {size}; set one of them"
            )
    seconds: dict[str, float] = {}
    with timed(seconds, "download"):
        directory = locate(settings.checkpoint, settings.model_revision)
        adapter = None
        if settings.adapter is not None:
            adapter = str(locate(settings.adapter, settings.adapter_revision, what="adapter"))
    setup = Setup(
        rank=0,
        size=size,
        port=0,
        directory=str(directory),
        dtype=settings.dtype,
        device=chosen,
        max_tiles=settings.max_tiles,
        threads=max(1, (settings.torch_threads or torch.get_num_threads()) // size),
        log_level=logging.getLogger("capstan").getEffectiveLevel(),
        options=options,
        adapter=adapter,
    )
    # All threads are for the model: what this process computes with torch is next to nothing.
    torch.set_num_threads(1)
    ranks = RankGroup(setup)
    try:
        loaded = outline(
            settings.checkpoint,
            directory,
            revision=settings.model_revision,
            dtype=dtype.choose(settings.dtype, chosen),
            device=chosen,
            max_tiles=settings.max_tiles,
        )
        loaded.seconds.update(seconds)
        if size > 1:
            refuse_indivisible(loaded.model.config, size)
    except BaseException:
        ranks.close()
        raise
    return Engine(loaded, ranks, decoder=decoder, options=options)
