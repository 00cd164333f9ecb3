"""What the routes of one replica share."""

from dataclasses import dataclass, field
from time import time

from fastapi import Request

from service.generation_defaults import GenerationDefaults
from service.media.fetch import Fetcher
from service.metrics.telemetry import Telemetry
from service.protocol.engine import ServingEngine
from service.settings import Settings


@dataclass
class Backend:
    """The engine, the fetcher of images by URL, and what requests are answered with by default.

    `telemetry` hears of each request at its end. `defaults` is replaced when Serve's `user_config` changes.
    """

    engine: ServingEngine
    settings: Settings
    defaults: GenerationDefaults
    fetcher: Fetcher
    telemetry: Telemetry
    started: int = field(default_factory=lambda: int(time()))


def backend_of(request: Request) -> Backend:
    """The backend of the application that serves this request."""
    backend = request.app.state.backend
    assert isinstance(backend, Backend)  # noqa: S101 - set by `create_application`
    return backend
