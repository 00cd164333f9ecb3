"""The OpenAPI document: FastAPI's own, and the models of bodies that routes read for themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.schemas.caption import CaptionDelta, CaptionRequest
from service.api.schemas.chat import ChatChunk, ChatRequest

DESCRIPTION = (
    "A vision-language model behind OpenAI's chat API and a simpler one for captions. Every error has the "
    "form of OpenAI's errors, a code of a closed list, and the request's identifier, which is also in the "
    "header `X-Request-ID`."
)
TAGS = [
    {"name": "captions", "description": "Images in, captions out."},
    {"name": "chat", "description": "OpenAI's API; its official clients work against it."},
    {"name": "models", "description": "What is served, and how."},
    {"name": "health", "description": "For whoever watches the process."},
]
REFERENCE = "#/components/schemas/{model}"


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if not app.openapi_schema:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            tags=TAGS,
            routes=app.routes,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        models: list[type[BaseModel]] = [CaptionRequest, CaptionDelta, ChatRequest, ChatChunk]
        _, more = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
        document["components"]["schemas"] |= more["$defs"]
        # Whether a key is asked for is up to the server's operator.
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}, {}]
        app.openapi_schema = document
    return app.openapi_schema
