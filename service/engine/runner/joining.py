"""The tensors of several prompts joined into the inputs of one `generate`."""

from collections import abc
from typing import Any

import torch

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.pixels import normaliser_of, pixels
from service.engine.sequence import Sequence


def search_options(loaded: LoadedModel) -> dict[str, Any]:
    """Options under which `generate` adds nothing of its own to what a logits processor chooses."""
    return {
        "do_sample": False,
        "num_beams": 1,
        "repetition_penalty": 1.0,  # a checkpoint's own default would come on top of the request's
        "use_cache": True,
        "pad_token_id": loaded.pad_id,
        "eos_token_id": sorted(loaded.stop_ids) or None,
    }


def form(run: Sequence) -> object:
    """What must be alike for tensors to be joined: names, types, and all sides but the first."""
    extra = run.inputs.extra if run.inputs else {}
    return tuple(
        sorted(
            (name, tensor.shape[1:], tensor.dtype) for name, tensor in extra.items() if not _per_token(name)
        )
    )


def _per_token(name: str) -> bool:
    return name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "position_ids")


def join(batch: abc.Sequence[Sequence], loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch: prompts padded on the left, other tensors one after the other."""
    longest = max(len(run.prompt) for run in batch)
    ids = torch.full((len(batch), longest), loaded.pad_id)  # [B, S]
    mask = torch.zeros((len(batch), longest), dtype=torch.long)  # [B, S]
    for row, run in enumerate(batch):
        ids[row, longest - len(run.prompt) :] = torch.tensor(run.prompt)
        mask[row, longest - len(run.prompt) :] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    extras = [run.inputs.extra if run.inputs else {} for run in batch]
    for name, first in extras[0].items():
        if name in inputs or name == "position_ids":
            continue
        if _per_token(name):
            inputs[name] = torch.stack(
                [
                    torch.nn.functional.pad(extra[name][0], (longest - extra[name].shape[1], 0))
                    for extra in extras
                ]
            )  # [B, S]
        else:
            inputs[name] = torch.cat([extra[name] for extra in extras])
        if first.is_floating_point():
            inputs[name] = inputs[name].to(loaded.dtype)
    images = [tiles for run in batch if run.inputs for tiles in run.inputs.tiles]
    if images:
        inputs["pixel_values"] = pixels(images, normaliser_of(loaded), loaded.device).to(loaded.dtype)
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
