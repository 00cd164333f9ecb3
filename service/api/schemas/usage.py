"""What a request cost."""

from pydantic import BaseModel, ConfigDict

from service.engine.request import Usage as EngineUsage


class Usage(BaseModel):
    """What the request cost; prompt_tokens counts image tokens too."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt_tokens": 60, "image_tiles": 5, "completion_tokens": 9}]}
    )

    prompt_tokens: int
    image_tiles: int
    completion_tokens: int

    @classmethod
    def of(cls, usage: EngineUsage) -> "Usage":
        """The engine's own count."""
        return cls(
            prompt_tokens=usage.prompt_tokens,
            image_tiles=usage.image_tiles,
            completion_tokens=usage.completion_tokens,
        )
