"""What helm says after an installation."""

from typing import Any

import pytest

from tests.chart.rendering import render

# `helm template` leaves the notes out; in a manifest of one's own they are rendered like everything.
MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  said: {{ include "capstan.notes" . | toJson }}
"""


def notes(values: dict[str, Any]) -> str:
    """The notes that these values give."""
    said: str = render(values | {"extraManifests": [MANIFEST]}).one("ConfigMap", "notes")["data"]["said"]
    return said


HOST = "captions.example.com"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "curl -F image=@examples/images/shapes.png http://127.0.0.1:8000/caption"),
        ({"models": {"a": {"gpusPerReplica": 0}}, "nodePools": {"cpu": {"gpusPerNode": 0}}}, "8000/caption"),
        (
            {"ingress": {"enabled": True, "host": HOST, "tlsSecret": "tls"}},
            f"curl -F image=@examples/images/shapes.png https://{HOST}/caption",
        ),
        (
            {"route": {"enabled": True, "parentRefs": [{"name": "gw"}], "hostnames": [HOST]}},
            f"curl -F image=@examples/images/shapes.png http://{HOST}/caption",
        ),
    ],
    ids=["default", "named", "ingress", "route"],
)
def test_notes_give_the_curl_line(values: dict[str, Any], line: str) -> None:
    """The notes end with a curl line for the way in that was chosen."""
    assert line in notes(values)


def test_notes_count_models_and_pools() -> None:
    """The notes say what runs where, and ask for a key where one is needed."""
    said = notes(
        {
            "models": {"a": {"autoscaling": {"maxReplicas": 2}}, "b": {"nodePool": "gpu"}},
            "nodePools": {"gpu": {}},
            "apiKeys": {"existingSecret": "keys"},
        }
    )
    assert "model a (embedded) at /a: 1 to 2 x 1 GPU on gpu" in said
    assert "pool gpu: 2 to 3 worker pods with 1 nvidia.com/gpu" in said
    assert "-H 'Authorization: Bearer KEY'" in said
