"""The grammar of an answer, from the fields that ask for one."""

import json
from typing import Any

from pydantic_core import from_json

from service.api.schemas.structured import (
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    StructuredOutputs,
)
from service.errors import ErrorCode, RequestError
from service.protocol.request import Grammar
from service.settings import Settings

ANY_OBJECT = {"type": "object"}


def grammar_of(
    response_format: ResponseFormat | None, structured: StructuredOutputs | None, settings: Settings
) -> Grammar | None:
    """What an answer must match; None for any text.

    Raises RequestError for one that is too large, that is not JSON, or that is given twice.
    """
    if isinstance(response_format, JsonObjectFormat | JsonSchemaFormat):
        if structured is not None:
            raise _invalid(
                "response_format and structured_outputs both say what to match; send only one of them",
                "structured_outputs",
            )
        if isinstance(response_format, JsonObjectFormat):
            return json_grammar(ANY_OBJECT, settings, field="response_format")
        return json_grammar(response_format.json_schema.json_schema, settings, field="response_format")
    return None if structured is None else _structured(structured, settings)


def json_grammar(schema: dict[str, Any] | str, settings: Settings, *, field: str) -> Grammar:
    """JSON that matches a schema. Raises RequestError for one that is too large, or not JSON."""
    text = schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))
    grammar = _checked(Grammar("json_schema", text, field), settings)
    if isinstance(schema, str):
        try:
            from_json(schema)
        except ValueError:
            raise _invalid(f"{field} is not valid JSON", field) from None
    return grammar


def _structured(structured: StructuredOutputs, settings: Settings) -> Grammar:
    field = "structured_outputs"
    if structured.json_schema is not None:
        return json_grammar(structured.json_schema, settings, field=field)
    if structured.choice is not None:
        return _checked(Grammar("choice", json.dumps(structured.choice), field), settings)
    if structured.regex is not None:
        return _checked(Grammar("regex", structured.regex, field), settings)
    return json_grammar(ANY_OBJECT, settings, field=field)


def _checked(grammar: Grammar, settings: Settings) -> Grammar:
    size = len(grammar.text.encode())
    if size > settings.max_schema_bytes:
        raise _invalid(
            f"{grammar.source} is {size} bytes; the limit is {settings.max_schema_bytes} "
            "(CAPSTAN_MAX_SCHEMA_BYTES); simplify it",
            grammar.source,
        )
    return grammar


def _invalid(message: str, field: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
