"""Fixtures of the rollout helper's tests."""

import pytest

from tests.k8s.site import Site
from tests.k8s.world import World


@pytest.fixture
def world() -> World:
    """A cluster with everything running, for a test to change."""
    return World()


@pytest.fixture
def site() -> Site:
    """A release in memory, with everything running."""
    return Site()
