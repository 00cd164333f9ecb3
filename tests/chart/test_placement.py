"""Ray can place whatever the chart accepts."""

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.chart.placement import GIB, Pool, Replica, Worker
from tests.chart.rendering import Object, render

SPREAD = {"head": {"env": {"RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY": "0"}}}
POOLS = 8


def replica(model: Object) -> Replica:
    """Return what one replica of a model reserves."""
    memory = float(model["resources"].get("memory", "0Gi").removesuffix("Gi"))
    return Replica(model["gpusPerReplica"], model["resources"]["cpu"], memory * GIB)


def workers(pool: Object, count: int) -> Pool:
    """Return a pool of empty worker pods."""
    requests = pool["resources"]["requests"]
    memory = float(requests["memory"].removesuffix("Gi")) * GIB
    return Pool([Worker([1.0] * pool["gpusPerNode"], requests["cpu"], memory) for _ in range(count)])


@st.composite
def pools(draw: st.DrawFn) -> tuple[Object, list[Object]]:
    """A pool and up to three models that fit its nodes."""
    gpus = draw(st.sampled_from([0, 1, 2, 4, 8]))
    cpus = draw(st.sampled_from([2, 4, 8, 16]))
    memory = draw(st.sampled_from([8, 32]))
    sizes = [g for g in (0, 0.25, 0.3, 0.5, 0.6, 1, 2, 3, 4, 8) if g <= gpus]
    models = [
        {
            "gpusPerReplica": draw(st.sampled_from(sizes)),
            "replicas": draw(st.integers(1, 8)),
            "resources": {
                "cpu": draw(st.sampled_from([c for c in (0.25, 0.5, 1, 2, 3) if c <= cpus])),
                "memory": draw(st.sampled_from(["1Gi", "2Gi", "6Gi"])),
            },
        }
        for _ in range(draw(st.integers(1, 3)))
    ]
    resources = {"requests": {"cpu": cpus, "memory": f"{memory}Gi"}}
    return {"gpusPerNode": gpus, "resources": resources}, models


def rendered(drawn: list[tuple[Object, list[Object]]], more: Object) -> list[tuple[Pool, list[Replica]]]:
    """Render all pools at once. Returns each with as many workers as the chart counts, and its replicas."""
    values: dict[str, Any] = {"models": {}, "nodePools": {}, **more}
    for number, (pool, models) in enumerate(drawn):
        values["nodePools"][f"p{number}"] = pool
        for index, model in enumerate(models):
            values["models"][f"m{number}-{index}"] = {**model, "nodePool": f"p{number}"}
    result = render(values)
    return [
        (
            workers(pool, result.group(f"p{number}")["maxReplicas"]),
            [replica(model) for model in models for _ in range(model["replicas"])],
        )
        for number, (pool, models) in enumerate(drawn)
    ]


# Shrinking a failure would render the chart for many minutes.
RENDERS = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@RENDERS
@given(st.lists(pools(), min_size=POOLS, max_size=POOLS), st.data())
def test_ray_places_what_the_chart_accepts(
    drawn: list[tuple[Object, list[Object]]], data: st.DataObject
) -> None:
    """Whatever the order and the batches in which replicas start, Serve packs all of them."""
    for pool, replicas in rendered(drawn, {}):
        order = data.draw(st.permutations(replicas))
        while order:
            size = data.draw(st.integers(1, len(order)))
            assert pool.pack(order[:size])
            order = order[size:]


@RENDERS
@given(st.lists(pools(), min_size=POOLS, max_size=POOLS), st.data())
def test_counts_without_packing_hold_for_any_placement(
    drawn: list[tuple[Object, list[Object]]], data: st.DataObject
) -> None:
    """Where the head turns packing off, all replicas are placed even if each takes any pod that fits."""
    for pool, replicas in rendered(drawn, SPREAD):
        order = data.draw(st.permutations(replicas))
        assert pool.scatter(order, data.draw(st.integers(0, 1000)))


@pytest.mark.parametrize(
    ("gpus", "models", "count"),
    [
        (1, [(0.5, 2), (1, 1)], 2),
        (4, [(2, 2), (4, 1)], 2),
        (4, [(1, 4), (2, 2), (4, 1)], 3),
        (2, [(0.5, 3)], 1),
    ],
)
def test_nested_sizes_need_no_spare_pod(gpus: int, models: list[tuple[float, int]], count: int) -> None:
    """Replicas whose sizes nest need only the pods that they fill, because Serve packs."""
    values = {
        "models": {
            f"m{n}": {"gpusPerReplica": size, "replicas": replicas, "resources": {"cpu": 0.5}}
            for n, (size, replicas) in enumerate(models)
        },
        "nodePools": {"gpu": {"gpusPerNode": gpus}},
    }
    result = render(values)
    assert result.group("gpu")["replicas"] == count
    environment = {e["name"]: e.get("value") for e in result.head["containers"][0]["env"]}
    assert environment["RAY_SERVE_USE_PACK_SCHEDULING_STRATEGY"] == "1"


@pytest.mark.parametrize(
    ("more", "count"),
    [(SPREAD, 3), ({}, 2)],
    ids=["spread", "pack"],
)
def test_spreading_needs_a_spare_pod(more: Object, count: int) -> None:
    """Where Serve spreads, two halves of a GPU may sit on two pods and leave none for a whole one."""
    models = {"a": {"gpusPerReplica": 0.5, "replicas": 2}, "b": {"gpusPerReplica": 1}}
    values = {"models": models, "nodePools": {"gpu": {"gpusPerNode": 1}}, **more}
    assert render(values).group("gpu")["replicas"] == count


def test_a_placement_group_that_is_not_strict_turns_packing_off() -> None:
    """Serve does not pack next to a placement group that is not STRICT_PACK, so the count has a spare pod."""
    group = {"deployment": {"placement_group_bundles": [{"CPU": 1, "GPU": 1}]}}
    models = {"a": {"gpusPerReplica": 0.5, "replicas": 2}, "b": {"gpusPerReplica": 1, "serveConfig": group}}
    values = {"models": models, "nodePools": {"gpu": {"gpusPerNode": 1}}}
    assert render(values).group("gpu")["replicas"] == 3
    group["deployment"]["placement_group_strategy"] = "STRICT_PACK"  # type: ignore[assignment]
    assert render(values).group("gpu")["replicas"] == 2


@pytest.mark.parametrize("sizes", [(0.5, 1, 4), (0.3, 1, 3)], ids=["nested", "not nested"])
def test_large_pools_render_fast(sizes: tuple[float, ...]) -> None:
    """Three models of 512 replicas render in under two seconds."""
    models = {f"m{n}": {"gpusPerReplica": size, "replicas": 512} for n, size in enumerate(sizes)}
    start = time.perf_counter()
    assert render({"models": models, "nodePools": {"gpu": {"gpusPerNode": 8}}})
    assert time.perf_counter() - start < 2
