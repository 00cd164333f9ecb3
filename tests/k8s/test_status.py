"""What `capstan status`, `history` and `logs` show."""

import json

import pytest

from k8s.commands.session import Display
from k8s.commands.status import (
    ModelStatus,
    ReleaseStatus,
    model_rows,
    model_statuses,
    versions,
)
from k8s.resources.pod import Image, short_digest
from k8s.resources.rayservice import serve_applications
from tests.k8s.objects import recorded, service
from tests.k8s.test_watch import World

DIGEST = "sha256:cca3281fbbf9d90bc06fbafc1d04d6d3286dd2fb105f82353c850d6b95dfd58a"


def status(rate: float | None = 2.5) -> ReleaseStatus:
    """The status of the recorded release."""
    seen = World().snapshot()
    return ReleaseStatus(
        release="capstan",
        namespace="captions",
        ready=True,
        active="capstan-abc12",
        pending="",
        revision=3,
        chart="capstan-0.1.0",
        versions=versions(service(), recorded("clusters")),
        images=(Image("localhost/capstan:1", DIGEST), Image("proxy:2", "")),
        models=tuple(model_statuses(seen, serve_applications(service()), {"shapes": rate})),
        pods=seen.pods,
        gpus={"nvidia.com/gpu": (2, 4)},
        events=(),
    )


def test_head_of_the_status() -> None:
    """The head names the release, its versions, its nodes and the GPUs that are free."""
    lines = status().lines()
    assert lines[0] == "release capstan in namespace captions: serves"
    assert "  Ray 2.60.0, KubeRay v1.7.0" in lines
    assert "  nvidia.com/gpu: 2 free of 4" in lines
    assert "  image localhost/capstan:1 (sha256:cca3281fbbf9)" in lines
    assert any(line.strip().startswith(f"{len(status().nodes)} node") for line in lines)


@pytest.mark.parametrize(("rate", "shown"), [(2.5, "2.5"), (0.0, "0.0"), (None, "-")])
def test_requests_in_the_table(rate: float | None, shown: str) -> None:
    """A model's requests a second have a column, with `-` where they are not known, and null in JSON."""
    found = status(rate)
    assert model_rows(found.models)[0][5] == shown
    assert found.value()["models"][0]["requests_per_second"] == rate


def test_missing_model_has_no_rate() -> None:
    """A model that Serve does not know yet has no requests a second."""
    assert model_rows([ModelStatus("new", "NOT_STARTED", 0, 1, 1, 1)])[0][5] == "-"


@pytest.mark.parametrize(
    ("image", "short"),
    [
        (DIGEST, "sha256:cca3281fbbf9"),
        (f"ghcr.example/capstan@{DIGEST}", "sha256:cca3281fbbf9"),
        ("capstan:1", "capstan:1"),
    ],
)
def test_short_digests(image: str, short: str) -> None:
    """A digest is cut to what tells it from others."""
    assert short_digest(image) == short


def test_image_not_pulled_yet() -> None:
    """An image that is not pulled yet stands without a digest, and JSON has every digest whole."""
    assert "  image proxy:2" in status().lines()
    assert list(map(dict, status().value()["images"])) == [
        {"name": "localhost/capstan:1", "digest": DIGEST},
        {"name": "proxy:2", "digest": ""},
    ]


def test_unknown_versions() -> None:
    """A release without a cluster has no versions."""
    assert versions(None, []) == {"ray": "", "kuberay": ""}


def test_json_of_many(capsys: pytest.CaptureFixture[str]) -> None:
    """Where more is to follow, each JSON value is a line of its own."""
    display = Display(as_json=True)
    display.result({"line": "a"}, more=True)
    display.result({"line": "b"}, more=True)
    assert [json.loads(line)["line"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]
