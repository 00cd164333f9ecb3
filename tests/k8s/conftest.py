"""Fixtures of the rollout helper's tests."""

import pytest

from tests.k8s.world import World


@pytest.fixture
def world() -> World:
    """A cluster with everything running, for a test to change."""
    return World()
