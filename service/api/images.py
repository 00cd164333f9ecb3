"""Images as requests name them become image files."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.api.backend import Backend
from service.api.offload import read_sent
from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.sources import decode_base64, read_path
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of a request: where it is, and the field that says so."""

    kind: Literal["base64", "url", "path"]
    value: str
    field: str

    @classmethod
    def of_url(cls, url: str, field: str) -> "NamedImage":
        """An image by its URL, which may be the image itself."""
        return cls("base64" if url[:5].lower() == "data:" else "url", url, field)


def image_limits(settings: Settings) -> ImageLimits:
    """The settings that bound an image."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_pixels,
        max_side=settings.max_image_side,
    )


async def read_images(images: Sequence[NamedImage], backend: Backend) -> list[bytes]:
    """The files of several images, in order.

    Raises RequestError for the first that cannot be read, and for more images than a request may have.
    """
    check_count(len(images), backend.settings, field="messages")
    if len(images) < 2:
        return [await read_image(image, backend) for image in images]
    tasks: list[asyncio.Task[bytes]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(read_image(image, backend)) for image in images]
    except* RequestError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def read_image(image: NamedImage, backend: Backend) -> bytes:
    """The file of one image. Raises RequestError, with the image's own field, where there is none."""
    try:
        return await _read(image, backend)
    except RequestError as error:
        raise RequestError(error.code, error.message, field=image.field) from None


async def _read(image: NamedImage, backend: Backend) -> bytes:
    limits = image_limits(backend.settings)
    if image.kind == "url":
        return await backend.fetcher.fetch(image.value, field=image.field)
    if image.kind == "path":
        return await asyncio.to_thread(read_path, image.value, backend.settings.image_roots, limits)
    return await read_sent(decode_base64, image.value, limits)


def check_count(count: int, settings: Settings, *, field: str) -> None:
    """Raise RequestError where a request has more images than it may."""
    if count > settings.max_images:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"the request has {count} images; the limit is {settings.max_images} (CAPSTAN_MAX_IMAGES); "
            "send several requests",
            field=field,
        )
