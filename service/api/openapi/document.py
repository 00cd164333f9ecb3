"""The OpenAPI document: FastAPI's own, plus the models of the bodies that routes read themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.schemas.caption import CaptionDelta, CaptionRequest
from service.api.schemas.chat import ChatRequest
from service.api.schemas.completion import ChatChunk

DESCRIPTION = (
    "A vision-language model with OpenAI's chat API and a simpler API for captions. Every error has the "
    "form of OpenAI's errors, a code from a closed list, and the request's identifier, which is also in the "
    "header `X-Request-ID`."
)
TAGS = [
    {"name": "captions", "description": "Images in, captions out."},
    {"name": "chat", "description": "OpenAI's API, for its official clients."},
    {"name": "models", "description": "The served model, and how it cuts images."},
    {"name": "health", "description": "For probes and Prometheus."},
]
REFERENCE = "#/components/schemas/{model}"


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of an application, built once."""
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
        # The operator decides whether a key is needed.
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}, {}]
        app.openapi_schema = document
    return app.openapi_schema
