"""The notes that helm prints after an installation."""

from typing import Any

import pytest

from tests.chart.rendering import render

# `helm template` does not print the notes, but an extra manifest can include them.
MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  notes: {{ include "capstan.notes" . | toJson }}
"""


def notes(values: dict[str, Any]) -> str:
    """The notes for these values."""
    text: str = render(values | {"extraManifests": [MANIFEST]}).one("ConfigMap", "notes")["data"]["notes"]
    return text


def test_notes_warn_of_an_unused_pool() -> None:
    """A pool without a model is accepted without worker pods, and the notes name it."""
    values = {"models": {"a": {"nodePool": "gpu"}}, "nodePools": {"gpu": {}, "new": {}}}
    assert render(values).group("new")["maxReplicas"] == 0
    warning = 'Warning: nodePools.new runs no model. Set models.KEY.nodePool of a model to "new", or remove'
    assert warning in notes(values)
    assert "Warning" not in notes({})


HOST = "captions.example.com"


def route(parent: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return values of a route that is attached to a Gateway."""
    return {"route": {"enabled": True, "parentRefs": [parent], "hostnames": [HOST], **more}}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "curl -F image=@examples/images/shapes.png http://127.0.0.1:8000/caption"),
        ({"models": {"a": {"gpusPerReplica": 0}}, "nodePools": {"cpu": {"gpusPerNode": 0}}}, "8000/caption"),
        (
            {"ingress": {"enabled": True, "hosts": [HOST], "tlsSecret": "tls"}},
            f"curl -F image=@examples/images/shapes.png https://{HOST}/caption",
        ),
        (
            route({"name": "gw"}),
            f"curl -F image=@examples/images/shapes.png http://{HOST}/caption",
        ),
        (route({"name": "gw", "sectionName": "https"}), f"https://{HOST}/caption"),
        (route({"name": "gw", "port": 443}), f"https://{HOST}/caption"),
        (route({"name": "gw"}, tls=True), f"https://{HOST}/caption"),
    ],
    ids=["default", "named", "ingress", "route", "listener", "port", "said"],
)
def test_notes_give_the_curl_line(values: dict[str, Any], line: str) -> None:
    """The notes have a curl line for the chosen address."""
    assert line in notes(values)


def test_notes_count_models_and_pools() -> None:
    """The notes say what runs where, and show where the API key goes."""
    text = notes(
        {
            "models": {"a": {"autoscaling": {"maxReplicas": 2}}, "b": {"nodePool": "gpu"}},
            "nodePools": {"gpu": {}},
            "apiKeys": {"existingSecret": "keys"},
        }
    )
    assert "model a (embedded) at /a: 1 to 2 x 1 GPU on gpu" in text
    assert "pool gpu: 2 to 3 worker pods with 1 nvidia.com/gpu" in text
    assert "-H 'Authorization: Bearer KEY'" in text
