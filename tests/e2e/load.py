"""A steady load of captions, each of which takes seconds, and what became of each.

The embedded model answers in milliseconds. So some of the clients ask for what takes it seconds: a prompt of
hundreds of words, and an answer of hundreds of tokens, which comes as a stream. The others are slow where a
phone is: the image arrives bit by bit, and the proxy and the replica have the request in hand all the while.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from bench.workload import samples

IMAGE = (Path(__file__).parents[2] / "examples" / "images" / "shapes.png").read_bytes()
PIECES = 10
EDGE = "slow-upload"
UPLOADS_S = (1.5, 2.5)
# Answers to this prompt with these seeds have 300 to 400 tokens: most others end sooner.
LONG_PROMPT = "Describe the image. " * 150
SEEDS = (25, 1599)
LIMIT_S = 60.0
# So that a client whose requests fail at once does not count hundreds of them.
PAUSE_S = 0.5


class WrongAnswerError(Exception):
    """An answer ended before its text did, or its text is another."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has ended: when it began and ended, in seconds since the epoch, and why it failed."""

    kind: str
    began: float
    ended: float
    failure: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    def __str__(self) -> str:
        at = time.strftime("%H:%M:%S", time.gmtime(self.began))
        return f"{at} {self.kind} after {self.seconds:.1f} s: {self.failure or 'answered'}"


@dataclass(slots=True)
class Load:
    """Clients that ask for captions, one after another, until the `with` block ends.

    There is one client for each seed, whose answers are streams, one for each of the seconds of an upload,
    and one for each of the pauses, which sends new images with that many seconds between them. `captions` are
    of the uploads, whose answers are short.
    """

    address: str
    host: str
    key: str | None = None
    seeds: Sequence[int] = SEEDS
    uploads_s: Sequence[float] = UPLOADS_S
    pauses_s: Sequence[float] = ()
    asked: list[Asked] = field(default_factory=list)
    captions: set[str] = field(default_factory=set)
    _texts: dict[int, str] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _clients: list[threading.Thread] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many requests of each kind were answered, at the least."""
        answered = [each.kind for each in self.asked if not each.failure]
        return min(answered.count("stream"), answered.count("upload"))

    @property
    def failed(self) -> list[str]:
        """What became of each request that failed."""
        return [str(each) for each in self.asked if each.failure]

    def in_flight(self, moment: float) -> list[Asked]:
        """The requests that had begun and not ended at a moment, in seconds since the epoch."""
        return [each for each in self.asked if each.began <= moment <= each.ended]

    def __enter__(self) -> Self:
        asks = [(self._stream, seed) for seed in self.seeds]
        asks += [(self._upload, seconds) for seconds in self.uploads_s]
        asks += [(self._new_image, seconds) for seconds in self.pauses_s]
        for ask, how in asks:
            self._clients.append(threading.Thread(target=self._ask_until_over, args=(ask, how)))
            self._clients[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for client in self._clients:
            client.join()
        for name in sorted({each.kind for each in self.asked}):
            if seconds := sorted(
                each.seconds for each in self.asked if each.kind == name and not each.failure
            ):
                shortest, middle, longest = seconds[0], seconds[len(seconds) // 2], seconds[-1]
                summary = f"{len(seconds)} answers to {name}: {shortest:.1f}, {middle:.1f}, {longest:.1f} s"
                print(f"{summary} (shortest, median, longest)")  # noqa: T201 - shown where a test fails

    def _ask_until_over(self, ask: Callable[[Any], None], how: float) -> None:
        kind = ask.__name__.removeprefix("_")
        while not self._over.is_set():
            began, failure = time.time(), ""
            try:
                ask(how)
            except (httpx.HTTPError, WrongAnswerError, KeyError, ValueError) as error:
                failure = repr(error)
            self.asked.append(Asked(kind, began, time.time(), failure))
            if failure:
                self._over.wait(PAUSE_S)

    def _headers(self, **more: str) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Host": self.host, **key, **more}

    def _stream(self, seed: int) -> None:
        """Ask for a long answer, and read it as it comes."""
        file = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
        content = [
            {"type": "image_url", "image_url": {"url": file}},
            {"type": "text", "text": LONG_PROMPT},
        ]
        body = {
            "model": "shapes",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 1000,
            "temperature": 2.0,
            "top_p": 1.0,
            "repetition_penalty": 10.0,
            "seed": seed,
            "stream": True,
        }
        url = f"{self.address}/v1/chat/completions"
        headers = self._headers(**{"Content-Type": "application/json"})
        # Chunked, because of Traefik: with a Content-Length it now and then cuts an answer that begins within
        # milliseconds (docs/reliability.md).
        pieces = iter([json.dumps(body).encode()])
        with httpx.stream("POST", url, content=pieces, headers=headers, timeout=LIMIT_S) as answer:
            if answer.is_error:
                raise ValueError(f"status {answer.status_code}: {answer.read()[:200]!r}")
            *events, last, end = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        if end != "[DONE]" or json.loads(last)["choices"][0]["finish_reason"] != "stop":
            raise WrongAnswerError(f"the stream ended with {last[:200]} {end[:200]}")
        text = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)
        if text != self._texts.setdefault(seed, text):
            raise WrongAnswerError(
                f"the stream said {text[:200]!r}, an earlier one {self._texts[seed][:200]!r}"
            )

    def _upload(self, duration_s: float) -> None:
        """Send an image bit by bit."""
        form = f"multipart/form-data; boundary={EDGE}"
        headers = self._headers(**{"Content-Type": form})
        self.captions.add(self._caption(content=self._body(duration_s), headers=headers))

    def _new_image(self, pause_s: float) -> None:
        """Send an image that no cache has seen, after a pause."""
        self._over.wait(pause_s)
        (sample,) = samples(1, time.time_ns())
        if not self._caption(files={"image": sample.file}, headers=self._headers()):
            raise WrongAnswerError("the caption of a new image is empty")

    def _caption(self, **request: Any) -> str:
        answer = httpx.post(f"{self.address}/caption", timeout=LIMIT_S, **request)
        if answer.is_error:
            raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
        caption: str = answer.json()["caption"]
        return caption

    def _body(self, duration_s: float) -> Iterator[bytes]:
        head = f'--{EDGE}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        yield head.encode()
        step = -(-len(IMAGE) // PIECES)
        for start in range(0, len(IMAGE), step):
            self._over.wait(0 if self._over.is_set() else duration_s / PIECES)
            yield IMAGE[start : start + step]
        yield f"\r\n--{EDGE}--\r\n".encode()
