"""The cache of image features."""

import torch

from service.engine.features import FeatureCache


def features(numbers: int) -> torch.Tensor:
    """Features of four bytes a number."""
    return torch.arange(float(numbers))


def test_what_was_put_is_found() -> None:
    """Features are found under their key, and hits and misses are counted."""
    cache, kept = FeatureCache(100), features(5)
    cache.put("a", kept)
    found = cache.get("a")
    assert found is not None
    assert found.tolist() == kept.tolist()
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


def test_what_is_kept_is_a_copy() -> None:
    """Features that were a part of a batch do not keep the batch in memory."""
    cache, batch = FeatureCache(100), torch.zeros(1000)
    cache.put("a", batch[:5])
    found = cache.get("a")
    assert found is not None
    assert found.untyped_storage().nbytes() == 20


def test_a_peek_is_not_counted() -> None:
    """Looking again for what was missed counts as neither hit nor miss."""
    cache = FeatureCache(100)
    assert cache.peek("a") is None
    assert (cache.hits, cache.misses) == (0, 0)


def test_a_cleared_cache_holds_nothing() -> None:
    """Clearing gives all bytes back."""
    cache = FeatureCache(100)
    cache.put("a", features(10))
    cache.clear()
    assert (cache.get("a"), cache.bytes) == (None, 0)
