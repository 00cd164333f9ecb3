"""Captions from outside the cluster."""

import json

import httpx
import pytest

from tests.e2e.release import ROOT, Release

IMAGES = ROOT / "examples" / "images"
CAPTIONS: dict[str, str] = json.loads((IMAGES / "captions.json").read_text())


@pytest.mark.parametrize("path", ["/caption", "/other/caption"])
def test_both_models_caption_through_ingress_and_route(entrance: httpx.Client, path: str) -> None:
    """Each model answers under its own path, through the Ingress and through the HTTPRoute."""
    found = {}
    for name in CAPTIONS:
        response = entrance.post(path, files={"image": (IMAGES / name).read_bytes()})
        assert response.status_code == 200, response.text
        found[name] = response.json()["caption"]
    assert found == CAPTIONS


def test_each_path_names_its_model(client: httpx.Client) -> None:
    """/v1/models under a model's path lists that model alone; at the root, the router lists all."""
    listed = [client.get(prefix + "/v1/models").json()["data"] for prefix in ("", "/other")]
    assert [[card["id"] for card in cards] for cards in listed] == [["other", "shapes"], ["other"]]


def test_helm_test_passes(release: Release) -> None:
    """The chart's own test captions an image through the Service."""
    assert "Succeeded" in release.test()
