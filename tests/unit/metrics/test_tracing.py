"""Spans of requests, and the context that they take and give."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service.api.middleware.request_log import RequestLogMiddleware
from service.errors import ErrorCode
from service.metrics.record import Fetch
from service.metrics.registry import Metrics
from service.metrics.telemetry import Telemetry
from service.metrics.tracing import Tracer
from service.protocol.request import TRACE_HEADERS
from tests.unit.metrics.test_registry import ANSWER, record

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
INCOMING = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture(autouse=True)
def context() -> Iterator[None]:
    """Leave the context as it was: `Tracer.begin` puts the trace in it."""
    token = TRACE_HEADERS.set({})
    yield
    TRACE_HEADERS.reset(token)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Tracer]:
    """A tracer whose spans stay in memory."""
    made = Tracer(SimpleSpanProcessor(exporter))
    yield made
    made.close()


def trace(tracer: Tracer, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    """The trace of a request that has ended."""
    begun = tracer.begin("POST", "/caption", headers or {})
    tracer.end(begun, record(**changes))
    return begun


def spans(exporter: InMemorySpanExporter) -> tuple[list[ReadableSpan], ReadableSpan]:
    """The spans of the stages in order, and that of the request."""
    *stages, root = exporter.get_finished_spans()
    return stages, root


def test_each_stage_is_a_span_at_its_time(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The stages of an answer follow one another below the span of its request and end with the answer."""
    fetches = (Fetch(10.5, 0.25),)
    trace(tracer, start=10.0, body_seconds=0.5, fetches=fetches, completions=(ANSWER,), ended=(15.0,))
    stages, root = spans(exporter)
    begin = stages[0].start_time
    assert begin is not None
    found = [
        (one.name, ((one.start_time or 0) - begin) / 1e9, ((one.end_time or 0) - begin) / 1e9)
        for one in stages
    ]
    expected = [
        ("receive", 0.0, 0.5), ("fetch", 0.5, 0.75), ("queue", 1.0, 1.5), ("prepare", 1.5, 1.75),
        ("queue", 1.75, 2.0), ("prefill", 2.0, 3.0), ("decode", 3.0, 5.0),
    ]  # fmt: skip
    assert [name for name, _, _ in found] == [name for name, _, _ in expected]
    for (_, *times), (_, *wanted) in zip(found, expected, strict=True):
        assert times == pytest.approx(wanted, abs=0.001)
    assert {one.parent.span_id for one in stages if one.parent} == {root.context.span_id}


def test_a_request_joins_the_trace_of_its_client(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The span is below that of `traceparent`, and the response and further requests name it."""
    begun = trace(tracer, INCOMING)
    _, root = spans(exporter)
    assert root.parent is not None
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PARENT)
    own = f"00-{TRACE}-{root.context.span_id:016x}-01"
    assert begun.response_header == own
    assert TRACE_HEADERS.get()["traceparent"] == own


def test_an_unsampled_trace_has_no_spans(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """Where the client's trace is not sampled, nothing is exported."""
    trace(tracer, {"traceparent": f"00-{TRACE}-{PARENT}-00"}, completions=(ANSWER,), ended=(1.0,))
    assert exporter.get_finished_spans() == ()


def test_a_span_says_how_its_request_ended(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """A failure of the server is an error of the span, with its code; a client's mistake is not."""
    trace(tracer, status=503, code=ErrorCode.OVERLOADED)
    trace(tracer, status=400, code=ErrorCode.INVALID_IMAGE)
    failed, refused = exporter.get_finished_spans()
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "overloaded")
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.attributes is not None
    assert refused.attributes["capstan.code"] == "invalid_image"
    assert refused.attributes["http.route"] == "/caption"


def test_spans_reach_a_collector() -> None:
    """Spans are sent to a collector by OTLP/HTTP, and none is lost when the replica stops."""
    received = list[ExportTraceServiceRequest]()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tracer = Tracer.to(f"http://127.0.0.1:{server.server_port}/")
        trace(tracer, INCOMING, completions=(ANSWER,), ended=(1.0,))
        tracer.close()
        server.shutdown()
    groups = [group for one in received for group in one.resource_spans]
    found = [span for group in groups for scope in group.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in found} == {TRACE}
    assert [span.name for span in found][-1] == "POST /caption"
    resource = groups[0].resource.attributes
    assert {one.key: one.value.string_value for one in resource}["service.name"] == "capstan"


def test_a_response_names_its_span(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The middleware traces requests, sets `traceresponse`, and leaves probes alone."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("fine")(scope, receive, send)

    telemetry = Telemetry(Metrics("m"), tracer=tracer)
    client = TestClient(RequestLogMiddleware(app, model="m", id_header=True, telemetry=telemetry))
    header = client.post("/caption", headers=INCOMING).headers["traceresponse"]
    assert "traceresponse" not in client.get("/healthz").headers
    (root,) = [one for one in exporter.get_finished_spans() if one.name == "POST /caption"]
    assert header == f"00-{TRACE}-{root.context.span_id:016x}-01"
    assert "GET /healthz" not in [one.name for one in exporter.get_finished_spans()]


@pytest.mark.slow
def test_nothing_is_imported_while_tracing_is_off() -> None:
    """A replica without an endpoint does not import OpenTelemetry's SDK for its own sake."""
    program = (
        "import sys; from service.metrics.telemetry import Telemetry; from service.settings import Settings;"
        "Telemetry.from_settings(Settings());"
        "print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
