"""Loading a checkpoint: from a directory to a model that is in memory and checked."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from service.checkpoint import json_file
from service.checkpoint.adapter import read_adapter
from service.checkpoint.files import WeightFiles
from service.checkpoint.internvl import plan_internvl
from service.checkpoint.loaded import LoadedModel
from service.checkpoint.merge import merge
from service.checkpoint.original import plan_original
from service.checkpoint.other import plan_other
from service.checkpoint.plan import Plan
from service.checkpoint.progress import size, timed
from service.checkpoint.quantization import quantize_model, refuse_device, weights_of
from service.checkpoint.weights import load_weights
from service.device import dtype_on, free_bytes, name_of
from service.engine_options import Quantization, RequestedDtype
from service.errors import CheckpointError, DeviceError

logger = logging.getLogger("capstan.checkpoint")

CONFIG = "config.json"
CPU = torch.device("cpu")

# What transformers reads quantized checkpoints with, by their `quant_method`; none of it is installed here.
QUANTIZERS = {
    "awq": "gptqmodel",
    "gptq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "fbgemm_fp8": "fbgemm-gpu",
    "torchao": "torchao",
}

# Needed in addition to the weights: tensors that are being converted, the libraries' own memory, activations
# of one request.
EXTRA_SHARE = 0.05
EXTRA_BYTES = {"cuda": 512 * 2**20, "cpu": 64 * 2**20}


def load(
    directory: str | Path,
    *,
    dtype: RequestedDtype = "auto",
    device: torch.device = CPU,
    max_tiles: int | None = None,
    shards: int = 1,
    adapter: Path | None = None,
    quantization: Quantization | None = None,
    planned: Callable[[Plan], None] = lambda _: None,
) -> LoadedModel:
    """Load a checkpoint, check it whole, and give all that is needed to talk to it.

    `max_tiles` bounds the tiles of an image (None: the checkpoint's own bound). With `shards` above 1 this
    process is one of as many that torch.distributed has joined, and reads its part. `adapter` is a directory
    with a LoRA adapter, which is merged into the weights. `quantization` is that of the linear layers.
    `planned` is called before the weights are read.
    Raises CheckpointError or DeviceError, each one sentence that says what is wrong and what to do.
    """
    directory = Path(directory)
    plan = plan_of(directory, max_tiles)
    planned(plan)
    start, seconds, precision = time.monotonic(), dict[str, float](), dtype_on(dtype, device)
    if quantization is not None:
        refuse_device(quantization, device, precision)
    changes = None if adapter is None else read_adapter(adapter)
    with WeightFiles(directory, pinned=device.type == "cuda") as files:
        needed = files.bytes_as(precision)
        # Shards on the CPU share one memory; each GPU has its own.
        share = needed if device.type == "cpu" else needed // shards
        _refuse_too_large(share, free_bytes(device), precision, device)
        with timed(seconds, "read"):
            model = load_weights(
                plan.model_class,
                plan.config,
                files,
                generation=plan.generation,
                dtype=precision,
                device=device,
                shards=shards,
            )
        if changes is not None:
            with timed(seconds, "merge"):
                merge(model, changes, files.tensors)
            logger.info("merged an adapter that changes %d tensors", len(changes))
        if quantization is not None:
            with timed(seconds, "quantize"):
                count = quantize_model(model, quantization)
            logger.info("quantized %d linear layers to %s", count, quantization)
    _log(directory, model, precision, device, time.monotonic() - start)
    return LoadedModel.of(plan, model, device=device, dtype=precision, seconds=seconds)


def plan_of(directory: Path, max_tiles: int | None) -> Plan:
    """What is to be built, by the model type of config.json. Raises CheckpointError."""
    raw = json_file.read(directory, CONFIG, what="which says what the model is")
    if "quantization_config" in raw:
        raise CheckpointError(_quantized(raw["quantization_config"]))
    kind = raw.get("model_type")
    if kind == "internvl":
        return plan_internvl(directory, raw, max_tiles)
    if kind == "internvl_chat":
        return plan_original(directory, raw, max_tiles)
    return plan_other(directory, raw)


def _quantized(config: object) -> str:
    """Why a checkpoint that is quantized already is refused."""
    method = config.get("quant_method") if isinstance(config, dict) else None
    library = QUANTIZERS.get(str(method))
    needs = f"needs the library {library}, which is not installed" if library else "is not supported"
    return (
        f"checkpoint is quantized by {method!r}, which {needs}; serve the unquantized checkpoint with "
        "CAPSTAN_QUANTIZATION, or this one through vLLM (CAPSTAN_ENGINE=command)"
    )


def _refuse_too_large(needed: int, free: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raise DeviceError where weights of `needed` bytes and what comes with them exceed `free` bytes."""
    total = int(needed * (1 + EXTRA_SHARE)) + EXTRA_BYTES.get(device.type, EXTRA_BYTES["cpu"])
    if total <= free:
        return
    where = "memory of the CPU or its cgroup" if device.type == "cpu" else f"memory of {device}"
    raise DeviceError(
        f"weights in {name_of(dtype)} need {size(total)}, but {size(free)} of the {where} are free; "
        "give the replica more memory, choose a dtype of fewer bytes, or serve a smaller model"
    )


def _log(
    directory: Path, model: PreTrainedModel, dtype: torch.dtype, device: torch.device, seconds: float
) -> None:
    weights = weights_of(model)
    logger.info(
        "loaded %s: %s parameters, %s %s on %s in %.0f s",
        directory,
        _in_words(sum(weight.numel() for weight in weights)),
        size(sum(weight.numel() * weight.element_size() for weight in weights)),
        name_of(dtype),
        device,
        seconds,
    )


def _in_words(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
