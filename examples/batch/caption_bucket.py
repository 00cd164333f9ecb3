"""Captions the images of a bucket with Ray Data: the service's engine on each GPU, without HTTP between.

`python caption_bucket.py s3://photos/2026 s3://captions/2026 --replicas 4 --gpus 1`. The CAPSTAN_ variables
choose the model, as in the service. The output is Parquet; an image that failed has its error in its row.
"""

import argparse
import asyncio
import math
import os
from typing import Any

import ray
import ray.data

from service.errors import RequestError
from service.settings import Settings

SUFFIXES = ["bmp", "gif", "jpeg", "jpg", "png", "webp"]
BATCH = 32  # Ray Data works on a few batches of an actor at a time, so the engine never waits for the next


class Captioner:
    """One replica's engine in an actor of Ray Data."""

    def __init__(self, cpus: float, gpus: float) -> None:
        """Load the model, which takes as long as the start of a replica, for these CPUs and GPUs."""
        from service.api.bodies.images import image_limits  # noqa: PLC0415 - only the actor has to import it
        from service.media.sandbox.pool import DecodePool  # noqa: PLC0415
        from service.media.sandbox.worker import Bounds  # noqa: PLC0415
        from service.native.start import native_engine  # noqa: PLC0415

        settings = Settings().for_resources(cpus=cpus, gpus=gpus)
        bounds = Bounds(image_limits(settings), settings.decode_timeout)
        self.pool = DecodePool(bounds, processes=settings.preparation_thread_count)
        self.engine = native_engine(settings, math.ceil(gpus), self.pool)
        self.engine.start()
        self.pool.wait_until_ready()
        self.defaults = settings.generation_defaults
        self.places = asyncio.Semaphore(2 * settings.max_concurrent_sequences)

    async def __call__(self, batch: dict[str, Any]) -> Any:  # noqa: ANN401 - an asynchronous generator
        """The captions of a batch, in its order."""
        answers = await asyncio.gather(*(self.caption(bytes(file)) for file in batch["bytes"]))
        columns = {name: [answer[name] for answer in answers] for name in ("caption", "error_code", "error")}
        yield {"image": batch["path"], **columns}

    def close(self) -> None:
        """End the engine and its processes."""
        self.engine.close(10.0)
        self.pool.close()

    async def caption(self, file: bytes) -> dict[str, str]:
        """A row's columns; those that do not apply are empty."""
        from service.protocol.request import EncodedImage, Request, Sampling, Turn  # noqa: PLC0415 - as above

        defaults = self.defaults
        request = Request(
            turns=(Turn("user", (EncodedImage(file), defaults.prompt)),),
            sampling=Sampling(max_tokens=defaults.max_tokens, temperature=defaults.temperature),
            shorten=True,
        )
        try:
            async with self.places:
                completion = await self.engine.submit(request).result()
        except RequestError as error:
            return {"caption": "", "error_code": str(error.code), "error": str(error)}
        return {"caption": completion.text.strip(), "error_code": "", "error": ""}


def main() -> None:
    """Caption the images of SOURCE into Parquet files at OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="directory or bucket: s3://, gs:// or a path that every node has")
    parser.add_argument("output", help="directory or bucket for Parquet files")
    parser.add_argument("--replicas", type=int, default=1, help="engines, each with its model")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of an engine")
    parser.add_argument("--cpus", type=float, default=1, help="CPUs of an engine")
    given = parser.parse_args()
    variables = {name: value for name, value in os.environ.items() if name.startswith("CAPSTAN_")}
    ray.init(runtime_env={"env_vars": variables})
    images = ray.data.read_binary_files(given.source, include_paths=True, file_extensions=SUFFIXES)
    captions = images.map_batches(
        Captioner,
        fn_constructor_args=(given.cpus, given.gpus),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=given.replicas),
        num_gpus=given.gpus,
        num_cpus=given.cpus,
    )
    captions.write_parquet(given.output)


if __name__ == "__main__":
    main()
