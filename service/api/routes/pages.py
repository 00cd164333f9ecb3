"""GET /, GET /docs and the files that they load: plain files that contact no other host."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.backend import backend_of
from service.errors import ErrorCode, RequestError
from service.generation_defaults import GenerationDefaults

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent.parent / "static"

# Not from the system's table, which on a bare machine may call a script text/plain.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Nothing inline, nothing from other hosts: no text of an image, a caption or an error can run as code.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # A browser revalidates and mostly gets a 304, so that it never mixes two versions.
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class File:
    """What a browser gets for a name."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """The entity tag of the content, with its quotes."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


# Read once. Other names do not exist, so no path can lead out of the directory.
FILES = {
    path.name: File(path.read_bytes(), MEDIA_TYPES[path.suffix])
    for path in sorted(STATIC.iterdir())
    if path.suffix in MEDIA_TYPES
}


def _with_shared_parts(name: str) -> str:
    """A page with the head and the brand that all pages share."""
    parts = {part: FILES[f"{part}.html"].content.decode().rstrip() for part in ("head", "brand")}
    return Template(FILES[name].content.decode()).safe_substitute(parts)


PAGE = Template(_with_shared_parts("index.html"))
REFERENCE = File(_with_shared_parts("reference.html").encode(), MEDIA_TYPES[".html"])


@router.get("/")
async def page(request: Request) -> Response:
    """The page to try the model, with the current generation defaults."""
    return _respond(request, _filled_in(backend_of(request).defaults))


@router.get("/docs")
async def reference(request: Request) -> Response:
    """The API reference, which renders /openapi.json."""
    return _respond(request, REFERENCE)


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """A file of the two pages. Raises RequestError for other names."""
    file = FILES.get(name)
    if file is None or name.endswith(".html"):
        raise RequestError(ErrorCode.NOT_FOUND, "file does not exist; open / instead")
    return _respond(request, file)


class PrefixRedirectMiddleware:
    """Redirects the bare route prefix, `/my-api`, to `/my-api/`, where the page's relative links work.

    Starlette's own redirect contains scheme and host as this process sees them, which behind an ingress that
    terminates TLS are not the browser's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        prefix = scope.get("root_path", "")
        if scope["type"] == "http" and prefix and scope["path"] == prefix:
            response = RedirectResponse(prefix.rpartition("/")[2] + "/", 308)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _filled_in(defaults: GenerationDefaults) -> File:
    text = PAGE.substitute(
        prompt=escape(defaults.prompt),
        max_tokens=defaults.max_tokens,
        temperature=f"{defaults.temperature:g}",
    )
    return File(text.encode(), MEDIA_TYPES[".html"])


def _respond(request: Request, file: File) -> Response:
    headers = {**HEADERS, "etag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
