"""The cache of image features: pages of one tensor, a page for each tile."""

import torch

from service.engine.features import FeatureCache, FeatureShape

CPU = torch.device("cpu")
SHAPE = FeatureShape(tiles=1, tokens=2, channels=4, dtype=torch.float32, device=CPU)


def cache_of(tiles: int) -> FeatureCache:
    """A cache of so many images of one tile each."""
    cache = FeatureCache(tiles)
    cache.allocate(SHAPE)
    return cache


def features(tiles: int, first: float = 0.0) -> torch.Tensor:
    """Features [N, H] of an image of so many tiles, all different."""
    size = tiles * SHAPE.tokens, SHAPE.channels
    return torch.arange(first, first + size[0] * size[1]).view(size)


def test_what_was_put_is_found() -> None:
    """Features are found under their key, and hits and misses are counted."""
    cache, put = cache_of(4), features(3)
    cache.put("a", put)
    found = cache.get("a")
    assert found is not None
    assert found.tiles == 3
    assert cache.read(found).tolist() == put.tolist()
    assert cache.get("b") is None
    assert (cache.hits, cache.misses, cache.bytes) == (1, 1, put.nbytes)


def test_the_least_recently_used_go_first() -> None:
    """Beyond the budget the features that were not asked for longest are let go."""
    cache = cache_of(5)
    for key in "ab":
        cache.put(key, features(2))
    cache.get("a")
    cache.put("c", features(2))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert cache.bytes == 4 * SHAPE.tile_bytes


def test_pages_are_used_again_wherever_they_lie() -> None:
    """An image takes the pages that several smaller ones left, and is read in its own order."""
    cache = cache_of(5)
    for number, key in enumerate("abcde"):
        cache.put(key, features(1, first=100.0 * number))
    for key in "bd":
        cache.get(key)
    cache.put("f", features(3, first=1000.0))
    found = cache.get("f")
    assert found is not None
    assert cache.read(found).tolist() == features(3, first=1000.0).tolist()
    cached = cache.get("b")
    assert cached is not None
    assert cache.read(cached).tolist() == features(1, first=100.0).tolist()


def test_features_over_the_budget_are_not_kept() -> None:
    """Features larger than the whole budget leave the others alone."""
    cache = cache_of(3)
    cache.put("a", features(2))
    cache.put("b", features(4))
    assert (cache.get("b"), cache.bytes) == (None, 2 * SHAPE.tile_bytes)


def test_putting_twice_counts_once() -> None:
    """The same key put again takes no more bytes."""
    cache = cache_of(5)
    cache.put("a", features(2))
    cache.put("a", features(2))
    assert cache.bytes == 2 * SHAPE.tile_bytes


def test_what_somebody_holds_is_not_overwritten() -> None:
    """Features that were let go of stay what they are until no sequence holds them."""
    cache = cache_of(2)
    cache.put("a", features(2))
    held = cache.get("a")
    assert held is not None
    cache.put("b", features(2, first=50.0))
    assert cache.read(held).tolist() == features(2).tolist()
    assert (cache.peek("a"), cache.peek("b")) == (None, None)
    del held
    cache.put("b", features(2, first=50.0))
    assert cache.peek("b") is not None


def test_the_memory_is_taken_at_once() -> None:
    """The cache takes all its memory in the beginning and never more."""
    cache = cache_of(3)
    assert cache.capacity_bytes == 3 * SHAPE.tile_bytes
    for key in range(10):
        cache.put(key, features(1))
    assert cache.bytes == cache.capacity_bytes == 3 * SHAPE.tile_bytes


def test_the_size_is_a_number_of_the_largest_images() -> None:
    """Images of the most tiles fit as often as the cache is large, whatever a tile of the model takes."""
    for tokens in (1, 256):
        shape = FeatureShape(tiles=13, tokens=tokens, channels=8, dtype=torch.float32, device=CPU)
        cache = FeatureCache(4)
        cache.allocate(shape)
        for key in range(6):
            cache.put(key, torch.zeros(13 * tokens, 8))
        assert [cache.get(key) is not None for key in range(6)] == [False] * 2 + [True] * 4


def test_a_peek_is_not_counted() -> None:
    """Looking again for what was missed counts as neither hit nor miss."""
    cache = cache_of(1)
    assert cache.peek("a") is None
    assert (cache.hits, cache.misses) == (0, 0)


def test_a_cleared_cache_holds_nothing() -> None:
    """Clearing gives all bytes back."""
    cache = cache_of(2)
    cache.put("a", features(1))
    cache.clear()
    assert (cache.get("a"), cache.bytes) == (None, 0)


def test_a_cache_of_no_images_holds_nothing() -> None:
    """A cache of 0 images, and one that was never allocated, hold nothing."""
    for cache in (cache_of(0), FeatureCache(10)):
        cache.put("a", features(1))
        assert (cache.get("a"), cache.bytes) == (None, 0)
