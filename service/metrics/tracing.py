"""OpenTelemetry spans of requests, with W3C trace context in and out. Nothing is imported while it is off.

A request's own span starts with it; those of its stages are added when it has ended, from what is known then,
so tracing costs nothing in between.
"""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import service
from service.errors import StartupError
from service.metrics.record import RequestRecord
from service.protocol.request import TRACE_HEADERS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

PATH = "/v1/traces"  # Source: OTLP specification, "OTLP/HTTP Request"


class Trace:
    """The span of a request that is being served."""

    def __init__(self, span: "Span", headers: Mapping[str, str]) -> None:
        self.span = span
        self.headers = headers
        TRACE_HEADERS.set(headers)

    @property
    def response_header(self) -> str:
        """The value of `traceresponse`, for the client. Source: W3C Trace Context, level 2."""
        return self.headers.get("traceparent", "")


class Tracer:
    """Makes the spans of requests and hands them to a processor of OpenTelemetry's SDK."""

    def __init__(self, processor: "SpanProcessor") -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        own = Resource({"service.name": "capstan", "service.version": service.__version__})
        # Not the global one, which is Ray's.
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("capstan", service.__version__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> "Tracer":
        """A tracer that sends to an OTLP/HTTP endpoint. Raises StartupError without the extra `otel`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError:
            raise StartupError(
                "CAPSTAN_OTLP_ENDPOINT is set, but OpenTelemetry's exporter is not installed; "
                "install capstan-serve[otel]"
            ) from None
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH)))

    def begin(self, method: str, route: str, headers: Mapping[str, str]) -> Trace:
        """Start the span of a request, below that of its `traceparent` if it has one."""
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415

        parent = self._propagator.extract(headers)
        span = self._tracer.start_span(f"{method} {route}", context=parent, kind=SpanKind.SERVER)
        outgoing: dict[str, str] = {}
        self._propagator.inject(outgoing, context=set_span_in_context(span))
        return Trace(span, outgoing)

    def end(self, trace: Trace, record: RequestRecord) -> None:
        """Add the spans of the stages, and end that of the request."""
        from opentelemetry.trace import StatusCode, set_span_in_context  # noqa: PLC0415

        span = trace.span
        # Turns a moment of the monotonic clock into one of the wall clock.
        offset = time.time_ns() - time.monotonic_ns()
        if span.is_recording():
            below = set_span_in_context(span)
            for name, start, seconds in _stages(record):
                begin = offset + int(start * 1e9)
                stage = self._tracer.start_span(name, context=below, start_time=begin)
                stage.end(begin + int(seconds * 1e9))
            span.set_attributes(_attributes(record))
            if record.status >= 500:
                span.set_status(StatusCode.ERROR, record.outcome)
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _stages(record: RequestRecord) -> Iterator[tuple[str, float, float]]:
    """Name, start (``time.monotonic()``) and seconds of each stage."""
    if record.body_seconds:
        yield "receive", record.start, record.body_seconds
    for fetch in record.fetches:
        yield "fetch", fetch.start, fetch.seconds
    for completion, ended in zip(record.completions, record.ended, strict=True):
        timings = completion.timings
        stages = (
            ("queue", timings.queue),
            ("prepare", timings.preparation),
            ("queue", timings.ready),
            ("prefill", timings.prefill),
            ("decode", timings.decode),
        )
        start = ended - sum(seconds for _, seconds in stages)
        for name, seconds in stages:
            yield name, start, seconds
            start += seconds


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    """Names are OpenTelemetry's conventions where there are any."""
    usage = record.usage
    return {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "gen_ai.request.model": record.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "capstan.request_id": record.request_id,
        "capstan.key": record.key,
        "capstan.code": record.outcome,
        "capstan.images": record.images,
        "capstan.image_tiles": usage.image_tiles,
    }
