"""The Serve deployment: one replica holds the model and answers HTTP itself.

That the FastAPI ingress IS the replica saves a hop: a gateway deployment in front of a model deployment
reached a fifth of the requests a second.
"""

import asyncio
import functools
import logging
from time import perf_counter
from typing import Any

import torch
from fastapi import FastAPI
from ray import get_runtime_context, serve

from service import logs
from service.api.application import create_application
from service.api.backend import Backend
from service.api.caption_body import image_limits
from service.engine import device
from service.engine.checkpoint.load import load
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.media.decode import decode
from service.settings import GenerationDefaults, Settings

logger = logging.getLogger("capstan.replica")

CLOSE_SECONDS = 10.0


@serve.deployment(
    name="Model",
    # The engine bounds its own queue and answers 503 beyond it, so Serve must not be the narrower door.
    max_ongoing_requests=1024,
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=60,
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress()
class Model:
    """A replica: checkpoint, engine and HTTP API in one process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = Settings(**settings)
        logs.configure(self.settings.log_level)
        start = perf_counter()
        if self.settings.torch_threads:
            torch.set_num_threads(self.settings.torch_threads)
        self.engine = _engine(self.settings)
        self.engine.start()
        self.backend = Backend(self.engine, self.settings, self.settings.generation_defaults)
        logger.info("ready in %.1f s: %s", perf_counter() - start, self.engine.describe())

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_application(self.backend)

    def reconfigure(self, user_config: dict[str, Any] | None) -> None:
        """Take new generation defaults from Serve's `user_config`; the model stays loaded."""
        defaults = self.settings.generation_defaults.model_dump() | (user_config or {})
        self.backend.defaults = GenerationDefaults(**defaults)

    def check_health(self) -> None:
        """Raise where the engine no longer works, so that Serve replaces the replica."""
        self.engine.check()

    async def __del__(self) -> None:
        engine = getattr(self, "engine", None)
        if engine is not None:
            await asyncio.to_thread(engine.close, CLOSE_SECONDS)


def _engine(settings: Settings) -> Engine:
    gpus = len(get_runtime_context().get_accelerator_ids().get("GPU", []))
    loaded = load(
        settings.checkpoint,
        revision=settings.model_revision,
        dtype=settings.dtype,
        device=device.pick(settings.device, gpus),
        max_tiles=settings.max_tiles,
    )
    options = EngineOptions(
        slots=settings.max_concurrent_sequences,
        max_waiting=settings.max_waiting,
        preparation_threads=settings.preparation_threads,
        memory_fraction=settings.memory_fraction,
        cache_bytes=settings.cache_bytes,
        feature_cache_bytes=settings.feature_cache_bytes,
    )
    return Engine(loaded, decode=functools.partial(decode, limits=image_limits(settings)), options=options)
