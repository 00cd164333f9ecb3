"""LoRA adapters in the files of the PEFT library: what they change in the weights of a checkpoint.

Source of the format: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from service.checkpoint import json_file
from service.errors import CheckpointError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."

# Endings of the two factors of a change, down to the rank and up again; of embeddings in the second row.
FACTORS = {".lora_A.weight": "down", ".lora_B.weight": "up"} | {
    ".lora_embedding_A": "down",
    ".lora_embedding_B": "up",
}
# Between the name of a module and its parameter where the library has wrapped the module.
WRAPPERS = (".modules_to_save", ".base_layer")

# Variants whose effect is not `scale * up @ down`, or whose base weights are not the checkpoint's.
OTHER_VARIANTS = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
)
CHANGED_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter does to the tensor `name`: it adds `scale` * `up` @ `down`, or puts `up` in its place.

    `up` is [out, R] and `down` [R, in]; those of a convolution have the sides of the kernel as well. The sum
    of a `transposed` one is [in, out].
    """

    name: str
    up: torch.Tensor
    down: torch.Tensor | None = None
    scale: float = 1.0
    transposed: bool = False

    def on(self, device: torch.device) -> torch.Tensor:
        """What is added or put in place, in float32 on a device."""
        up = self.up.to(device, torch.float32)
        if self.down is None:
            return up
        down = self.down.to(device, torch.float32)
        product = self.scale * (up.flatten(1) @ down.flatten(1))  # [out, in * sides]
        product = product.view(len(up), *down.shape[1:])  # [out, in, ...]
        return product.transpose(0, 1) if self.transposed else product


def read_adapter(directory: Path) -> list[Change]:
    """All changes of an adapter, by the names of the model that it was trained on.

    Raises CheckpointError for what cannot be merged, by its name.
    """
    config = json_file.read(directory, CONFIG, what="which says what kind of adapter this is")
    _refuse_variants(config)
    tensors = {_without_prefix(name): tensor for name, tensor in _tensors(directory).items()}
    changes = [*_products(tensors, config), *_replaced(tensors)]
    if not changes:
        raise CheckpointError(f"adapter has no tensors in {WEIGHTS}; save it again")
    return changes


def _refuse_variants(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{CONFIG} has peft_type {kind!r}; only 'LORA' adapters are served")
    for name in OTHER_VARIANTS:
        if config.get(name):
            raise CheckpointError(
                f"{CONFIG} has {name} {config[name]!r}, which is not served; merge the adapter into the "
                "weights with the PEFT library, and serve the merged checkpoint"
            )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGED_BASE):
        raise CheckpointError(
            f"{CONFIG} has init_lora_weights {start!r}, which changes the weights of the model as well; save "
            "the adapter with path_initial_model_for_weight_conversion"
        )


def _tensors(directory: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(directory / WEIGHTS)
    except FileNotFoundError as error:
        pickled = " from adapter_model.bin, a pickle" if (directory / "adapter_model.bin").exists() else ""
        raise CheckpointError(f"adapter has no {WEIGHTS}; save it in safetensors' format{pickled}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{WEIGHTS} is damaged or cut short ({error}); copy it again") from error


def _without_prefix(name: str) -> str:
    if not name.startswith(PREFIX):
        raise CheckpointError(
            f"adapter has a tensor {name!r}; names of the PEFT library begin with {PREFIX!r}; save it with "
            "save_pretrained"
        )
    return name.removeprefix(PREFIX)


def _products(tensors: dict[str, torch.Tensor], config: Mapping[str, Any]) -> Iterable[Change]:
    """Changes of two factors; their tensors are taken out of `tensors`."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    embeddings = set()
    for name in sorted(tensors):
        ending = next((ending for ending in FACTORS if name.endswith(ending)), None)
        if ending is not None:
            module = name.removesuffix(ending)
            found.setdefault(module, {})[FACTORS[ending]] = tensors.pop(name)
            if "embedding" in ending:
                embeddings.add(module)
    for module, factors in found.items():
        if factors.keys() != {"up", "down"}:
            raise CheckpointError(f"adapter has only one of the two factors of {module}; save it again")
        rank = int(_of_module(module, config.get("rank_pattern"), config.get("r")))
        up, down = factors["up"], factors["down"]
        if (up.shape[1], down.shape[0]) != (rank, rank):
            raise CheckpointError(
                f"adapter has factors {tuple(up.shape)} and {tuple(down.shape)} of {module}, but {CONFIG} "
                f"says rank {rank}; use the two files of one adapter"
            )
        alpha = float(_of_module(module, config.get("alpha_pattern"), config.get("lora_alpha")))
        yield Change(
            module + ".weight",
            up,
            down,
            scale=alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
            transposed=module in embeddings or bool(config.get("fan_in_fan_out")),
        )


def _replaced(tensors: dict[str, torch.Tensor]) -> Iterable[Change]:
    """Changes by whole tensors: `modules_to_save`, and trained biases."""
    for name, tensor in sorted(tensors.items()):
        if ".lora_" in name:
            raise CheckpointError(
                f"adapter has a tensor {PREFIX + name!r}; of LoRA only lora_A and lora_B are served; merge "
                "the adapter into the weights with the PEFT library"
            )
        for wrapper in WRAPPERS:
            name = name.replace(wrapper + ".", ".")  # noqa: PLW2901 - the same name without the wrapper
        yield Change(name, tensor)


def _of_module(module: str, patterns: Mapping[str, Any] | None, otherwise: Any) -> Any:  # noqa: ANN401 - numbers of a JSON file
    """A module's own rank or alpha, which may be given by the end of its name or a regular expression."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    if not isinstance(otherwise, int | float) or otherwise <= 0:
        raise CheckpointError(f"{CONFIG} does not say r and lora_alpha; copy it again")
    return otherwise
