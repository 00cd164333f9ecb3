"""How the weights of a model are read."""

from typing import Any

import pytest
import torch
from transformers import modeling_utils

from service.checkpoint.files import WeightFiles
from service.checkpoint.load import plan_of
from service.checkpoint.weights import load_weights
from service.settings import EMBEDDED_MODEL


def test_weights_are_not_allocated_as_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each parameter has memory of its own, so that of what is fused or quantized can be given back."""
    warmed = list[Any]()
    monkeypatch.setattr(modeling_utils, "caching_allocator_warmup", lambda *given: warmed.append(given))
    plan = plan_of(EMBEDDED_MODEL, None)
    with WeightFiles(EMBEDDED_MODEL) as files:
        model = load_weights(
            plan.model_class,
            plan.config,
            files,
            generation=plan.generation,
            dtype=torch.float32,
            device=torch.device("meta"),
        )
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert warmed == []
