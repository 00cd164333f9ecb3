"""Starts another server, or finds it, and waits until it is healthy."""

import http.client
import logging
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import EngineStopped, StartupError
from service.external.address import Address, free_port
from service.external.engine import ExternalEngine, WatchOptions
from service.external.forwarder import Forwarder
from service.external.payload import PayloadBuilder
from service.external.process import ServerProcess, arguments, placeholders
from service.media.decode import ImageDecoder
from service.protocol.stats import EngineDescription
from service.settings import Settings

logger = logging.getLogger("capstan.engine")

POLL_SECONDS = 0.25
PROBE_SECONDS = 5.0
REPORT_SECONDS = 30.0
# vLLM protects its API with the key in this variable, wherever it listens.
KEY_VARIABLE = "VLLM_API_KEY"
HEALTH, MODELS = "/health", "/v1/models"
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Served:
    """The model of the other server: its name there, whose server it is, and the context if it says so."""

    name: str
    owner: str
    context_length: int | None


def external_engine(
    settings: Settings, gpus: int, decoder: ImageDecoder, *, watch: WatchOptions | None = None
) -> ExternalEngine:
    """Start the server of `settings` or find it; returns when it is healthy.

    `gpus` is the number of GPUs that Ray assigned; the server sees those and no others, as this process does.
    Raises StartupError, after ending the server, if it ends or is not healthy in time.
    """
    process: ServerProcess | None = None
    if settings.engine == "url":
        address = Address(_base(settings.engine_url or ""), key=_key(settings.engine_key_file))
    else:
        address, process = _start(settings, gpus)
    try:
        health = _wait_until_healthy(address, process, seconds=settings.engine_start_timeout)
        served = _served(address, settings.engine_model)
    except BaseException:
        if process is not None:
            process.end()
        raise
    if process is not None:
        process.log.serving()
    builder = PayloadBuilder(served.name, decoder)
    return ExternalEngine(
        address,
        Forwarder(address, builder, threads=settings.preparation_thread_count),
        EngineDescription(
            kind=settings.engine,
            runner=served.owner,
            slots=settings.max_concurrent_sequences,
            context_length=served.context_length,
            cache_bytes=0,
            dtype=None,
            device=None,
        ),
        max_waiting=settings.max_waiting,
        health=health,
        process=process,
        watch=watch or WatchOptions(),
    )


def _start(settings: Settings, gpus: int) -> tuple[Address, ServerProcess]:
    template = settings.engine_command or ""
    named = placeholders(template)
    if settings.model_revision is not None and "revision" not in named:
        raise StartupError(
            f"CAPSTAN_MODEL_REVISION is {settings.model_revision}, but CAPSTAN_ENGINE_COMMAND has no "
            "{revision}; add it, for example --revision {revision}"
        )
    key = secrets.token_urlsafe(32)
    # Only this user can enter a new temporary directory, so only this user reaches the socket.
    directory = tempfile.TemporaryDirectory(prefix="capstan-") if "socket" in named else None
    path = str(Path(directory.name) / "engine") if directory else None
    port = free_port()
    values = {
        "model": settings.checkpoint,
        "revision": settings.model_revision or "main",
        "name": settings.public_name,
        "host": "127.0.0.1",
        "port": str(port),
        "socket": path or "",
        "gpus": str(max(1, gpus)),
    }
    command = arguments(template, values)
    url = "http://localhost" if path else f"http://127.0.0.1:{port}"
    logger.info("starting the engine's server: %s", command[0])  # an argument may be a secret
    return Address(url, path, key), ServerProcess(command, secrets={KEY_VARIABLE: key}, directory=directory)


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text().strip() or None
    except OSError as error:
        raise StartupError(f"CAPSTAN_ENGINE_KEY_FILE cannot be read: {error.strerror}") from None


def _wait_until_healthy(address: Address, process: ServerProcess | None, *, seconds: float) -> str:
    """Wait for the server; return the path that says whether it is healthy."""
    start = report = time.monotonic()
    seen = "nothing yet"
    while (now := time.monotonic()) - start < seconds:
        try:
            if process is not None:
                process.check()
            status, _ = address.get(HEALTH, seconds=PROBE_SECONDS)
            if status == 200:
                return HEALTH
            if status == 404 and address.get(MODELS, seconds=PROBE_SECONDS)[0] == 200:
                return MODELS
            seen = f"status {status}"
        except EngineStopped:
            assert process is not None  # noqa: S101 - the only one that raises it
            raise StartupError(f"the engine's server ended while it started: {process.failure()}") from None
        except (OSError, http.client.HTTPException) as error:
            seen = type(error).__name__
        if now - report > REPORT_SECONDS:
            report = now
            logger.info("waiting for the engine's server: %.0f s so far", now - start)
        time.sleep(POLL_SECONDS)
    last = f"; its last lines: {process.log.last_lines()}" if process is not None else ""
    raise StartupError(
        f"the engine's server was not healthy within {seconds:g} s (CAPSTAN_ENGINE_START_TIMEOUT); "
        f"last seen: {seen}{last}"
    )


def _served(address: Address, wanted: str | None) -> Served:
    try:
        status, body = address.get(MODELS, seconds=PROBE_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise StartupError(f"the engine's server does not list its models: {type(error).__name__}") from None
    cards = body.get("data") if isinstance(body, dict) else None
    found = [card for card in cards or [] if isinstance(card, dict) and isinstance(card.get("id"), str)]
    if status != 200 or not found:
        raise StartupError(f"the engine's server does not list its models: status {status}")
    if wanted is not None:
        found = [card for card in found if card["id"] == wanted]
        if not found:
            raise StartupError(
                f"the engine's server has no model {wanted}; set CAPSTAN_ENGINE_MODEL to one it has"
            )
    elif len(found) > 1:
        names = ", ".join(card["id"] for card in found[:5])
        raise StartupError(
            f"the engine's server has several models: {names}; set CAPSTAN_ENGINE_MODEL to one"
        )
    return _card(found[0])


def _card(card: dict[str, Any]) -> Served:
    owner, length = card.get("owned_by"), card.get("max_model_len")
    return Served(
        name=card["id"],
        owner=owner if isinstance(owner, str) and OWNER.fullmatch(owner) else "other",
        context_length=length if isinstance(length, int) and length > 0 else None,
    )
