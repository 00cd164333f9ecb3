"""A model that is in memory and checked, with everything that is needed to talk to it."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from transformers import PreTrainedModel

from service.checkpoint.plan import Plan


@dataclass(frozen=True, slots=True)
class LoadedModel(Plan):
    """The result of loading a checkpoint: its plan, and the `model` in eval mode on `device` in `dtype`.

    `seconds` says how long each phase of the start took; further ones are added as they end.
    """

    model: PreTrainedModel
    device: torch.device
    dtype: torch.dtype
    seconds: dict[str, float]

    @classmethod
    def of(
        cls,
        plan: Plan,
        model: PreTrainedModel,
        *,
        device: torch.device,
        dtype: torch.dtype,
        seconds: dict[str, float],
    ) -> Self:
        """A plan that has been carried out."""
        planned = {field.name: getattr(plan, field.name) for field in fields(plan)}
        return cls(**planned, model=model, device=device, dtype=dtype, seconds=seconds)
