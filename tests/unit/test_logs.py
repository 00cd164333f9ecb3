"""Log lines are written together, and none is lost."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.api.middleware.request_log import RequestEntry
from service.logs import BatchingHandler, JsonFormatter


class Stream(io.StringIO):
    """Counts its writes, and says when there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        found = super().write(text)
        self.written.set()
        return found


@pytest.fixture
def stream() -> Stream:
    """Where lines go."""
    return Stream()


def logger(stream: Stream, seconds: float) -> Iterator[logging.Logger]:
    handler = BatchingHandler(stream, seconds=seconds)
    made = logging.getLogger(f"tests.{id(handler)}")
    made.setLevel(logging.INFO)
    made.propagate = False
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)
    handler.close()


@pytest.fixture
def quick(stream: Stream) -> Iterator[logging.Logger]:
    """A logger that hardly waits."""
    yield from logger(stream, 0.01)


@pytest.fixture
def slow(stream: Stream) -> Iterator[logging.Logger]:
    """A logger that waits longer than any test takes."""
    yield from logger(stream, 600)


def test_lines_are_written_in_time(quick: logging.Logger, stream: Stream) -> None:
    """A line is written soon even if nothing follows it, and so is the next one."""
    for expected in ("one\n", "one\ntwo\n"):
        stream.written.clear()
        quick.info(expected.split()[-1])
        assert stream.written.wait(5)
        assert stream.getvalue() == expected


def test_lines_are_written_together(slow: logging.Logger, stream: Stream) -> None:
    """Lines that arrive within the wait are one write."""
    for number in range(3):
        slow.info("%d", number)
    assert stream.writes == 0
    slow.handlers[0].flush()
    assert (stream.getvalue(), stream.writes) == ("0\n1\n2\n", 1)


def test_a_warning_is_written_at_once(slow: logging.Logger, stream: Stream) -> None:
    """A warning does not wait, and comes after what came before it."""
    slow.info("before")
    slow.warning("now")
    assert stream.getvalue() == "before\nnow\n"


def test_the_last_lines_are_written_at_the_end(slow: logging.Logger, stream: Stream) -> None:
    """Closing the log, as the interpreter does at exit, writes the lines that are still waiting."""
    slow.info("last")
    slow.handlers[0].close()
    assert stream.getvalue() == "last\n"


def formatted(message: object, **fields: Any) -> dict[str, Any]:
    """What the JSON form says about a record."""
    record = logging.LogRecord("capstan.api", logging.INFO, "file", 1, message, None, None)
    record.__dict__.update(fields)
    document = json.loads(JsonFormatter().format(record))
    assert isinstance(document, dict)
    return document


def test_a_line_can_be_json() -> None:
    """The JSON form has time, level, logger and message, and the traceback of an exception."""
    plain = formatted("two\nlines", created=0.0)
    assert plain == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "capstan.api",
        "message": "two\nlines",
    }
    error = ValueError("a bug")
    failed = formatted("failed", exc_info=(ValueError, error, None), request_id="trace-1")
    assert (failed["exception"], failed["request_id"]) == ("ValueError: a bug", "trace-1")


def test_the_json_of_a_request_has_its_fields() -> None:
    """The JSON form of a request's line has every field next to the message."""
    entry = RequestEntry("POST", "/caption", 503, 0.25, "alice", "embedded", "overloaded", "trace-1")
    document = formatted(entry)
    assert document["message"] == "POST /caption 503 250.0 ms key=alice request_id=trace-1"
    assert (
        document.items()
        >= {
            "method": "POST",
            "path": "/caption",
            "status": 503,
            "seconds": 0.25,
            "key": "alice",
            "model": "embedded",
            "code": "overloaded",
            "request_id": "trace-1",
        }.items()
    )
