"""Serve configs."""

import pytest

from k8s.resources.rayservice import replica_bounds
from k8s.resources.serve import contains
from tests.k8s.objects import Json


@pytest.mark.parametrize(
    ("deployed", "wanted", "same"),
    [
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": None}, True),
        ({"a": "x"}, {"a": {"b": 1}}, False),
    ],
)
def test_config_taken(deployed: Json, wanted: Json, same: bool) -> None:
    """Serve has a config when it has all that the config says, whatever it adds."""
    assert contains(deployed, wanted) is same


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({"num_replicas": 3}, (3, 3)),
        ({}, (1, 1)),
        ({"num_replicas": "auto"}, (1, 100)),
        ({"autoscaling_config": {"min_replicas": 0, "max_replicas": 4}}, (0, 4)),
    ],
)
def test_replica_bounds(fields: Json, bounds: tuple[int, int]) -> None:
    """The replicas in a config are a number or bounds."""
    assert replica_bounds({"deployments": [{"name": "Model", **fields}]}) == {"Model": bounds}
