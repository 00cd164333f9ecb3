"""Which runner a model gets, decided by its configuration."""

import functools
from typing import Any

import torch

from service.engine.attention.varlen import flash_serves
from service.engine.batching import BatchWorker
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.checkpoint.progress import timed
from service.engine.device import free_bytes
from service.engine.features import FeatureCache, FeatureShape
from service.engine.options import EngineOptions
from service.engine.pages import PAGE_TOKENS
from service.engine.parallel.load import ParallelModel
from service.engine.parallel.worker import ParallelWorker
from service.engine.runner import fused
from service.engine.runner.generate import GenerateWorker
from service.engine.runner.graphs import CudaGraph
from service.engine.runner.memory import plan_cache, run_worst_step
from service.engine.runner.protocol import Runner
from service.engine.runner.transformers_runner import TransformersRunner
from service.engine.worker import Worker
from service.errors import DeviceError

LEAST_CONTEXT = PAGE_TOKENS


def choose(loaded: LoadedModel, options: EngineOptions, features: FeatureCache) -> Worker:
    """The quickest worker that computes what the model's configuration says."""
    if isinstance(loaded, ParallelModel):
        return ParallelWorker(loaded, silence_seconds=options.stall_seconds)
    if options.runner == "generate":
        return GenerateWorker(loaded)
    with timed(loaded.seconds, "place"):
        runner = _runner(loaded, options)
        if loaded.architecture == "internvl":
            # First: on a GPU the key-value cache takes what is left.
            features.allocate(_feature_shape(loaded))
    with timed(loaded.seconds, "profile"):
        budget = cache_budget(runner, loaded, options)
    if budget < LEAST_CONTEXT * runner.token_bytes:
        raise DeviceError(
            f"the key-value cache holds {budget // runner.token_bytes} tokens ({budget} B); it needs "
            f"{LEAST_CONTEXT}; raise CAPSTAN_CACHE_BYTES or CAPSTAN_MEMORY_FRACTION, or take a larger GPU"
        )
    worker = BatchWorker(
        runner,
        tokenizer=loaded.tokenizer,
        stop_ids=loaded.stop_ids,
        context_length=min(loaded.context_length, runner.context_limit or loaded.context_length),
        slots=options.slots,
        cache_bytes=budget,
        prefill_tokens=options.prefill_tokens,
        chunk_tokens=options.chunk_tokens,
        features=features,
    )
    with timed(loaded.seconds, "capture"):
        runner.capture(worker.slots)
    return worker


def _runner(loaded: LoadedModel, options: EngineOptions) -> Runner:
    # cuDNN's attention, which torch prefers on Hopper, builds a plan for every shape that it meets.
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    if options.runner == "transformers" or not fused.serves(loaded):
        return TransformersRunner(loaded)
    graphs = options.cuda_graphs and flash_serves(loaded.device, loaded.dtype)
    return fused.FusedRunner(loaded, record=CudaGraph if graphs else None)


def _feature_shape(loaded: LoadedModel) -> FeatureShape:
    config: Any = loaded.model.config
    tiling = loaded.inputs.tiling
    return FeatureShape(
        tiles=1 if tiling is None else tiling.spec.most_tiles,
        tokens=config.image_seq_length,
        channels=config.get_text_config().hidden_size,
        dtype=loaded.dtype,
        device=loaded.device,
    )


def cache_budget(runner: Runner, loaded: LoadedModel, options: EngineOptions) -> int:
    """Bytes for the key-value cache: on a GPU what its plan leaves, on the CPU a plain limit."""
    if loaded.device.type == "cpu":
        return min(options.cache_bytes, int(free_bytes(loaded.device) * options.memory_fraction))
    step = functools.partial(run_worst_step, runner, loaded, options)
    return plan_cache(loaded.device, options.memory_fraction, step)
