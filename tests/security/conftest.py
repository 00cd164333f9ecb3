"""The application of the API's unit tests, for requests that mean harm."""

from tests.unit.api.conftest import client, connect, engine

__all__ = ["client", "connect", "engine"]
