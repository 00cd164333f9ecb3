"""The backend for CUDA: flash attention over pages, without padding and without masks."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn, varlen_attn_out

from service.engine.attention.backend import LayerAttention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache

# Compute capability of Ampere, and the widest head.
LEAST_CAPABILITY = (8, 0)
MOST_CHANNELS = 256


def flash_serves(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether flash attention computes on a device in a type, with heads of so many channels."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    fits = channels <= MOST_CHANNELS and channels % 8 == 0
    return fits and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


def attend_to_all(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention without a mask within each of B sequences of S tokens: [B, S, A, D] in and out."""
    count, length = query.shape[:2]
    ends = torch.arange(0, (count + 1) * length, length, dtype=torch.int32, device=query.device)  # [B + 1]
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))  # each [B * S, A, D]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out: Any = varlen_attn(query, key, value, ends, ends, length, length)  # [B * S, A, D]
    return out.unflatten(0, (count, length))  # type: ignore[no-any-return]


class VarlenAttention:
    """See `Attention`."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def begin(self, batch: Batch) -> LayerAttention:
        """Plan a step. Raises ValueError where tokens see later ones, which flash attention cannot."""
        if batch.visible is not None:
            raise ValueError("tokens that see later ones need SdpaAttention")
        return VarlenStep(self.cache, Layout.of(batch, self.cache.shape.device))


@dataclass(frozen=True)
class Layout:
    """A batch as the kernel takes it: `slots` int64 [S]; the others int32, [B + 1], [B] and [B, pages].

    `cu_seq_out` is what `cu_seq_q` would be of the tokens with logits alone, of which one has `max_out`.
    """

    slots: torch.Tensor
    cu_seq_q: torch.Tensor
    cu_seq_out: torch.Tensor
    lengths: torch.Tensor
    block_table: torch.Tensor
    max_q: int
    max_out: int
    max_k: int

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """Copy a batch to a device."""
        return cls(
            slots=torch.from_numpy(batch.slots).to(device),
            cu_seq_q=torch.from_numpy(batch.cu_seq_q).to(device),
            cu_seq_out=torch.from_numpy(np.cumsum([0, *batch.outputs], dtype=np.int32)).to(device),
            lengths=torch.tensor(batch.lengths, dtype=torch.int32).to(device),
            block_table=torch.from_numpy(batch.block_table).to(device),
            max_q=max(batch.counts),
            max_out=max(batch.outputs),
            max_k=max(batch.lengths),
        )


class VarlenStep:
    """See `LayerAttention`."""

    def __init__(self, cache: Cache, layout: Layout) -> None:
        self.cache = cache
        self.layout = layout

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
        last: bool = False,
    ) -> torch.Tensor:
        """Raises ValueError for a softcap, which torch's flash attention does not have."""
        if softcap is not None:
            raise ValueError("attention with a softcap needs SdpaAttention")
        keys, values, layout = self.cache.keys[layer], self.cache.values[layer], self.layout
        cu_seq = layout.cu_seq_out if last else layout.cu_seq_q
        keys.flatten(0, 1).index_copy_(0, layout.slots, key)
        values.flatten(0, 1).index_copy_(0, layout.slots, value)
        query = query.contiguous()
        out = torch.empty_like(query)
        # Never cuDNN, which would build a plan for each shape.
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            varlen_attn_out(
                out,
                query,
                keys,
                values,
                cu_seq,
                cu_seq,  # has to be there, but `seqused_k` and `block_table` say where the keys are
                layout.max_out if last else layout.max_q,
                layout.max_k,
                scale=scale,
                window_size=(-1 if window is None else window - 1, 0),
                enable_gqa=query.shape[1] != keys.shape[2],
                seqused_k=layout.lengths,
                block_table=layout.block_table,
                # Where the kernel splits keys, it writes the first sequence alone (pytorch/pytorch#194167).
                num_splits=None if len(layout.lengths) == 1 else 1,
            )
        return out
