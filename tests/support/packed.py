"""Continuous batching in its plainest form: a paged cache, packed steps, a step after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from service.engine.attention.backend import LayerAttention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache, CacheShape
from service.engine.attention.sdpa import SdpaAttention
from service.engine.runner.transformers_runner import PackedForward
from service.prompt.reading import Positions, Sight, causal
from tests.support.families.family import IMAGE, Prompt

PAGE_TOKENS = 4
PAGES = 200


@dataclass
class Job:
    """A prompt on its way to an answer of `limit` tokens."""

    prompt: Prompt
    limit: int
    positions: Positions
    sight: Sight | None
    features: torch.Tensor | None
    filled: int = 0
    answer: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        """Prompt and answer."""
        return [*self.prompt.ids, *self.answer]

    def next_part(self, chunk: int) -> "Part":
        """Up to `chunk` of the tokens that are not cached, those of the answer included."""
        end = min(len(self.tokens), self.filled + chunk)
        return Part(self, self.filled, self.sight.chunk_end(self.filled, end) if self.sight else end)


@dataclass(frozen=True)
class Part:
    """What a step computes of a job: its tokens from `start` to `end`."""

    job: Job
    start: int
    end: int

    def seen(self, window: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Of each token the first one that it sees and the one after the last."""
        if self.job.sight is None:
            return causal(window, self.start, self.end)
        return self.job.sight.between(window, self.start, self.end)


class PagedCache:
    """A cache whose pages go to jobs in no order."""

    def __init__(self, forward: PackedForward) -> None:
        shape = forward.layers[0]
        self.free = np.random.default_rng(0).permutation(PAGES).tolist()
        self.windows = {layer.window for layer in forward.layers}
        size = CacheShape(
            len(forward.layers), shape.heads, shape.channels, torch.float32, torch.device("cpu")
        )
        self.attention = SdpaAttention(Cache(size, PAGES, PAGE_TOKENS, by_head=True))

    def step(self, parts: Sequence[Part]) -> LayerAttention:
        """Attention of a step; takes the pages that it needs."""
        for part in parts:
            while len(part.job.pages) * PAGE_TOKENS < part.end:
                part.job.pages.append(self.free.pop())
        return self.attention.begin(
            Batch(
                starts=[part.start for part in parts],
                counts=[part.end - part.start for part in parts],
                pages=[part.job.pages for part in parts],
                page_tokens=PAGE_TOKENS,
                visible=self._visible(parts),
            )
        )

    def release(self, job: Job) -> None:
        """Take back the pages of a job, which has nothing cached from then on."""
        self.free += job.pages
        job.pages, job.filled = [], 0

    def _visible(self, parts: Sequence[Part]) -> dict[int | None, tuple[np.ndarray, np.ndarray]] | None:
        if all(part.job.sight is None for part in parts):
            return None
        seen = {window: [part.seen(window) for part in parts] for window in self.windows}
        return {
            window: (np.concatenate([first for first, _ in each]), np.concatenate([end for _, end in each]))
            for window, each in seen.items()
        }


def job(forward: PackedForward, prompt: Prompt, limit: int) -> Job:
    """A job for a prompt."""
    return Job(
        prompt,
        limit,
        forward.prompts.positions(prompt.ids, prompt.extra)
        or Positions(np.arange(len(prompt.ids)), np.asarray(0)),
        forward.prompts.sight(prompt.ids, prompt.extra),
        forward.prompts.features(prompt.extra) if "pixel_values" in prompt.extra else None,
    )


def serve(
    forward: PackedForward, jobs: Sequence[Job], *, chunk: int, every: int = 2, preempt: int | None = None
) -> None:
    """Run all jobs to their ends, one arriving `every` steps, prompts read `chunk` tokens at a time.

    Every `preempt` steps the youngest job gives its pages up and is computed again, answer and all.
    """
    cache, waiting, running, step = PagedCache(forward), list(jobs), list[Job](), 0
    while waiting or running:
        if waiting and step % every == 0:
            running.append(waiting.pop(0))
        if preempt is not None and step % preempt == preempt - 1 and running:
            cache.release(running[-1])
        parts = [each.next_part(chunk) for each in running]
        for part, logits in zip(parts, _run(forward, cache, parts), strict=True):
            part.job.filled = part.end
            if part.end == len(part.job.tokens):
                part.job.answer.append(int(logits.argmax()))
        for ended in [each for each in running if len(each.answer) >= each.limit]:
            running.remove(ended)
            cache.release(ended)
        step += 1


def _run(forward: PackedForward, cache: PagedCache, parts: Sequence[Part]) -> torch.Tensor:
    """Logits [B, V] after each part."""
    starts = np.cumsum([0, *(part.end - part.start for part in parts)])
    places, features = [], []
    for part, first in zip(parts, starts[:-1], strict=True):
        if part.job.features is not None:
            tokens = np.flatnonzero(np.asarray(part.job.prompt.ids) == IMAGE)
            low, high = np.searchsorted(tokens, (part.start, part.end))
            places.append(tokens[low:high] - part.start + first)
            features.append(part.job.features[low:high])
    return forward(
        np.concatenate([part.job.tokens[part.start : part.end] for part in parts]),
        np.concatenate([part.job.positions.between(part.start, part.end) for part in parts], -1),
        starts[1:] - 1,
        cache.step(parts),
        features=torch.cat(features) if features else None,
        places=np.concatenate(places) if places else None,
    )
