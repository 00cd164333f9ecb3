"""Drawn images of two shapes and their captions."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (240, 220, 50),
    "purple": (150, 50, 190),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle")

# Smooth edges come from drawing this much larger and scaling down.
OVERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """Two shapes on gray. `side_by_side` places the first left of the second, else above it."""

    names: tuple[tuple[str, str], tuple[str, str]]
    side_by_side: bool

    @property
    def caption(self) -> str:
        """The caption of the scene."""
        (color_1, shape_1), (color_2, shape_2) = self.names
        return f"a {color_1} {shape_1} {'left of' if self.side_by_side else 'above'} a {color_2} {shape_2}"


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw one of the 648 scenes, all equally likely."""
    colors, pick = list(COLORS), rng.integers
    first = (colors[pick(len(COLORS))], SHAPES[pick(len(SHAPES))])
    second = (colors[pick(len(COLORS))], SHAPES[pick(len(SHAPES))])
    return Scene((first, second), bool(rng.random() < 0.5))


def draw(
    scene: Scene, rng: np.random.Generator, *, width: int = 112, height: int = 112, smooth: bool = False
) -> Image.Image:
    """Draw a scene with jittered position, size, color and background; RGB, `width` x `height` pixels."""
    factor = OVERSAMPLING if smooth else 1
    w, h = width * factor, height * factor
    gray = int(rng.integers(60, 110))
    image = Image.new("RGB", (w, h), (gray, gray, gray))
    pen = ImageDraw.Draw(image)
    cell_w, cell_h = (w / 2, h) if scene.side_by_side else (w, h / 2)
    for index, (color, shape) in enumerate(scene.names):
        radius = min(cell_w, cell_h) * rng.uniform(0.32, 0.45)
        jitter = rng.uniform(-0.02, 0.02, 2) * min(w, h)
        x = (index + 0.5) * cell_w if scene.side_by_side else w / 2
        y = h / 2 if scene.side_by_side else (index + 0.5) * cell_h
        fill = tuple(int(np.clip(v + rng.integers(-12, 13), 0, 255)) for v in COLORS[color])
        _draw_shape(pen, shape, float(x + jitter[0]), float(y + jitter[1]), float(radius), fill)
    return image.resize((width, height), Image.Resampling.BOX) if smooth else image


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, fill: tuple[int, ...]
) -> None:
    match shape:
        case "circle":
            pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)
        case "square":
            pen.rectangle([x - r * 0.88, y - r * 0.88, x + r * 0.88, y + r * 0.88], fill=fill)
        case _:
            pen.polygon([(x, y - r), (x - r, y + r * 0.85), (x + r, y + r * 0.85)], fill=fill)


def random_image(rng: np.random.Generator) -> tuple[Image.Image, str]:
    """An image of the training distribution and its caption.

    Half are 112 x 112; the others have sides of 84 to 320 pixels and aspect ratios up to 2, some with smooth
    edges, some with the marks of JPEG.
    """
    scene = random_scene(rng)
    width = height = 112
    if rng.random() < 0.5:
        side, ratio = rng.uniform(84, 240), 2 ** rng.uniform(-1, 1)
        width, height = (int(np.clip(v, 84, 320)) for v in (side * ratio**0.5, side / ratio**0.5))
    image = draw(scene, rng, width=width, height=height, smooth=bool(rng.random() < 0.3))
    if rng.random() < 0.15:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(60, 95)))
        image = Image.open(file).convert("RGB")
    return image, scene.caption
