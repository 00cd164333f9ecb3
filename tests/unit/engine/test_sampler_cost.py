"""What sampling must not do: sort a vocabulary, copy it, or wait for a GPU."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from service.engine.sampling.sampler import (
    CANDIDATES,
    sample,
)
from tests.unit.engine.test_sampler import sequence_of, tokens


class Noted(TorchDispatchMode):
    """Operations and their largest float64 results."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set[str]()
        self.widest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if "sort" in str(func) and args[0].shape[-1] > CANDIDATES:
            self.names.add(str(func))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
            self.widest = max(self.widest, out[0].numel() if out.dim() else 1)
        return out


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"top_k": 50}, {"top_k": 50, "top_p": 0.9}])
def test_the_vocabulary_is_never_sorted_nor_copied_to_float64(options: dict[str, Any]) -> None:
    """What is as wide as the vocabulary is float32, and only the candidates are sorted."""
    rows = torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0)) * 4
    with Noted() as noted:
        tokens(rows, *[sequence_of(temperature=0.8, seed=seed, **options) for seed in range(2)])
    assert not noted.names
    assert noted.widest <= CANDIDATES


def test_a_gpu_is_not_waited_for() -> None:
    """Tokens stay on the device: nothing is read back unless a nucleus may exceed the candidates."""
    sequences = [
        sequence_of(),
        sequence_of(temperature=1.0, seed=1),
        sequence_of(temperature=1.0, top_k=40, top_p=0.9, seed=2, repetition_penalty=1.2),
    ]
    with FakeTensorMode():
        found = sample(torch.empty(3, 5000, device="cuda"), sequences)
    assert (found.device.type, found.shape) == ("cuda", (3,))
