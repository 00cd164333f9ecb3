"""What the router counts."""

from prometheus_client.parser import text_string_to_metric_families

from service.router.metrics import DEFINITIONS, RouterMetrics
from tests.support.routing import Client, Model, routed
from tests.support.server import free_port
from tests.unit.router.test_forward import body, run


async def scraped(client: Client) -> dict[tuple[str, ...], float]:
    """The samples of a scrape but those of buckets: name, model, status and code, without the empty ones."""
    text = (await client.get("/metrics")).body.decode()
    return {
        (
            one.name,
            *(one.labels[label] for label in ("model", "status", "code") if one.labels.get(label)),
        ): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith(("_bucket", "_created"))
    }


@run
async def test_requests_are_counted_by_model_status_and_code() -> None:
    """An answer counts for its model, an unknown model for none, and a scrape is not a request."""
    async with routed({"a": Model(), "b": Model()}) as client:
        await client.post(body(model="a"))
        await client.post(body(model="c"))
        found = await scraped(client)
    assert found["capstan_router_requests_total", "a", "200"] == 1
    assert found["capstan_router_requests_total", "404", "model_not_found"] == 1
    assert found["capstan_router_request_seconds_count", "a"] == 1
    assert sum(value for (name, *_), value in found.items() if name == "capstan_router_requests_total") == 2


@run
async def test_connections_that_fail_are_counted() -> None:
    """A model that nothing listens for costs six connections and one request, none of which is left."""
    async with routed({"a": f"http://127.0.0.1:{free_port()}"}) as client:
        await client.post(body(model="a"))
        found = await scraped(client)
    assert found["capstan_router_failed_connections_total", "a"] == 6
    assert found["capstan_router_requests_total", "a", "503", "not_ready"] == 1
    assert found["capstan_router_requests_in_progress", "a"] == 0


@run
async def test_an_ingress_forwards_no_scrape() -> None:
    """A scrape that a proxy has forwarded gets what any unknown path gets."""
    async with routed({"a": Model()}) as client:
        assert (await client.get("/metrics", x_forwarded_for="10.0.0.1")).status == 404


def test_every_definition_is_exported() -> None:
    """The metrics are those that the documents list."""
    families = {family.name for family in RouterMetrics().registry.collect()}
    assert families == {one.name.removesuffix("_total") for one in DEFINITIONS}
