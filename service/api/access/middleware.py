"""The door of the API: no request gets past it without a key, or with one that has reached its limits."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.access.account import Account, Accounts
from service.api.access.grant import STATE, Grant
from service.api.access.headers import rate_limit_headers
from service.api.access.keys import Key, Keys
from service.api.access.keys_file import KeysFile
from service.api.rendering import render
from service.errors import ErrorCode, RequestError
from service.settings import Settings

logger = logging.getLogger("capstan.access")

# What tells nothing and costs nothing. Every other path needs a key, those that do not exist too.
OPEN = frozenset(("", "/", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json", "/favicon.ico"))
OPEN_BELOW = ("/docs/", "/static/")


@dataclass(frozen=True)
class Access:
    """Who may use a replica: the keys there are (None: anybody may) and what each has used."""

    keys: KeysFile | None
    accounts: Accounts = field(default_factory=Accounts)

    @classmethod
    def of(cls, settings: Settings, *, replicas: Callable[[], int] = lambda: 1) -> Self:
        """As the settings say; `replicas` counts those that share the limits where no setting does.

        Raises StartupError where the keys file is missing or invalid.
        """
        shared_by = settings.limits_shared_by
        accounts = Accounts(replicas=replicas if shared_by is None else lambda: shared_by)
        if settings.keys_file is None:
            logger.warning("CAPSTAN_KEYS_FILE is not set: whoever reaches this server may use it")
            return cls(None, accounts)
        return cls(KeysFile(settings.keys_file), accounts)


class AccessMiddleware:
    """Asks for a key before the body is read, and holds the request's place until its answer has ended."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or self.access.keys is None or _is_open(scope):
            await self.app(scope, receive, send)
            return
        try:
            key = _authenticate(Headers(scope=scope), await self.access.keys.current())
        except RequestError as error:
            await render(Request(scope), error)(scope, receive, send)
            return
        account = self.access.accounts.of(key)
        scope["state"][STATE] = Grant(key, account)
        await self._serve(account, scope, receive, send)

    async def _serve(self, account: Account, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(dict(rate_limit_headers(account)))
            await send(message)

        try:
            account.enter()
        except RequestError as error:
            await render(Request(scope), error)(scope, receive, send_with_limits)
            return
        try:
            await self.app(scope, receive, send_with_limits)
        finally:
            account.leave()


def _is_open(scope: Scope) -> bool:
    # As Starlette's router sees it: without the prefix that Serve mounts the application at.
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return path in OPEN or path.startswith(OPEN_BELOW)


def _authenticate(headers: Headers, keys: Keys) -> Key:
    given = headers.getlist("authorization")
    scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not secret.strip():
        raise RequestError(
            ErrorCode.INVALID_API_KEY, "the request carries no API key; send it as Authorization: Bearer KEY"
        )
    key = keys.find(secret.strip())
    if key is None:
        raise RequestError(
            ErrorCode.INVALID_API_KEY, "this server does not know the API key; it is mistyped or was revoked"
        )
    return key
