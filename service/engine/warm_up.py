"""One small request before the first real one, so that no client waits for what is done only once."""

import numpy as np
from PIL import Image

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.features import FeatureCache
from service.engine.preparation import Preparation
from service.engine.request import EncodedImage, Request, Sampling, Turn
from service.engine.sequence import Sequence
from service.engine.worker import Worker
from service.errors import RequestError, StartupError
from service.media.tiles import TileSpec, cut

TOKENS = 4
SIDE = 1024  # pixels: enough for as many tiles as the model takes


def warm_up(worker: Worker, loaded: LoadedModel) -> None:
    """Answer a request with a grey image, or without one where the model or its cache cannot take it.

    Raises StartupError where the model fails on it.
    """
    preparation = Preparation(loaded, _Grey(), FeatureCache(0))
    for content in ((EncodedImage(b""), "?"), ("?",)):
        run = Sequence(Request((Turn("user", content),), Sampling(TOKENS), shorten=True))
        try:
            preparation.prepare(run, longest=worker.longest)
        except RequestError:
            continue
        worker.add(run)
        while not run.done:
            worker.step(lambda: None)
        worker.retire()
        worker.prefilled = worker.decoded = 0
        if run.error is not None:
            raise StartupError("the model fails on a first small request; the log above says why")
        return


class _Grey:
    """See `ImageDecoder`: one image, whatever the file."""

    def decode(self, data: bytes) -> Image.Image:  # noqa: ARG002
        return Image.new("RGB", (SIDE, SIDE), "grey")

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        return cut(self.decode(data), spec)
