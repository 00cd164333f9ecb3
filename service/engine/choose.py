"""Which runner a model gets, decided by its configuration."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from service.checkpoint.loaded import LoadedModel
from service.checkpoint.progress import timed
from service.device import free_bytes
from service.engine.batching import Batcher, ContinuousBatcher
from service.engine.executor import Executor, LeadingExecutor, LocalExecutor, Peer
from service.engine.features import FeatureShape, FeatureStore
from service.engine.generate import GenerateBatcher
from service.engine.pages import PageTable
from service.engine.runner import fused
from service.engine.runner.graphs import CudaGraph
from service.engine.runner.memory import plan_cache, run_worst_step
from service.engine.runner.runner import Runner
from service.engine.runner.transformers_runner import TransformersRunner
from service.engine.scheduler import Scheduler
from service.engine_options import PAGE_TOKENS, EngineOptions
from service.errors import DeviceError

LEAST_CONTEXT = PAGE_TOKENS


def choose(
    loaded: LoadedModel, options: EngineOptions, peers: Sequence[Peer] = ()
) -> tuple[Batcher, FeatureStore]:
    """The quickest batcher that computes what the model's configuration says, and its feature cache.

    `peers` are the other ranks, which call `executor` meanwhile. Raises DeviceError if the key-value cache
    does not fit.
    """
    if options.runner == "generate":
        return GenerateBatcher(loaded), FeatureStore(None, 0)
    local, pages, context_length = executor(loaded, options)
    leading: Executor = LeadingExecutor(local, peers) if peers else local
    scheduler = Scheduler(
        PageTable(pages, options.page_tokens),
        slots=options.slots,
        step_tokens=options.prefill_tokens,
        chunk_tokens=options.chunk_tokens,
        clear=leading.clear,
    )
    batcher = ContinuousBatcher(
        leading,
        scheduler,
        name=local.runner.name,
        stop_ids=loaded.stop_ids,
        context_length=context_length,
        cache_bytes=pages * options.page_tokens * local.runner.shape.token_bytes,
        prompt_lookup=options.prompt_lookup,
    )
    return batcher, local.features


def executor(loaded: LoadedModel, options: EngineOptions) -> tuple[LocalExecutor, int, int]:
    """What computes the steps of this rank, with its caches; their pages, and the longest context.

    Raises DeviceError if the key-value cache does not fit.
    """
    with timed(loaded.seconds, "place"):
        runner = _runner(loaded, options)
        # First: on a GPU the key-value cache takes what is left.
        shape = _feature_shape(loaded) if loaded.architecture == "internvl" else None
        features = FeatureStore(shape, options.feature_cache_images)
    with timed(loaded.seconds, "profile"):
        budget = _least(cache_budget(runner, loaded, options), loaded.device)
    token_bytes = runner.shape.token_bytes
    if budget < LEAST_CONTEXT * token_bytes:
        raise DeviceError(
            f"the key-value cache can hold {budget // token_bytes} tokens ({budget} B); it needs "
            f"{LEAST_CONTEXT}; raise CAPSTAN_CACHE_BYTES or CAPSTAN_MEMORY_FRACTION, or take a larger GPU"
        )
    context_length = min(loaded.context_length, runner.context_limit or loaded.context_length)
    most = options.slots * -(-context_length // options.page_tokens)
    pages = min(budget // (token_bytes * options.page_tokens), most)
    runner.allocate(pages, options.page_tokens)
    with timed(loaded.seconds, "capture"):
        runner.capture(options.slots)
    return LocalExecutor(runner, features, shape), pages, context_length


def _least(budget: int, device: torch.device) -> int:
    """The budget that all ranks have, since their pages are the same."""
    if not dist.is_initialized():
        return budget
    least = torch.tensor([budget], device=device)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least.item())


def _runner(loaded: LoadedModel, options: EngineOptions) -> Runner:
    # cuDNN's attention, which torch prefers on Hopper, builds a plan for every shape that it meets.
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    if options.runner == "transformers" or not fused.serves(loaded):
        return TransformersRunner(loaded)
    return fused.FusedRunner(loaded, record=CudaGraph if options.cuda_graphs else None)


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
