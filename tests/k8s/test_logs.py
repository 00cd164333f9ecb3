"""Where `capstan logs` finds the lines of each replica, and which of them are new."""

from urllib.parse import parse_qs

import pytest

from k8s.commands.logs import log_sources, new_lines, select_model
from k8s.errors import RefusedError
from k8s.resources import serve
from k8s.resources.snapshot import Snapshot
from tests.k8s.objects import recorded


def seen() -> Snapshot:
    """The recorded applications, as a snapshot of one cluster."""
    return Snapshot(None, apps={"cluster": serve.applications(recorded("applications"))})


def test_sources() -> None:
    """Of a replica that lives there is Serve's own log and what its requests wrote to standard error."""
    asked = [parse_qs(source.query) for source in log_sources(seen())]
    assert [query.get("filename") for query in asked] == [["serve/replica_shapes_Model_xt7gk6b6.log"], None]
    assert [query.get("suffix") for query in asked] == [None, ["err"]]
    assert {query["node_ip"][0] for query in asked} == {"10.88.2.3"}


def test_unknown_model() -> None:
    """A model without a replica is refused with the models that have one."""
    with pytest.raises(RefusedError, match="models with replicas: shapes"):
        select_model(log_sources(seen()), "other")


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        (None, ["a", "b"], ["a", "b"]),
        ([], ["a"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "b"], ["c", "d"], ["c", "d"]),
    ],
)
def test_fresh(before: list[str] | None, now: list[str], new: list[str]) -> None:
    """Of the lines read again, those after the last one shown are new."""
    assert new_lines(before, now) == new
