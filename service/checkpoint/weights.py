"""A model with the weights of a checkpoint, or a refusal that names the first tensor that does not fit."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, modeling_utils
from transformers.distributed.configuration_utils import DistributedConfig
from transformers.utils import logging as library_logging

from service.checkpoint.files import WeightFiles
from service.errors import CheckpointError

SHOWN = 3
# Computed from the configuration; old checkpoints hold them nevertheless.
DERIVED = ("rotary_emb.inv_freq", "position_ids")


def load_weights(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    files: WeightFiles,
    *,
    generation: GenerationConfig | None,
    dtype: torch.dtype,
    device: torch.device,
    shards: int = 1,
) -> PreTrainedModel:
    """Build a model and read its weights straight onto the device, tensor by tensor.

    With `shards` above 1, only this process' part of each: transformers divides the model as its tensor
    parallel plan says and takes the device of this rank, which must be `device`.

    Raises CheckpointError for a parameter without a tensor, a tensor without a parameter, or a wrong shape:
    transformers only warns and fills in random numbers.
    """
    with quiet(), _separate_allocations():
        try:
            loaded: Any = model_class.from_pretrained(
                None,
                config=config,
                state_dict=dict(files.tensors),
                generation_config=generation,
                dtype=dtype,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                device_map=None if device.type == "cpu" or shards > 1 else {"": device},
                distributed_config=DistributedConfig(tp_size=shards, tp_plan="auto") if shards > 1 else None,
            )
        except (RuntimeError, ValueError, ImportError) as error:
            raise CheckpointError(f"the model cannot be built from its config.json: {error}") from error
    model, report = loaded
    _refuse_misfits(report)
    _refuse_twice(model, files)
    built: PreTrainedModel = model.eval().requires_grad_(False)
    return built


def _refuse_misfits(report: dict[str, Any]) -> None:
    """Raise where transformers would only warn. `report` is its output_loading_info."""
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"tensor {name} has shape {tuple(found)}, but config.json asks for {tuple(wanted)}; "
            "use the weights and the config.json of one checkpoint"
        )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"checkpoint has no tensor for {_listed(missing)}, which would be left random; "
            "copy all weight files again"
        )
    if unused := sorted(report["unexpected_keys"]):
        raise CheckpointError(
            f"checkpoint has a tensor {_listed(unused)} that the model has no place for; "
            "use the config.json that belongs to the weights"
        )
    if report["error_msgs"]:
        raise CheckpointError(f"weights cannot be loaded: {report['error_msgs'][0]}")


def _refuse_twice(model: PreTrainedModel, files: WeightFiles) -> None:
    """Raise where two tensors went to one parameter, which transformers does not even report.

    Tied parameters count twice, since a checkpoint may hold both.
    """
    stored = sum(tensor.elements for name, tensor in files.tensors.items() if not name.endswith(DERIVED))
    held = sum(tensor.numel() for tensor in model.state_dict().values())
    if stored > held:
        raise CheckpointError(
            f"weight files hold {stored} numbers, but the model has {held}, so some tensors are there twice "
            "under two names; copy all weight files again into an empty directory"
        )


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _separate_allocations() -> Iterator[None]:
    """Have each parameter allocated by itself.

    On a GPU transformers allocates the bytes of all parameters as one block first, and what lies in it can
    never be given back: weights that are fused or quantized later would keep their place to the end.
    """
    warm_up = modeling_utils.caching_allocator_warmup
    modeling_utils.caching_allocator_warmup = lambda *_: None
    try:
        yield
    finally:
        modeling_utils.caching_allocator_warmup = warm_up


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and warnings out of the log; errors still come through."""
    library = logging.getLogger("transformers")
    level, bars = library.level, library_logging.is_progress_bar_enabled()
    library_logging.set_verbosity(logging.CRITICAL)
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(level)
        if bars:
            library_logging.enable_progress_bar()
