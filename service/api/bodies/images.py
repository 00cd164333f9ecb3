"""Images as requests refer to them, and how their files are read."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Concatenate, Literal, ParamSpec, TypeVar

from service.api.backend import Backend
from service.api.request_state import RequestState
from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.sources import decode_base64, read_path
from service.protocol.request import EncodedImage, EncodedVideo
from service.settings import MOST_FRAMES, Settings

Data = TypeVar("Data", str, bytes)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")

# Below this many bytes or characters, handing work to a thread takes longer than the work.
INLINE = 256 * 1024

FRAMES_URL = re.compile(r"data:video/jpeg;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image of a request is, the field that says so, and the bound of its tiles, if any."""

    kind: Literal["base64", "url", "path"]
    value: str
    field: str
    max_tiles: int | None = None

    @classmethod
    def from_url(cls, url: str, field: str, max_tiles: int | None = None) -> "ImageReference":
        """An image by its URL, which may be a data URL."""
        return cls("base64" if url[:5].lower() == "data:" else "url", url, field, max_tiles)


@dataclass(frozen=True, slots=True)
class VideoReference:
    """Where the frames of a video are."""

    frames: tuple[ImageReference, ...]

    @classmethod
    def from_url(cls, url: str, field: str) -> "VideoReference":
        """The frames in a data URL, their base64 separated by commas, as vLLM takes them.

        Raises RequestError for any other URL.
        """
        head = FRAMES_URL.match(url)
        if head is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"{field} is no list of frames, and video files are not decoded here; send "
                "data:video/jpeg;base64,FRAME,FRAME,... or a part of type video with the URLs of the frames",
                field=field,
            )
        # One more than is ever taken is enough to be refused for.
        frames = url[head.end() :].split(",", MOST_FRAMES)
        return cls(tuple(ImageReference("base64", frame, field) for frame in frames))


def image_limits(settings: Settings) -> ImageLimits:
    """The settings that limit an image."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_pixels,
        max_side=settings.max_image_side,
    )


async def read_video(video: VideoReference, backend: Backend, state: RequestState) -> EncodedVideo:
    """The files of a video's frames. Raises RequestError for the first that cannot be read."""
    return EncodedVideo(tuple(await read_images(video.frames, backend, state)))


async def read_images(
    images: Sequence[ImageReference], backend: Backend, state: RequestState
) -> list[EncodedImage]:
    """The files of several images, in order. Raises RequestError for the first that cannot be read."""
    if len(images) < 2:
        return [await read_image(image, backend, state) for image in images]
    tasks: list[asyncio.Task[EncodedImage]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(read_image(image, backend, state)) for image in images]
    except* RequestError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def read_image(image: ImageReference, backend: Backend, state: RequestState) -> EncodedImage:
    """The file of one image. Raises RequestError, with the image's own field, if it cannot be read."""
    start = monotonic()
    try:
        return EncodedImage(await _read(image, backend), image.max_tiles)
    except RequestError as error:
        raise RequestError(error.code, error.message, field=image.field) from None
    finally:
        if image.kind != "base64":
            state.fetched(start)


async def _read(image: ImageReference, backend: Backend) -> bytes:
    limits = image_limits(backend.settings)
    if image.kind == "url":
        return await backend.fetcher.fetch(image.value, field=image.field)
    if image.kind == "path":
        return await asyncio.to_thread(read_path, image.value, backend.settings.image_roots, limits)
    return await off_loop(decode_base64, image.value, limits)


async def off_loop(
    parse: Callable[Concatenate[Data, Rest], Result], data: Data, *args: Rest.args, **kwargs: Rest.kwargs
) -> Result:
    """Parse `data`, in a thread if it is so large that other requests would have to wait."""
    if len(data) > INLINE:
        return await asyncio.to_thread(parse, data, *args, **kwargs)
    return parse(data, *args, **kwargs)
