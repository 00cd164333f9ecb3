"""Errors, in the form that OpenAI's clients understand."""

from typing import Literal

from pydantic import BaseModel, Field

from service.errors import ErrorCode


class ErrorDetail(BaseModel):
    """The error: `code` is from a closed list, `param` names the invalid field if there is one."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: ErrorCode
    param: str | None = None


class ErrorResponse(BaseModel):
    """The answer to a request that failed."""

    error: ErrorDetail
    request_id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])
