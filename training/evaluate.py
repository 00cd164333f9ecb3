"""Evaluates a checkpoint on images that training never saw: `python -m training.evaluate DIRECTORY`."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import logging

from service.media.tiles import tile_count
from training.batches import SPEC
from training.captioner import Captioner
from training.prompts import PROMPTS
from training.shapes import draw, random_image, random_scene

# Training uses seeds near 1, its held-out images seeds near 500,000.
FIRST_SEED = 900_000
BATCH = 32
UNSEEN_PROMPT = "Kindly summarise this drawing for somebody who cannot see it."

Drawn = tuple[Image.Image, str]
Draw = Callable[[np.random.Generator], Drawn]


def sized(rng: np.random.Generator, *, width: int = 112, height: int = 112, smooth: bool = False) -> Drawn:
    """Draw an image of the given size, without compression."""
    scene = random_scene(rng)
    return draw(scene, rng, width=width, height=height, smooth=smooth), scene.caption


def of_tiles(rng: np.random.Generator, *, count: int) -> Drawn:
    """Draw an image like those of training that gives `count` tiles, including the thumbnail."""
    while True:
        image, caption = random_image(rng)
        if tile_count(*image.size, SPEC) == count:
            return image, caption


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a kind of image and its prompt."""

    name: str
    draw: Draw
    prompt: str = PROMPTS[0]


LARGE = ((336, 336), (448, 448), (448, 224), (224, 448))
# One tile, and four: image shapes that training rarely drew.
RARE = ((64, 64), (300, 100))
ROWS = (
    Row("112 x 112, hard edges, the service's prompt", sized),
    Row('112 x 112, hard edges, "Describe the image."', sized, PROMPTS[1]),
    Row("112 x 112, hard edges, a prompt never seen", sized, UNSEEN_PROMPT),
    Row("the training distribution", random_image),
    *(Row(f"of these, {count} tile{'s' * (count > 1)}", partial(of_tiles, count=count)) for count in (3, 5)),
    *(
        Row(f"{w} x {h}, smooth edges", partial(sized, width=w, height=h, smooth=True))
        for w, h in LARGE + RARE
    ),
)


def answers(captioner: Captioner, row: Row, *, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Return the true and the generated caption of each of `count` new images."""
    rng = np.random.default_rng(seed)
    for first in range(0, count, BATCH):
        drawn = [row.draw(rng) for _ in range(min(BATCH, count - first))]
        given = captioner.caption([image for image, _ in drawn], row.prompt)
        yield from zip((truth for _, truth in drawn), given, strict=True)


def accuracy(captioner: Captioner, row: Row, *, count: int, seed: int) -> float:
    """Return the share of `count` new images with an exactly correct caption."""
    return sum(truth == given for truth, given in answers(captioner, row, count=count, seed=seed)) / count


def confusions(pairs: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Count the wrong words: (true word, generated word)."""
    found = Counter[tuple[str, str]]()
    for truth, given in pairs:
        words = zip(truth.split(), given.split(), strict=False)
        found.update((right, said) for right, said in words if right != said)
    return found


def main() -> None:
    """Print a table of accuracies, then the confused words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="the checkpoint")
    parser.add_argument("--count", type=int, default=1000, help="images of each kind")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    captioner, all_pairs = Captioner(arguments.directory), list[tuple[str, str]]()
    print(f"| {arguments.count} new images each | right |\n| --- | --- |")
    for index, row in enumerate(ROWS):
        pairs = list(answers(captioner, row, count=arguments.count, seed=FIRST_SEED + index))
        all_pairs += pairs
        right = sum(truth == given for truth, given in pairs)
        print(f"| {row.name} | {right / len(pairs):.1%} |", flush=True)
    print(f"\nOf {len(all_pairs)} captions, words taken for others:")
    for (truth, given), times in confusions(all_pairs).most_common(12):
        print(f"{truth} -> {given}: {times}")


if __name__ == "__main__":
    main()
