"""Training samples: images cut into tiles, prompts and captions as padded token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast

from service.engine.runner.pixels import Normaliser, pixels
from service.media.tiles import TileSpec, cut
from training.checkpoint import MAX_TILES, MEAN, STD, TILE, TOKENS_PER_TILE
from training.prompts import random_prompt
from training.shapes import random_image

SPEC = TileSpec(size=TILE, max_tiles=MAX_TILES, min_tiles=1, thumbnail=True, mean=MEAN, std=STD)
IGNORED = -100  # the loss ignores this label


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: `ids`, `mask` and `labels` [B, S], and the tiles of all images [T, 3, H, W]."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    pixels: torch.Tensor


def prompt_text(prompt: str, image_tiles: int) -> str:
    """Render the conversation up to the answer, with one token for each image feature."""
    image = "<img>" + "<IMG_CONTEXT>" * (TOKENS_PER_TILE * image_tiles) + "</img>"
    return f"<|im_start|>user\n{image}\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


class Batches(IterableDataset[Batch]):
    """Yield endless batches of `size` samples; the same seed gives the same batches."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, size: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield _collate(self.tokenizer, [_sample(self.tokenizer, rng) for _ in range(self.size)])


def in_background(batches: Batches) -> DataLoader[Batch]:
    """Yield the same batches, drawn by another process while the model trains."""
    return DataLoader(
        batches, batch_size=None, num_workers=1, prefetch_factor=4, multiprocessing_context="spawn"
    )


def seen(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Convert the tiles of each image, uint8 [T, H, W, 3], to model input, float32 [T, 3, H, W]."""
    device = torch.device("cpu")
    return pixels(images, Normaliser.of(SPEC, device), device)


def _sample(
    tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator
) -> tuple[list[int], list[int], np.ndarray]:
    image, caption = random_image(rng)
    tiles = cut(image, SPEC)  # [T, H, W, 3]
    question = tokenizer.encode(prompt_text(random_prompt(rng), len(tiles)))
    return question, [*tokenizer.encode(caption), tokenizer.eos_token_id], tiles


def _collate(
    tokenizer: PreTrainedTokenizerFast, samples: list[tuple[list[int], list[int], np.ndarray]]
) -> Batch:
    longest = max(len(question) + len(answer) for question, answer, _ in samples)
    ids = torch.full((len(samples), longest), tokenizer.pad_token_id)
    mask = torch.zeros((len(samples), longest), dtype=torch.long)
    labels = torch.full((len(samples), longest), IGNORED)
    for row, (question, answer, _) in enumerate(samples):
        end = len(question) + len(answer)
        ids[row, :end] = torch.tensor(question + answer)
        mask[row, :end] = 1
        labels[row, len(question) : end] = torch.tensor(answer)
    return Batch(ids, mask, labels, seen([tiles for *_, tiles in samples]))
