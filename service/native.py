"""The native engine of a replica: the checkpoint on its devices, as the settings say.

A module of its own, because importing torch and transformers takes seconds and memory that a replica in front
of another server does without.
"""

import functools

import torch

from service.engine import device
from service.engine.checkpoint.load import load
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.parallel.load import load_parallel
from service.media.decode import ImageDecoder
from service.settings import Settings


def native_engine(settings: Settings, gpus: int, decoder: ImageDecoder) -> Engine:
    """Load the checkpoint; `gpus` is the number that Ray assigned to this replica."""
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
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
    loaded = _load(settings, gpus)
    return Engine(loaded, decoder=decoder, options=options)


def _load(settings: Settings, gpus: int) -> LoadedModel:
    loader = load
    if settings.gpus_per_replica > 1:
        loader = functools.partial(load_parallel, gpus=settings.gpus_per_replica, given=gpus)
    return loader(
        settings.checkpoint,
        revision=settings.model_revision,
        dtype=settings.dtype,
        device=device.pick(settings.device, gpus),
        max_tiles=settings.max_tiles,
    )
