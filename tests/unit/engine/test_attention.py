"""Attention over pages: each backend against a slow reference, the CUDA one traced without a GPU too."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from service.engine.attention import varlen
from service.engine.attention.backend import Attention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache, CacheShape
from service.engine.attention.sdpa import SdpaAttention
from service.engine.attention.varlen import VarlenAttention, attend_to_all, flash_serves

LAYERS, CHANNELS = 2, 8


def slow_varlen(
    out: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: torch.Tensor,
    block_table: torch.Tensor,
    num_splits: int | None,
) -> torch.Tensor:
    """`varlen_attn_out` token by token; what it may not assume, it checks."""
    assert (cu_seq_k.shape, cu_seq_k.dtype) == (cu_seq_q.shape, torch.int32)
    assert num_splits == 1 or len(seqused_k) == 1, "only the first sequence would be written"
    assert enable_gqa == (query.shape[1] != key.shape[2])
    assert window_size[1] == 0
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    for i, length in enumerate(seqused_k.tolist()):
        first, end = cu_seq_q[i : i + 2].tolist()
        assert end - first <= max_q
        assert length <= max_k
        pages = block_table[i, : -(-length // key.shape[1])].long()
        keys, values = (each[pages].flatten(0, 1)[:length] for each in (key, value))  # each [L, K, D]
        for at in range(first, end):
            last = length - (end - at) + 1
            begin = 0 if window_size[0] < 0 else max(0, last - 1 - window_size[0])
            for head in range(query.shape[1]):
                own = head * key.shape[2] // query.shape[1]
                weights = (keys[begin:last, own] @ query[at, head] * scale).softmax(0)
                out[at, head] = weights @ values[begin:last, own]
    return out


def run(
    kind: str, sequences: list[list[int]], size: int, heads: tuple[int, int], window: int | None
) -> list[torch.Tensor]:
    """What each step of the sequences gives, chunk by chunk; their pages lie in no order."""
    shape = CacheShape(LAYERS, heads[1], CHANNELS, torch.float32, torch.device("cpu"))
    needed = [-(-sum(counts) // size) for counts in sequences]
    cache = Cache(shape, sum(needed) + 2, size, by_head=kind == "sdpa")
    for layer in (*cache.keys, *cache.values):
        layer.fill_(3.0)
    attention: Attention = SdpaAttention(cache) if kind == "sdpa" else VarlenAttention(cache)
    order = np.random.default_rng(0).permutation(sum(needed) + 2).tolist()
    pages = [[order.pop() for _ in range(count)] for count in needed]
    torch.manual_seed(0)
    found, filled = list[torch.Tensor](), [0] * len(sequences)
    for number in range(max(map(len, sequences))):
        rows = [i for i, counts in enumerate(sequences) if number < len(counts)]
        counts = [sequences[i][number] for i in rows]
        drafts = [count // 2 if filled[i] else 0 for i, count in zip(rows, counts, strict=True)]
        starts, own = [filled[i] for i in rows], [pages[i] for i in rows]
        batch = Batch(starts, counts, own, size, drafts=drafts)
        step = attention.begin(batch)
        for layer in range(LAYERS):
            query, key, value = (
                torch.randn(sum(counts), n, CHANNELS) for n in (heads[0], heads[1], heads[1])
            )
            found.append(step(layer, query, key, value, window=window))
            found.append(step(layer, query[batch.last], key, value, window=window, last=True))
        for i, count in zip(rows, counts, strict=True):
            filled[i] += count
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=4), min_size=1, max_size=5),
    st.sampled_from((1, 4, 8, 32)),
    st.sampled_from(((2, 2), (4, 2), (3, 1))),
    st.sampled_from((None, 3)),
)
def test_both_backends_give_what_the_slow_reference_gives(
    sequences: list[list[int]], size: int, heads: tuple[int, int], window: int | None
) -> None:
    """Chunks and single tokens, full and part pages, grouped heads and windows: all are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen_attn_out", slow_varlen)
        expected = run("varlen", sequences, size, heads, window)
    for one, other in zip(run("sdpa", sequences, size, heads, window), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_the_cuda_backend_is_traced_without_a_gpu(last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is called with the shapes, types and devices that it takes."""
    called = list[dict[str, Any]]()
    real = varlen.varlen_attn_out

    def noted(out: torch.Tensor, *rest: Any, **options: Any) -> Any:
        called.append(options)
        assert out.device.type == "cuda"
        assert out.stride(-1) == 1
        return real(out, *rest, **options)

    monkeypatch.setattr(varlen, "varlen_attn_out", noted)
    shape = CacheShape(1, 2, 64, torch.bfloat16, torch.device("cuda"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        cache = Cache(shape, 4, 256, by_head=False)
        batch = Batch([0, 300], [5, 1], [[2], [0, 3]], 256)
        step = VarlenAttention(cache).begin(batch)
        made = (torch.empty(n, h, 64, dtype=shape.dtype, device="cuda") for n, h in ((6, 8), (6, 2), (6, 2)))
        query, key, value = made
        out = step(0, query[:2] if last else query, key, value, last=last)
    assert (out.shape, out.dtype) == ((2 if last else 6, 8, 64), torch.bfloat16)
    (options,) = called
    assert options["block_table"].shape == (2, 2)
    assert (options["block_table"].dtype, options["seqused_k"].dtype) == (torch.int32, torch.int32)


@pytest.mark.parametrize(
    ("device", "capability", "dtype", "channels", "expected"),
    [
        ("cuda", (8, 9), torch.bfloat16, 128, True),
        ("cuda", (8, 0), torch.float16, 256, True),
        ("cuda", (7, 5), torch.float16, 128, False),
        ("cuda", (9, 0), torch.float32, 128, False),
        ("cuda", (9, 0), torch.bfloat16, 100, False),
        ("cuda", (9, 0), torch.bfloat16, 512, False),
        ("cpu", None, torch.bfloat16, 128, False),
    ],
    ids=["l4", "a100", "t4", "float32", "odd-heads", "wide-heads", "cpu"],
)
def test_flash_attention_is_used_where_it_computes(
    device: str,
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    channels: int,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flash attention needs Ampere or later, 16 bits, and heads of a multiple of 8 channels, at most 256."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert flash_serves(torch.device(device), dtype, channels) == expected


def test_tiles_attend_within_themselves_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed tiles give what SDPA gives for each, in one call of the kernel."""
    calls = list[list[int]]()

    def packed(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends_q: torch.Tensor, *rest: Any
    ) -> torch.Tensor:
        ends_k, max_q, max_k = rest
        calls.append(ends_q.tolist())
        assert ends_k.tolist() == ends_q.tolist()
        assert (max_q, max_k) == (5, 5)
        parts = (each.split(max_q) for each in (query, key, value))
        return torch.cat([_sdpa(*one) for one in zip(*parts, strict=True)])

    monkeypatch.setattr(varlen, "varlen_attn", packed)
    query, key, value = torch.randn(3, 4, 5, 2, 8, generator=torch.Generator().manual_seed(0))
    found = attend_to_all(query, key, value)
    torch.testing.assert_close(
        found, torch.stack([_sdpa(*one) for one in zip(query, key, value, strict=True)])
    )
    assert calls == [[0, 5, 10, 15, 20]]


def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention of one sequence: [S, A, D] in and out."""
    query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def test_attention_of_tiles_is_traced_without_a_gpu() -> None:
    """The real kernel takes the packed tiles of several images and gives their shape back."""
    with FakeTensorMode():
        qkv = torch.empty(26, 1025, 3 * 1024, dtype=torch.bfloat16, device="cuda")
        parts = (part.view(26, 1025, 16, 64) for part in qkv.chunk(3, -1))
        found = attend_to_all(*parts)
    assert (found.shape, found.dtype, found.device.type) == ((26, 1025, 16, 64), torch.bfloat16, "cuda")


def test_what_flash_attention_cannot_do_is_refused() -> None:
    """A softcap, and tokens that see later ones, are errors rather than wrong numbers."""
    cache = Cache(CacheShape(1, 1, 8, torch.float32, torch.device("cpu")), 2, 4, by_head=False)
    seen = {None: (np.zeros(2, np.int64), np.full(2, 2))}
    with pytest.raises(ValueError, match="SdpaAttention"):
        VarlenAttention(cache).begin(Batch([0], [2], [[0]], 4, visible=seen))
    step = VarlenAttention(cache).begin(Batch([0], [2], [[0]], 4))
    with pytest.raises(ValueError, match="softcap"):
        step(0, *torch.zeros(3, 2, 1, 8), softcap=30.0)
