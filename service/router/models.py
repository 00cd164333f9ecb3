"""The models behind the router, and which of them a request names."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from service.errors import ErrorCode, RequestError

# Key of the request's model in the state of its ASGI scope.
MODEL = "model"
MAX_NAME = 64  # characters of an unknown name that an error repeats


@dataclass(frozen=True)
class Models:
    """The address of each model by the name that clients send, without a slash at its end."""

    addresses: Mapping[str, str]
    started: int = field(default_factory=lambda: int(time.time()))

    def resolve(self, name: object) -> str:
        """The model that a request names; the only one where it names none. Raises RequestError."""
        if name is None and len(self.addresses) == 1:
            return next(iter(self.addresses))
        known = ", ".join(self.addresses)
        if not isinstance(name, str):
            raise RequestError(
                ErrorCode.INVALID_REQUEST, f"model is missing; set it to one of: {known}", field="model"
            )
        if name not in self.addresses:
            raise RequestError(
                ErrorCode.MODEL_NOT_FOUND,
                f"model {name[:MAX_NAME]} does not exist; this address has: {known}",
                field="model",
            )
        return name

    def card(self, name: str) -> dict[str, object]:
        """A model as OpenAI's API describes it.

        The router does not ask the replicas, because that would start a model that has scaled to zero.
        """
        return {"id": name, "object": "model", "created": self.started, "owned_by": "capstan"}
