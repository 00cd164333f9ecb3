"""Measures a checkpoint on images that training never saw: `python -m training.evaluate DIRECTORY`."""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, InternVLForConditionalGeneration, PreTrainedTokenizerBase
from transformers.utils import logging

from service.media.tiles import tiles
from training.batches import SPEC, prompt_text
from training.prompts import PROMPTS
from training.shapes import draw, random_image, random_scene

# Training draws from the seeds near 1.
FIRST_SEED = 900_000
BATCH = 32
LONGEST_CAPTION = 24

Draw = Callable[[np.random.Generator], tuple[Image.Image, str]]


def plain(rng: np.random.Generator) -> tuple[Image.Image, str]:
    """112 x 112 pixels, hard edges, no compression."""
    scene = random_scene(rng)
    return draw(scene, rng), scene.caption


def large(rng: np.random.Generator) -> tuple[Image.Image, str]:
    """336 x 336 pixels with smooth edges, larger than any that training drew."""
    scene = random_scene(rng)
    return draw(scene, rng, width=336, height=336, smooth=True), scene.caption


SETS: dict[str, Draw] = {"112 x 112, plain": plain, "as trained on": random_image, "336 x 336, smooth": large}


class Captioner:
    """A checkpoint that captions images through transformers' own `generate`, in float32 on the CPU."""

    def __init__(self, directory: Path) -> None:
        self.model = InternVLForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, padding_side="left"
        )

    @torch.inference_mode()
    def caption(self, images: list[Image.Image], prompt: str = PROMPTS[0]) -> list[str]:
        """Caption a batch of RGB images."""
        cut = [tiles(image, SPEC) for image in images]  # each [T, 3, H, W]
        inputs = self.tokenizer(
            [prompt_text(prompt, len(one)) for one in cut], padding=True, return_tensors="pt"
        )
        ids = self.model.generate(  # type: ignore[misc]  # the mixin's protocol is narrower than the class
            **inputs, pixel_values=torch.from_numpy(np.concatenate(cut)), max_new_tokens=LONGEST_CAPTION
        )
        answers = ids[:, inputs["input_ids"].shape[1] :]  # [B, S]
        return self.tokenizer.batch_decode(answers, skip_special_tokens=True)


def accuracy(
    captioner: Captioner, drawing: Draw, *, count: int, seed: int, prompt: str = PROMPTS[0]
) -> float:
    """The share of `count` new images whose caption is right to the last character."""
    rng, right = np.random.default_rng(seed), 0
    for first in range(0, count, BATCH):
        samples = [drawing(rng) for _ in range(min(BATCH, count - first))]
        captions = captioner.caption([image for image, _ in samples], prompt)
        right += sum(found == truth for found, (_, truth) in zip(captions, samples, strict=True))
    return right / count


def confusions(captioner: Captioner, *, count: int, seed: int) -> Counter[tuple[str, str]]:
    """The words that were taken for others on plain images: (true word, word said)."""
    rng, found = np.random.default_rng(seed), Counter[tuple[str, str]]()
    for first in range(0, count, BATCH):
        samples = [plain(rng) for _ in range(min(BATCH, count - first))]
        captions = captioner.caption([image for image, _ in samples])
        for said, (_, truth) in zip(captions, samples, strict=True):
            pairs = zip(truth.split(), said.split(), strict=False)
            found.update(pair for pair in pairs if pair[0] != pair[1])
    return found


def main() -> None:
    """Print a table of accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="the checkpoint")
    parser.add_argument("--count", type=int, default=1000, help="images of each kind")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    captioner = Captioner(arguments.directory)
    print("| images | prompt | right |\n| --- | --- | --- |")
    for index, (name, drawing) in enumerate(SETS.items()):
        for prompt in PROMPTS[:2]:
            share = accuracy(
                captioner, drawing, count=arguments.count, seed=FIRST_SEED + index, prompt=prompt
            )
            print(f"| {name} | {prompt[:24]}... | {share:.1%} |", flush=True)
    for (truth, said), times in confusions(captioner, count=arguments.count, seed=FIRST_SEED).most_common(8):
        print(f"{truth} taken for {said}: {times}")


if __name__ == "__main__":
    main()
