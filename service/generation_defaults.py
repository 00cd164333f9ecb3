"""The values for fields that a request leaves out."""

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_PROMPT = (
    "Please give a detailed caption for the given image that covers all the objects in foreground and "
    "background. Please do not start with 'The image'."
)


class GenerationDefaults(BaseModel):
    """The values that a request gets for the fields it leaves out.

    Serve's `user_config` changes them on a running replica.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(DEFAULT_PROMPT, min_length=1, max_length=10_000)
    max_tokens: int = Field(1024, ge=1, le=1_000_000)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
