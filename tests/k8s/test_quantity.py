"""Kubernetes quantities."""

import pytest

from k8s.resources.quantity import canonical, quantity, with_canonical_quantities


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (7, "7"),
        ("7", "7"),
        (0, "0"),
        ("0Gi", "0"),
        (0.5, "500m"),
        ("500m", "500m"),
        ("1000m", "1"),
        ("1.5", "1500m"),
        (1500, "1500"),
        ("2000", "2k"),
        ("28672Mi", "28Gi"),
        ("28Gi", "28Gi"),
        ("1.5Gi", "1536Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("0.1Gi", "107374182400m"),
        ("1073741824", "1073741824"),
        ("1Gi", "1Gi"),
        ("1e3", "1k"),
        ("0.1n", "1n"),
        ("8Ei", "8Ei"),
        ("-1500m", "-1500m"),
    ],
)
def test_canonical(text: str | float, stored: str) -> None:
    """A quantity gets the form in which the API server stores it."""
    assert canonical(text) == stored


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("4Gi", 2**32), (2, 2.0), ("3k", 3000.0)])
def test_quantity(text: str | float, number: float) -> None:
    """A quantity is read as a number."""
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "4 Gi", "four", "NaN", "inf", "4Q"])
def test_no_quantity(text: str) -> None:
    """What is no quantity is refused by its value."""
    with pytest.raises(ValueError, match=r"is not a Kubernetes quantity; write one such as"):
        canonical(text)


def test_objects() -> None:
    """In an object only quantities change, and what is none is left for the API server to refuse."""
    container = {"name": "1000m", "resources": {"limits": {"cpu": 1.0, "memory": "lots"}}}
    found = with_canonical_quantities([container, {"emptyDir": {"sizeLimit": "1024Mi"}}])
    assert found == [
        {"name": "1000m", "resources": {"limits": {"cpu": "1", "memory": "lots"}}},
        {"emptyDir": {"sizeLimit": "1Gi"}},
    ]
