"""A maker of small random LoRA adapters in the files of the PEFT library, and a model with one next to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.support.checkpoints import write_json

RANK = 4
ALPHA = 8.0

Factors = tuple[torch.Tensor, torch.Tensor]


def factors(shapes: Mapping[str, tuple[int, ...]], seed: int = 5, size: float = 0.3) -> dict[str, Factors]:
    """Random factors A [R, in, ...] and B [out, R, ...] of modules by the shapes of their weights."""
    random = torch.Generator().manual_seed(seed)
    return {
        module: (
            torch.randn(RANK, *inputs, generator=random) * size,
            torch.randn(out, RANK, *[1] * (len(inputs) - 1), generator=random) * size,
        )
        for module, (out, *inputs) in shapes.items()
    }


def write_adapter(
    directory: Path,
    found: Mapping[str, Factors],
    more: Mapping[str, torch.Tensor] | None = None,
    **config: Any,
) -> Path:
    """An adapter of rank 4 and alpha 8; `more` are tensors under names without the library's prefix."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = dict(more or {})
    for module, (down, up) in found.items():
        tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    named = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, directory / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": sorted(found)}
    write_json(directory / "adapter_config.json", settings | config)
    return directory


@contextmanager
def alongside(model: Any, found: Mapping[str, Factors], scale: float = ALPHA / RANK) -> Iterator[None]:
    """The model with the adapter computed alongside its layers, as the PEFT library does without merging."""

    def add(down: torch.Tensor, up: torch.Tensor) -> Any:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            return output + (inputs[0] @ down.T) @ up.T * scale

        return hook

    hooks = [model.get_submodule(module).register_forward_hook(add(*pair)) for module, pair in found.items()]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
