"""The cache of image features."""

import torch

from service.engine.features import FeatureCache, ImageFeatures


def features(numbers: int) -> ImageFeatures:
    """Features of four bytes a number."""
    return ImageFeatures(torch.zeros(numbers), (1,))


def test_what_was_put_is_found() -> None:
    """Features are found under their key, and hits and misses are counted."""
    cache, kept = FeatureCache(100), features(5)
    cache.put("a", kept)
    assert cache.get("a") is kept
    assert cache.get("b") is None
    assert (cache.hits, cache.misses, cache.bytes) == (1, 1, 20)


def test_the_least_recently_used_go_first() -> None:
    """Beyond the budget the features that were not asked for longest are let go."""
    cache = FeatureCache(100)
    for key in "ab":
        cache.put(key, features(10))
    cache.get("a")
    cache.put("c", features(10))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert cache.bytes == 80


def test_features_over_the_budget_are_not_kept() -> None:
    """Features larger than the whole budget leave the others alone."""
    cache = FeatureCache(100)
    cache.put("a", features(10))
    cache.put("b", features(26))
    assert (cache.get("b"), cache.bytes) == (None, 40)


def test_putting_twice_counts_once() -> None:
    """The same key put again takes no more bytes."""
    cache = FeatureCache(100)
    cache.put("a", features(10))
    cache.put("a", features(10))
    assert cache.bytes == 40
