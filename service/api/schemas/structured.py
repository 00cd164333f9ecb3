"""What an answer must match, over the wire.

Source: OpenAI's API reference, `response_format`; vLLM's documentation, "Structured Outputs".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STRICT = ConfigDict(extra="forbid")


class TextFormat(BaseModel):
    """Any text."""

    model_config = STRICT

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """A JSON object."""

    model_config = STRICT

    type: Literal["json_object"]


class NamedSchema(BaseModel):
    """A JSON schema. The answer always matches it, whatever `strict` says."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(BaseModel):
    """JSON that matches a schema."""

    model_config = STRICT

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StructuredOutputs(BaseModel):
    """vLLM's `structured_outputs`: exactly one of the fields."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    json_schema: Annotated[
        dict[str, Any] | str | None, Field(alias="json", description="A JSON schema, or its text.")
    ] = None
    json_object: Annotated[Literal[True] | None, Field(description="Any JSON object.")] = None
    regex: Annotated[str | None, Field(min_length=1, description="A regular expression for all of it.")] = (
        None
    )
    choice: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(min_length=1, max_length=1024, description="The answer is one of these."),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> "StructuredOutputs":
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"it has {len(given)} fields; set exactly one of json, json_object, regex, choice"
            )
        return self
