"""What Serve puts in front of its own server in the process of a replica."""

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from service.api.early_refusal import EarlyRefusalMiddleware

if TYPE_CHECKING:
    from service.replica import Replica

# Serve calls `middlewares` by its import path and with no arguments, so what it needs is left here.
_installed: list[Middleware] = []


def install(replica: "Replica") -> None:
    """Refuse early for this replica, from the start of Serve's server on."""
    _installed[:] = [
        Middleware(
            EarlyRefusalMiddleware,
            engine=replica.engine,
            authenticator=replica.authenticator,
            model=replica.settings.public_name,
            observe=replica.telemetry.metrics.record,
        )
    ]


def middlewares() -> list[Middleware]:
    """Those of this process: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names this function."""
    return list(_installed)
