"""Captions of the embedded model, over HTTP, as `make serve` serves them."""

import asyncio
import base64
import io
import json
from collections import Counter

import httpx
import numpy as np
import pytest

from tests.support.server import ROOT
from training.shapes import draw, random_scene

pytestmark = pytest.mark.service

EXAMPLES = ROOT / "examples" / "images"
CAPTIONS: dict[str, str] = json.loads((EXAMPLES / "captions.json").read_text())

# Seeds that training never used.
SEEDS = {1: 70_001, 16: 70_016}
IMAGES = 400
LEAST_ACCURACY = 0.97


def drawn(count: int, seed: int) -> list[tuple[str, str]]:
    """Base64 PNG files of 112 x 112 pixels with their true captions."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        scene, file = random_scene(rng), io.BytesIO()
        draw(scene, rng).save(file, "PNG")
        found.append((base64.b64encode(file.getvalue()).decode(), scene.caption))
    return found


async def caption_all(address: str, images: list[tuple[str, str]], clients: int) -> Counter[str]:
    """Caption images with some clients at once; count what is right, wrong and refused."""
    outcomes: Counter[str] = Counter()
    waiting = iter(images)
    async with httpx.AsyncClient(base_url=address, timeout=30) as http:

        async def client() -> None:
            for image, truth in waiting:
                response = await http.post("/caption", json={"image": image, "max_tokens": 24})
                if response.status_code != 200:
                    outcomes["error"] += 1
                else:
                    outcomes["right" if response.json()["caption"] == truth else "wrong"] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    return outcomes


@pytest.mark.parametrize(("name", "caption"), CAPTIONS.items())
def test_example_images_get_their_caption(client: httpx.Client, name: str, caption: str) -> None:
    """Every example image, sent as a form, gets the caption in captions.json."""
    response = client.post("/caption", files={"image": (EXAMPLES / name).read_bytes()})
    assert response.status_code == 200
    assert response.json()["caption"] == caption


@pytest.mark.parametrize("clients", SEEDS)
def test_new_images_are_captioned_right(address: str, clients: int) -> None:
    """At least 97 % of 400 images that training never saw get their caption, and none an error."""
    outcomes = asyncio.run(caption_all(address, drawn(IMAGES, SEEDS[clients]), clients))
    assert outcomes["error"] == 0
    assert outcomes["right"] >= LEAST_ACCURACY * IMAGES, outcomes


def test_an_image_on_the_server_is_found_by_its_path(client: httpx.Client) -> None:
    """image_path names a file below an open root."""
    name, caption = next(iter(CAPTIONS.items()))
    assert client.post("/caption", json={"image_path": name}).json()["caption"] == caption


def test_a_path_outside_is_forbidden(client: httpx.Client) -> None:
    """image_path may not leave the open roots."""
    response = client.post("/caption", json={"image_path": "../../README.md"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "image_path_forbidden")
