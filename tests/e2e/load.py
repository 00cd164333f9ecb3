"""A steady load of captions, each of which takes one to three seconds, and what became of each.

The embedded model answers in milliseconds, so a request is made slow where a phone's is: the image arrives
bit by bit. The proxy and the replica have the request in hand all the while.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

IMAGE = Path(__file__).parents[2] / "examples" / "images" / "shapes.png"
PIECES = 10
DURATIONS_S = (1.0, 2.0, 3.0)
CLIENTS = 4
EDGE = "slow-upload"


@dataclass(slots=True)
class Load:
    """Clients that ask for captions, one after another, until the `with` block ends."""

    address: str
    host: str
    path: str = "/caption"
    done: int = 0
    failed: list[str] = field(default_factory=list)
    captions: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CLIENTS))

    def __enter__(self) -> Self:
        self._over.clear()
        for number in range(CLIENTS):
            self._pool.submit(self._ask_until_over, DURATIONS_S[number % len(DURATIONS_S)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._pool.shutdown(wait=True)

    def _ask_until_over(self, duration_s: float) -> None:
        while not self._over.is_set():
            self._ask(duration_s)

    def _ask(self, duration_s: float) -> None:
        began = time.time()
        try:
            answer = httpx.post(
                f"{self.address}{self.path}",
                content=self._body(duration_s),
                headers={"Host": self.host, "Content-Type": f"multipart/form-data; boundary={EDGE}"},
                timeout=60.0,
            )
            answer.raise_for_status()
            self.captions.add(answer.json()["caption"])
            self.models.add(answer.json()["model"])
            self.done += 1
        except (httpx.HTTPError, KeyError, ValueError) as error:
            at = time.strftime("%H:%M:%S", time.gmtime(began))
            said = error.response.text[:200] if isinstance(error, httpx.HTTPStatusError) else ""
            self.failed.append(f"{at} after {time.time() - began:.1f} s: {error!r} {said}")

    def _body(self, duration_s: float) -> Iterator[bytes]:
        image = IMAGE.read_bytes()
        head = f'--{EDGE}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        yield head.encode()
        step = -(-len(image) // PIECES)
        for start in range(0, len(image), step):
            self._over.wait(0 if self._over.is_set() else duration_s / PIECES)
            yield image[start : start + step]
        yield f"\r\n--{EDGE}--\r\n".encode()
