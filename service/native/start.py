"""The native engine of a replica: the checkpoint on its devices, as the settings say."""

import logging

from service.checkpoint.progress import timed
from service.checkpoint.source import locate
from service.engine.ranks.messages import Setup
from service.engine_options import EngineOptions, computes_on_cpu
from service.errors import DeviceError
from service.media.decode import ImageDecoder
from service.native.engine import Engine
from service.native.rank_group import RankGroup
from service.settings import Settings


def native_engine(settings: Settings, gpus: int, decoder: ImageDecoder) -> Engine:
    """Start the processes of the model; `gpus` is the number that Ray assigned to this replica.

    Raises StartupError if the checkpoint is not there, or the settings contradict each other.
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
        prompt_lookup=settings.prompt_lookup,
    )
    size = settings.gpus_per_replica
    if size > 1 and not computes_on_cpu(settings.device, gpus):
        refuse_missing(size, gpus)
    if size > 1 and settings.quantization is not None:
        raise DeviceError(
            f"CAPSTAN_QUANTIZATION={settings.quantization} needs CAPSTAN_GPUS_PER_REPLICA to be 1, "
            f"not {size}; set one of them"
        )
    if size > 1 and settings.runner == "generate":
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
        device=settings.device,
        gpus=gpus,
        max_tiles=settings.max_tiles,
        threads=settings.torch_threads,
        log_level=logging.getLogger("capstan").getEffectiveLevel(),
        options=options,
        adapter=adapter,
        quantization=settings.quantization,
    )
    return Engine(RankGroup(setup), decoder=decoder, options=options, startup_seconds=seconds)


def refuse_missing(wanted: int, given: int) -> None:
    """Raise DeviceError where a replica of `wanted` GPUs was `given` fewer."""
    if wanted > given:
        raise DeviceError(
            f"{wanted} GPUs a replica are set (CAPSTAN_GPUS_PER_REPLICA), but Ray gave this replica {given}; "
            f"set num_gpus to {wanted} in ray_actor_options"
        )
