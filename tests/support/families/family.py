"""What the small models have in common, and prompts with images for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

IMAGE, VIDEO, VISION_START, VISION_END, PAD = 190, 191, 192, 193, 0
VOCABULARY = 200
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO}


@dataclass(frozen=True)
class Prompt:
    """Token ids, and the tensors that a processor would add."""

    ids: list[int]
    extra: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """A model, and how many tokens and which tensors images are for it."""

    model: Any
    images: Callable[[int, torch.Generator], tuple[list[list[int]], dict[str, torch.Tensor]]]
    token_types: str | None = None
    bidirectional_text: bool = False


def prompt(family: Family, images: int, seed: int, words: int = 5) -> Prompt:
    """A prompt of random words with images among them."""
    random = torch.Generator().manual_seed(seed)

    def text() -> list[int]:
        return torch.randint(3, 180, (words,), generator=random).tolist()

    spans, extra = family.images(images, random) if images else ([], {})
    ids, types = text(), [0] * words
    for span in spans:
        ids += [*span, *(more := text())]
        types += [int(token == IMAGE) for token in span] + [0] * len(more)
    if family.token_types is not None:
        extra |= {family.token_types: torch.tensor([types])}
    if family.bidirectional_text:  # PaliGemma: 0 is the prefix that is read in both directions
        extra |= {"token_type_ids": torch.zeros(1, len(ids), dtype=torch.long)}
    return Prompt(ids, extra)


def square(tokens: int, size: int = 28, **more: Any) -> Any:
    """Images of one size, each `tokens` tokens."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(count, 3, size, size, generator=random)
        return [[IMAGE] * tokens] * count, {"pixel_values": pixels} | more

    return images


def grids(patch: int = 14, merge: int = 2, temporal: int = 2) -> Any:
    """Images of their own size, as Qwen's processors cut them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        grids = [(1, merge * (1 + number % 2), merge * (2 + number % 3)) for number in range(count)]
        patches = sum(height * width for _, height, width in grids)
        pixels = torch.randn(patches, 3 * temporal * patch * patch, generator=random)
        spans = [
            [VISION_START, *[IMAGE] * (height * width // merge**2), VISION_END] for _, height, width in grids
        ]
        return spans, {"pixel_values": pixels, "image_grid_thw": torch.tensor(grids)}

    return images


def sized(patch: int = 14, merge: int = 1) -> Any:
    """Images of their own size, padded to one, with their sizes, as Pixtral's processor gives them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        unit = patch * merge
        sizes = [(unit * (1 + number % 2), unit * (2 + number % 2)) for number in range(count)]
        pixels = torch.randn(count, 3, 2 * unit, 3 * unit, generator=random)
        spans = [[IMAGE] * (height * width // unit**2) for height, width in sizes]
        return spans, {"pixel_values": pixels, "image_sizes": torch.tensor(sizes)}

    return images


def tiled(tokens: int, tiles: int = 2) -> Any:
    """Images of several tiles in one tensor [1, tiles, 3, H, W], as Idefics' processors give them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(1, count * tiles, 3, 28, 28, generator=random)
        span = ([VISION_START] + [IMAGE] * tokens) * tiles + [VISION_END]
        mask = torch.ones(1, count * tiles, 28, 28, dtype=torch.long)
        return [span] * count, {"pixel_values": pixels, "pixel_attention_mask": mask}

    return images


def anyres() -> Any:
    """Images of three patches with newlines, as LLaVA-NeXT's processors give them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(count, 3, 3, 28, 28, generator=random)
        return [[IMAGE] * 14] * count, {
            "pixel_values": pixels,
            "image_sizes": torch.tensor([[28, 56]] * count),
        }

    return images


CLIP = VISION | {"model_type": "clip_vision_model", "projection_dim": 32}
SIGLIP = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
GEMMA_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
