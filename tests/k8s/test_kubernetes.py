"""The client of the Kubernetes API."""

import pytest

from k8s.clients.kubernetes import error_for
from k8s.errors import ClusterError, UnreachableError


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_passing_errors(status: int) -> None:
    """A broken connection, and a server that is on its way down or up, are worth another try."""
    found = error_for(status, b'{"message": "failed calling webhook"}')
    assert isinstance(found, UnreachableError)
    assert "failed calling webhook" in str(found)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_lasting_errors(status: int) -> None:
    """A refusal keeps the server's own words and status."""
    found = error_for(status, b'{"message": "pods is forbidden"}')
    assert isinstance(found, ClusterError)
    assert found.status == status
    assert "pods is forbidden" in str(found)


def test_refusal_hides_tokens() -> None:
    """A refusal never shows a token."""
    assert "abc123" not in str(error_for(401, b'{"message": "bad Bearer abc123"}'))
