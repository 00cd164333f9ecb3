"""Fused weights of original checkpoints on one of several ranks."""

from types import SimpleNamespace

import pytest
import torch

from service.checkpoint.original_weights import SplitInterleaved

NAMES = ["q_proj", "k_proj", "v_proj"]


def split(fused: torch.Tensor) -> list[torch.Tensor]:
    """Query, key and value of 8 key-value heads with 4 query heads each, 4 channels a head."""
    text = SimpleNamespace(num_attention_heads=32, num_key_value_heads=8, hidden_size=128)
    found = SplitInterleaved().convert(
        {"wqkv": [fused]}, ["wqkv"], NAMES, config=SimpleNamespace(text_config=text)
    )
    return [found[name] for name in NAMES]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_a_rank_splits_its_piece_into_its_heads(ranks: int) -> None:
    """The pieces of a fused tensor, split one by one, are the pieces of the query, the key and the value."""
    fused = torch.randn(8 * 6 * 4, 5)
    whole = split(fused)
    pieces = [split(piece) for piece in fused.chunk(ranks)]
    for kind, expected in enumerate(whole):
        assert torch.equal(torch.cat([piece[kind] for piece in pieces]), expected)
    assert [len(part) for part in whole] == [128, 32, 32]


def test_a_tensor_of_another_size_is_given_back_whole() -> None:
    """What cannot be heads is given back as it is, so that it is refused by its shape."""
    fused = torch.randn(8 * 6 * 4 + 1, 5)
    assert all(part is fused for part in split(fused))
