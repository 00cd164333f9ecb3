"""The cache of image features: what is kept, decided in one process, and the pages, in another."""

import torch

from service.engine.features import FeatureShape, FeatureStore
from service.native.feature_directory import FeatureDirectory

SHAPE = FeatureShape(tiles=5, tokens=2, channels=4, dtype=torch.float32, device=torch.device("cpu"))
PAGE_BYTES = 100


def directory_of(pages: int, **images: int) -> FeatureDirectory:
    """A directory with images of so many tiles, whose features are ready."""
    directory = FeatureDirectory(pages, PAGE_BYTES)
    for key, tiles in images.items():
        keep(directory, key, tiles)
    return directory


def keep(directory: FeatureDirectory, key: str, tiles: int) -> bool:
    kept = directory.reserve(key, tiles)
    if kept is not None:
        kept.ready = True
    return kept is not None


def known(directory: FeatureDirectory, keys: str) -> str:
    return "".join(key for key in keys if directory.get(key) is not None)


def features(tiles: int, first: float = 0.0) -> torch.Tensor:
    """Features [N, H] of an image of so many tiles, all different."""
    size = tiles * SHAPE.tokens, SHAPE.channels
    return torch.arange(first, first + size[0] * size[1]).view(size)


def test_hits_and_misses_are_counted() -> None:
    """An image is found under its key in one page for each tile."""
    directory = directory_of(4, a=3)
    found = directory.get("a")
    assert found is not None
    assert len(set(found.pages)) == 3
    assert directory.get("b") is None
    assert (directory.hits, directory.misses, directory.bytes) == (1, 1, 3 * PAGE_BYTES)


def test_an_image_is_known_only_once_its_features_are_there() -> None:
    """Between the reservation and the computation an image is a miss, and gets the same pages again."""
    directory = FeatureDirectory(4, PAGE_BYTES)
    first = directory.reserve("a", 2)
    assert directory.get("a") is None
    assert directory.reserve("a", 2) is first


def test_the_least_recently_used_go_first() -> None:
    """Beyond the last page, the image that was not asked for longest goes."""
    directory = directory_of(5, a=2, b=2)
    directory.get("a")
    assert keep(directory, "c", 2)
    assert known(directory, "abc") == "ac"


def test_images_that_wait_are_not_dropped_for_one_more() -> None:
    """An image that does not fit next to those being computed is not kept, and costs them nothing."""
    directory = directory_of(4)
    waiting = [kept for key in "ab" if (kept := directory.reserve(key, 2)) is not None]
    assert directory.reserve("c", 2) is None
    directory.settle(waiting, computed=True)
    assert known(directory, "abc") == "ab"


def test_an_image_that_was_not_computed_frees_its_pages() -> None:
    """What was reserved for an answer that failed or was cancelled can be used again."""
    directory = directory_of(2)
    waiting = [kept for key in "a" if (kept := directory.reserve(key, 2)) is not None]
    del kept
    directory.settle(waiting, computed=False)
    assert (waiting, directory.bytes) == ([], 0)
    assert keep(directory, "b", 2)


def test_an_image_of_too_many_tiles_is_not_kept() -> None:
    """An image larger than the whole cache leaves the others alone."""
    directory = directory_of(3, a=2)
    assert not keep(directory, "b", 4)
    assert known(directory, "ab") == "a"


def test_pages_that_an_answer_refers_to_are_not_reused() -> None:
    """Pages of an image that was dropped are free only once no answer is to be computed from them."""
    directory = directory_of(2, a=2)
    held = directory.get("a")
    assert held is not None
    assert not keep(directory, "b", 2)
    assert known(directory, "ab") == ""
    del held
    assert keep(directory, "b", 2)


def test_a_cache_without_pages_keeps_nothing() -> None:
    """With no memory for a single tile, every image is a miss."""
    assert not keep(directory_of(0), "a", 1)


def test_features_are_read_as_they_were_written() -> None:
    """Features come back in their own order, whichever pages they have."""
    store = FeatureStore(SHAPE, 1)
    store.write("a", (4, 0, 2), features(3))
    store.write("b", (1, 3), features(2, first=50.0))
    assert store.read((4, 0, 2)).tolist() == features(3).tolist()
    assert store.read((1, 3)).tolist() == features(2, first=50.0).tolist()


def test_a_store_knows_what_its_pages_hold() -> None:
    """Pages hold an image until one of them is written for another, and only in its order."""
    store = FeatureStore(SHAPE, 1)
    assert not store.holds("a", (0, 1))
    store.write("a", (0, 1), features(2))
    assert store.holds("a", (0, 1))
    assert not store.holds("a", (1, 0))
    store.write("b", (1, 2), features(2))
    assert not store.holds("a", (0, 1))


def test_a_store_has_pages_for_images_of_the_most_tiles() -> None:
    """A store is as large as so many images of the most tiles; without a shape it has no pages."""
    assert FeatureStore(SHAPE, 3).pages == 15
    assert FeatureStore(None, 3).pages == 0
