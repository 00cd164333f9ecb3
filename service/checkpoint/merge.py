"""Merging an adapter into the weights of a loaded model, whose layers may be divided among ranks."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from service.checkpoint.adapter import Change
from service.errors import CheckpointError


class Parameters:
    """The parameters of a model, found by their own names or by those of the checkpoint.

    transformers renames, splits and joins the tensors of a checkpoint as it loads them; an adapter's change
    of such a tensor goes the same way, since all of that is linear.
    """

    def __init__(self, model: PreTrainedModel, stored: Collection[str]) -> None:
        """Look at a model; `stored` are the names in its checkpoint."""
        self.by_name = dict(model.named_parameters(remove_duplicate=False))
        self._model = model
        self._stored = stored
        mapping = get_model_conversion_mapping(model)
        self._renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
        self._converters = [one for one in mapping if isinstance(one, WeightConverter)]

    def of(self, name: str, tensor: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Parts of a tensor by the parameters that they are for. Raises CheckpointError for another name."""
        if name in self.by_name:
            return {name: tensor}
        parameters: Any = self.by_name
        renamed, pattern = rename_source_key(
            name, self._renamings, self._converters, self._model.base_model_prefix, parameters
        )
        if renamed not in self.by_name:
            raise CheckpointError(
                f"adapter changes {name}, which the model does not have; it has {self._like(name)}, for one; "
                "use an adapter of this very model"
            )
        if pattern is None:
            return {renamed: tensor}
        converter = deepcopy(next(one for one in self._converters if pattern in one.source_patterns))
        if len(converter.source_patterns) > 1 or "*" in pattern:
            raise CheckpointError(
                f"adapter changes {name}, which becomes a part of {renamed}; merge the adapter into the "
                "weights with the PEFT library, and serve the merged checkpoint"
            )
        one: Any = tensor
        converter.add_tensor(renamed, name, pattern, one)
        found = converter.convert(renamed, model=self._model, config=self._model.config)
        return {key: part[0] if isinstance(part, list) else part for key, part in found.items()}

    def _like(self, name: str) -> str:
        known = sorted({*self.by_name, *self._stored})
        return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]

    def refuse_tied(self, name: str) -> None:
        """Raise CheckpointError for a parameter that serves two layers, of which the adapter knows one."""
        parameter = self.by_name[name]
        shared = [other for other, same in self.by_name.items() if same is parameter and other != name]
        if shared:
            raise CheckpointError(
                f"adapter changes {name}, which is {shared[0]} as well; merge the adapter into the weights "
                "with the PEFT library, and serve the merged checkpoint"
            )


@torch.no_grad()
def merge(model: PreTrainedModel, changes: Sequence[Change], stored: Collection[str]) -> None:
    """Make an adapter's changes to the weights of a model. Sums are computed in float32.

    `stored` are the names in the checkpoint. Raises CheckpointError for a change without a place, by name.
    """
    parameters = Parameters(model, stored)
    for change in changes:
        for name, part in parameters.of(change.name, change.on(model.device)).items():
            parameters.refuse_tied(name)
            _apply(name, parameters.by_name[name], part, change)


def _apply(name: str, parameter: torch.Tensor, part: torch.Tensor, change: Change) -> None:
    if part.shape != parameter.shape:
        raise CheckpointError(
            f"adapter changes {change.name} by a tensor of shape {tuple(part.shape)}, but {name} has "
            f"{tuple(parameter.shape)}; use an adapter of this very model"
        )
    own = parameter.data
    if isinstance(own, DTensor):
        # Every rank has the whole change, so nothing is sent.
        divided = distribute_tensor(part, own.device_mesh, own.placements, src_data_rank=None)
        own, part = own.to_local(), divided.to_local()
    own.copy_(part if change.down is None else own.float() + part)
