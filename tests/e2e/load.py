"""A steady load of captions, each of which takes one to three seconds, and what became of each.

The embedded model answers in milliseconds. So half of the clients ask for what takes it seconds: a prompt of
hundreds of words, and an answer of hundreds of tokens, which comes as a stream. The others are slow where a
phone is: the image arrives bit by bit, and the proxy and the replica have the request in hand all the while.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

IMAGE = (Path(__file__).parents[2] / "examples" / "images" / "shapes.png").read_bytes()
PIECES = 10
EDGE = "slow-upload"
UPLOADS_S = (1.5, 2.5)
# Answers to this prompt with these seeds have 300 to 400 tokens: most others end sooner.
LONG_PROMPT = "Describe the image. " * 150
SEEDS = (25, 1599)
LIMIT_S = 60.0


class CutShortError(Exception):
    """A stream ended before its answer did."""


@dataclass(slots=True)
class Load:
    """Clients that ask for captions, one after another, until the `with` block ends.

    `captions` are of the uploads, whose answers are short; `written` and `uploaded` are the seconds that
    each request took.
    """

    address: str
    host: str
    key: str | None = None
    written: list[float] = field(default_factory=list)
    uploaded: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    captions: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(len(SEEDS) + len(UPLOADS_S)))

    @property
    def done(self) -> int:
        """How many requests were answered."""
        return min(len(self.written), len(self.uploaded))

    def __enter__(self) -> Self:
        for seed in SEEDS:
            self._pool.submit(self._ask_until_over, self._write, seed, self.written)
        for duration_s in UPLOADS_S:
            self._pool.submit(self._ask_until_over, self._upload, duration_s, self.uploaded)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._pool.shutdown(wait=True)
        for name, seconds in (("written", self.written), ("uploaded", self.uploaded)):
            if seconds:
                shortest, middle, longest = min(seconds), sorted(seconds)[len(seconds) // 2], max(seconds)
                summary = f"{len(seconds)} answers {name}: {shortest:.1f}, {middle:.1f}, {longest:.1f} s"
                print(f"{summary} (shortest, median, longest)")  # noqa: T201 - shown where a test fails

    def _ask_until_over(self, ask: Callable[[Any], None], how: float, took: list[float]) -> None:
        while not self._over.is_set():
            began, clock = time.time(), time.monotonic()
            try:
                ask(how)
                took.append(time.monotonic() - clock)
            except (httpx.HTTPError, CutShortError, KeyError, ValueError) as error:
                at = time.strftime("%H:%M:%S", time.gmtime(began))
                self.failed.append(f"{at} {ask.__name__} after {time.monotonic() - clock:.1f} s: {error!r}")

    def _headers(self, **more: str) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Host": self.host, **key, **more}

    def _write(self, seed: int) -> None:
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
        with httpx.stream("POST", url, json=body, headers=self._headers(), timeout=LIMIT_S) as answer:
            if answer.is_error:
                raise ValueError(f"status {answer.status_code}: {answer.read()[:200]!r}")
            *_, last, end = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        if end != "[DONE]" or json.loads(last)["choices"][0]["finish_reason"] != "stop":
            raise CutShortError(f"the stream ended with {last[:200]} {end[:200]}")

    def _upload(self, duration_s: float) -> None:
        """Send an image bit by bit."""
        form = f"multipart/form-data; boundary={EDGE}"
        headers = self._headers(**{"Content-Type": form})
        body = self._body(duration_s)
        answer = httpx.post(f"{self.address}/caption", content=body, headers=headers, timeout=LIMIT_S)
        if answer.is_error:
            raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
        self.captions.add(answer.json()["caption"])

    def _body(self, duration_s: float) -> Iterator[bytes]:
        head = f'--{EDGE}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        yield head.encode()
        step = -(-len(IMAGE) // PIECES)
        for start in range(0, len(IMAGE), step):
            self._over.wait(0 if self._over.is_set() else duration_s / PIECES)
            yield IMAGE[start : start + step]
        yield f"\r\n--{EDGE}--\r\n".encode()
