"""GET /, GET /docs and the files that they need."""

from html import escape
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.backend import backend_of
from service.api.page.files import File, read_files
from service.errors import ErrorCode, RequestError
from service.settings import GenerationDefaults

router = APIRouter(include_in_schema=False)

FILES = read_files()
PAGE = Template(FILES["index.html"].content.decode())

# Nothing inline, nothing of another host: what an image, a caption or an error holds cannot run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # A browser asks again and mostly gets a 304, so that a new version is not mixed with an old one.
    "cache-control": "no-cache",
}


@router.get("/")
async def page(request: Request) -> Response:
    """The page to try the model, with the generation defaults of this moment."""
    return _answer(request, _filled_in(backend_of(request).defaults))


@router.get("/docs")
async def reference(request: Request) -> Response:
    """The API reference, drawn from /openapi.json."""
    return _answer(request, FILES["reference.html"])


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """A file of the two pages. Raises RequestError for a name that is none."""
    file = FILES.get(name)
    if file is None or name.endswith(".html"):
        raise RequestError(ErrorCode.NOT_FOUND, "there is no such file of the page; open / instead")
    return _answer(request, file)


def _filled_in(defaults: GenerationDefaults) -> File:
    text = PAGE.substitute(
        prompt=escape(defaults.prompt),
        max_tokens=defaults.max_tokens,
        temperature=f"{defaults.temperature:g}",
    )
    return File(text.encode(), FILES["index.html"].media_type)


def _answer(request: Request, file: File) -> Response:
    headers = {**HEADERS, "etag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
