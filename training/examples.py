"""Draws the example images: `python -m training.examples examples/images`."""

import argparse
import json
from pathlib import Path

import numpy as np

from training.shapes import Scene, draw

# File name, width and height in pixels, content.
EXAMPLES: tuple[tuple[str, int, int, Scene], ...] = (
    ("shapes.png", 448, 224, Scene((("red", "circle"), ("blue", "square")), side_by_side=True)),
    ("stacked.png", 336, 336, Scene((("yellow", "triangle"), ("purple", "circle")), side_by_side=False)),
    ("wide.jpg", 400, 240, Scene((("green", "square"), ("white", "triangle")), side_by_side=True)),
    ("tall.jpg", 240, 400, Scene((("white", "circle"), ("red", "triangle")), side_by_side=False)),
)


def write(directory: Path) -> None:
    """Draw every example into `directory`, with their captions in captions.json."""
    directory.mkdir(parents=True, exist_ok=True)
    captions: dict[str, str] = {}
    for seed, (name, width, height, scene) in enumerate(EXAMPLES):
        image = draw(scene, np.random.default_rng(seed), width=width, height=height, smooth=True)
        image.save(directory / name, **({"quality": 90} if name.endswith("jpg") else {"optimize": True}))
        captions[name] = scene.caption
    (directory / "captions.json").write_text(json.dumps(captions, indent=2) + "\n")


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the images go")
    write(parser.parse_args().directory)


if __name__ == "__main__":
    main()
