"""From ranks that load a model to an engine that takes requests.

One small request goes before the first real one, so that no client waits for what is done only once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.engine.ranks.messages import Progress, Ready, ResetCounters
from service.engine_options import EngineOptions
from service.errors import EngineStopped, RequestError, StartupError
from service.media.decode import ImageDecoder
from service.media.tiles import TileSpec, cut
from service.native.answer import Answer
from service.native.feature_directory import FeatureDirectory
from service.native.intake import Intake
from service.native.preparation import Preparation
from service.native.queue_limit import QueueLimit
from service.native.rank_group import Ranks
from service.native.request_table import RequestTable
from service.prompt.outline import Outline
from service.protocol.request import EncodedImage, Request, Sampling, Turn
from service.protocol.stats import RankStats

TOKENS = 4
SIDE = 1024  # pixels: enough for as many tiles as the model takes
NUMBER = -1
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Started:
    """What an engine has once its ranks are ready; the counters begin with `stats`."""

    outline: Outline
    ready: Ready
    intake: Intake
    features: FeatureDirectory
    queue_limit: QueueLimit
    stats: RankStats


def started(
    ranks: Ranks,
    requests: RequestTable,
    *,
    decoder: ImageDecoder,
    options: EngineOptions,
    refuse: Callable[[Answer], None],
) -> Started:
    """Wait for the ranks, and run the model once.

    Raises StartupError if the model cannot be loaded, does not fit or does not run.
    """
    # While the ranks read the weights, this process gets ready to use the outline.
    outline = ranks.wait_for_outline()
    hooks = outline.hooks() if outline.hooks and options.runner != "generate" else None
    ready = ranks.wait_until_ready()
    slots = ready.description.slots
    features = FeatureDirectory(ready.feature_pages, ready.feature_page_bytes)
    preparation = Preparation(outline, decoder, features, context_length=ready.context_length, hooks=hooks)
    stats = warm_up(preparation, ranks)
    intake = Intake(
        preparation,
        requests,
        threads=options.preparation_threads,
        ahead=slots,
        send=ranks.send,
        refuse=refuse,
    )
    return Started(outline, ready, intake, features, QueueLimit(requests, options, slots=slots), stats)


def warm_up(preparation: Preparation, ranks: Ranks) -> RankStats:
    """Answer a request with a gray image, or without one if the model or its cache cannot take it.

    Returns the counters, which begin at zero after it. Raises StartupError if the model fails on it.
    """
    gray = Preparation(
        preparation.outline,
        _Gray(),
        FeatureDirectory(0, 0),
        context_length=preparation.context_length,
        hooks=preparation.hooks,
    )
    for content in ((EncodedImage(b""), "?"), ("?",)):
        request = Request((Turn("user", content),), Sampling(TOKENS), shorten=True)
        try:
            message, memory = gray.prepare(Answer(NUMBER, request))
        except RequestError:
            continue
        ranks.send(message, memory.descriptor if memory else None)
        if memory:
            memory.close()
        if any(end.finish is None for end in _wait(ranks, lambda progress: bool(progress.ended)).ended):
            raise StartupError("the model fails on a first small request; the log above says why")
        break
    ranks.send(ResetCounters())
    return _wait(ranks, lambda progress: not progress.stats.prefill_tokens).stats


def _wait(ranks: Ranks, wanted: Callable[[Progress], bool]) -> Progress:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            progress = ranks.receive(1.0)
        except EngineStopped as error:
            raise StartupError(f"the model fails on a first small request: {error}") from error
        if isinstance(progress, Progress) and wanted(progress):
            return progress
    raise StartupError(f"the model has not answered a first small request in {SECONDS:.0f} s")


class _Gray:
    """See `ImageDecoder`: one image, whatever the file."""

    def decode(self, data: bytes) -> Image.Image:  # noqa: ARG002
        return Image.new("RGB", (SIDE, SIDE), "gray")

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        return cut(self.decode(data), spec)
