"""`capstan deploy --compare` in a real cluster: no request reaches a new cluster before it is compared."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.load import IMAGE
from tests.e2e.site import Site, ground

VALUES = Path(__file__).parent / "rollout_values.yaml"
# The overloaded test machine starts and serves two clusters at once.
SLOW = ("--max-slowdown", "20")


@pytest.fixture(scope="module")
def site(address: str) -> Iterator[Site]:
    """A release made by `capstan deploy`."""
    with ground(address) as found:
        found.install("-f", str(VALUES))
        yield found


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A directory with the known image."""
    (tmp_path / "known.png").write_bytes(IMAGE)
    return str(tmp_path)


def test_failed_captions(site: Site, images: str) -> None:
    """A new cluster that refuses the image is rolled back before any request reaches it."""
    before = site.active()
    change = ["--set", "head.env.MARK=refuses", "--set", "models.shapes.settings.max_pixels=1000"]
    with site.load() as load:
        ended = site.run("deploy", *change, "--compare", images, *SLOW)
    assert ended.code == 4, ended.said
    assert "1 of 1 captions failed; the limit is 0 (--max-failed)" in ended.said
    assert load.failed == []
    assert site.clusters() == [before]
    assert list(site.serve()["applications"]) == ["shapes"]


def test_equal_captions(site: Site, images: str) -> None:
    """A new cluster with the same captions takes over without a failed request, and the hold is gone."""
    before = site.active()
    with site.load() as load:
        ended = site.run("deploy", "--set", "head.env.MARK=equal", "--compare", images, *SLOW)
    assert ended.code == 0, ended.said
    assert "shapes: 1 image: 1 equal, 0 changed, 0 failed" in ended.said
    assert load.failed == []
    assert site.active() != before
    assert site.clusters() == [site.active()]
    assert list(site.serve()["applications"]) == ["shapes"]
