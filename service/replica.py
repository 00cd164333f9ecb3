"""One replica: checkpoint, engine and HTTP API in one process."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter

from fastapi import FastAPI

from service.api.application import create_application
from service.api.auth.middleware import Authenticator
from service.api.backend import Backend
from service.api.bodies.images import image_limits
from service.external.start import external_engine
from service.generation_defaults import GenerationDefaults
from service.media.decode import ImageDecoder, LocalDecoder
from service.media.fetch import Fetcher, FetchOptions
from service.media.sandbox.pool import DecodePool
from service.media.sandbox.worker import Bounds
from service.media.url_policy import HostRule, UrlRules
from service.metrics.phases import Phases
from service.metrics.telemetry import Telemetry
from service.native.start import native_engine
from service.protocol.engine import ServingEngine
from service.settings import Settings

logger = logging.getLogger("capstan.replica")

# For an engine whose replica does not get ready.
CLOSE_SECONDS = 10.0


class Replica:
    """A loaded model that answers HTTP. All it needs from Ray are the number of GPUs and of replicas."""

    def __init__(self, settings: Settings, *, gpus: int, replicas: Callable[[], int]) -> None:
        start = perf_counter()
        # First, because loading a model may take minutes, and a mistake in the keys file should show before.
        self.authenticator = Authenticator.from_settings(settings, replicas=replicas)
        self.settings = settings
        with ExitStack() as undo:
            # Its processes start up while the model loads.
            self.pool = _decode_pool(settings)
            if self.pool:
                undo.callback(self.pool.close)
            phases = Phases()
            self.engine = _engine(settings, gpus, self.pool or LocalDecoder(image_limits(settings)))
            phases.end("checkpoint")
            undo.callback(self.engine.close, CLOSE_SECONDS)
            self.engine.start()
            phases.end("warm_up")
            if self.pool:
                self.pool.wait_until_ready()
                phases.end("decoders")
            undo.pop_all()
        self.fetcher = Fetcher(_fetch_options(settings))
        self.telemetry = Telemetry.from_settings(settings)
        self.telemetry.metrics.watch(self.engine, load_seconds=phases.seconds)
        self.backend = Backend(
            self.engine, settings, settings.generation_defaults, self.fetcher, self.telemetry
        )
        logger.info("ready in %.1f s: %s", perf_counter() - start, self.engine.describe())

    def application(self) -> FastAPI:
        """The HTTP API."""
        return create_application(self.backend, authenticator=self.authenticator, id_header=False)

    def reconfigure(self, changes: dict[str, object]) -> None:
        """Take new generation defaults; those that `changes` leaves out return to the settings' values."""
        defaults = self.settings.generation_defaults.model_dump() | changes
        self.backend.defaults = GenerationDefaults.model_validate(defaults)

    async def close(self, seconds: float) -> None:
        """Stop, on the event loop of the requests; the engine has `seconds` to finish its own."""
        await self.fetcher.close()
        await asyncio.to_thread(self.engine.close, seconds)
        await asyncio.to_thread(self.telemetry.close)
        if self.pool:
            self.pool.close()


def _fetch_options(settings: Settings) -> FetchOptions:
    return FetchOptions(
        enabled=settings.image_url_enabled,
        rules=UrlRules(
            http=settings.image_url_http,
            hosts=tuple(map(HostRule.parse, settings.image_url_hosts)),
            networks=settings.image_url_networks,
        ),
        max_bytes=settings.max_image_bytes,
        seconds=settings.image_url_timeout,
        concurrent=settings.image_url_concurrency,
    )


def _decode_pool(settings: Settings) -> DecodePool | None:
    count = settings.decode_processes
    processes = settings.preparation_thread_count if count is None else count
    if sys.platform != "linux" or not processes:
        return None
    return DecodePool(Bounds(image_limits(settings), settings.decode_timeout), processes=processes)


def _engine(settings: Settings, gpus: int, decoder: ImageDecoder) -> ServingEngine:
    if settings.engine != "native":
        return external_engine(settings, gpus, decoder)
    return native_engine(settings, gpus, decoder)
