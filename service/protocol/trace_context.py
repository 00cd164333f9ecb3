"""The trace that the current request belongs to."""

from collections.abc import Mapping
from contextvars import ContextVar

# Headers for requests that are made for the current one to servers of ours; none while tracing is off.
# Source: W3C Trace Context, section 3.
TRACE_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("trace_headers", default={})  # noqa: B039 - never changed
