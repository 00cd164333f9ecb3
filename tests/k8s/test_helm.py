"""Values for Helm, images and revisions."""

from pathlib import Path

import pytest

from k8s.clients.helm import Revision, Values, explain, find_chart, image_values, last_deployed, stuck
from k8s.errors import ClusterError, RefusedError, ToolError, UnreachableError, UsageError


@pytest.mark.parametrize(
    ("image", "values"),
    [
        ("v2", {"image.tag": "v2", "image.digest": ""}),
        (
            "localhost/capstan:e2e",
            {"image.repository": "localhost/capstan", "image.tag": "e2e", "image.digest": ""},
        ),
        (
            "host:5000/team/capstan:1.2",
            {"image.repository": "host:5000/team/capstan", "image.tag": "1.2", "image.digest": ""},
        ),
        (
            "team/capstan@sha256:ab",
            {"image.repository": "team/capstan", "image.digest": "sha256:ab", "image.tag": ""},
        ),
    ],
)
def test_image(image: str, values: dict[str, str]) -> None:
    """An image is a tag, repository:tag or repository@digest."""
    assert image_values(image) == values


@pytest.mark.parametrize("image", ["", "team/capstan", "host:5000/capstan", " v1", "a,b"])
def test_image_refused(image: str) -> None:
    """An image without a version, or with characters that Helm would split at, is refused."""
    with pytest.raises(UsageError, match="--image"):
        image_values(image)


def test_arguments() -> None:
    """Values become arguments of helm in the order in which later ones win."""
    values = Values((Path("a.yaml"),), ("x=1",), "v2", (("models.main.replicas", None),))
    assert values.arguments() == [
        "--values", "a.yaml", "--set", "x=1", "--set-string", "image.tag=v2", "--set-string", "image.digest=",
        "--set-json", "models.main.replicas=null",
    ]  # fmt: skip


def test_no_chart(tmp_path: Path) -> None:
    """A chart that is not there is an error that names the place."""
    with pytest.raises(UsageError, match="no chart at"):
        find_chart(tmp_path)


def revision(number: int, status: str) -> Revision:
    return Revision(number, status, "", "capstan-0.1.0", "")


def test_stuck_release() -> None:
    """A newest revision that is pending means that a helm process died; the last good one is known."""
    history = [revision(1, "superseded"), revision(2, "deployed"), revision(3, "pending-upgrade")]
    assert stuck(history)
    assert last_deployed(history) == 2


def test_first_install_stuck() -> None:
    """A first install that died has no revision to go back to."""
    assert last_deployed([revision(1, "pending-install")]) is None
    assert not stuck([])


SCHEMA = (
    "values don't meet the specifications of the schema(s) in the following chart(s):\ncapstan:\n"
    "- models.a: Additional property replcas is not allowed\n- models.b: bad\n"
)


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (
            'Kubernetes cluster unreachable: Get "https://h:1/version": dial tcp: connection refused',
            UnreachableError, "the API server does not answer (dial tcp: connection refused)",
        ),
        (
            "Kubernetes cluster unreachable: the server has asked for the client to provide credentials",
            ClusterError, "refused (401): log in again",
        ),
        (
            SCHEMA,
            UsageError, "chart: models.a: Additional property replcas is not allowed; models.b: bad",
        ),
        (
            SCHEMA.replace("bad", "Invalid type. Expected: number, given: string"),
            UsageError, "write it into a values file (-f)",
        ),
        (
            "execution error at (capstan/templates/rayservice.yaml:2:15): models.a has no node pool",
            UsageError, "the values do not fit the chart: models.a has no node pool",
        ),
        (
            'failed parsing --set data: key "models" has no value',
            UsageError, 'chart: failed parsing --set data: key "models" has no value',
        ),
        ('no matches for kind "RayService" in version', RefusedError, "KubeRay is not installed"),
        ("something else", ToolError, "something else"),
    ],
)  # fmt: skip
def test_complaints_of_helm(said: str, kind: type[Exception], sentence: str) -> None:
    """What helm complains of becomes the right error: a wrong value, an absent server, no operator."""
    found = explain(ToolError(f"helm upgrade failed (1): Error: {said}"))
    assert type(found) is kind
    assert sentence in str(found)
