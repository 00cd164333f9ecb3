"""A sequence from the message that describes it."""

import numpy as np
import torch

from service.engine.ranks.messages import Add
from service.engine.ranks.shared_memory import Region, SharedMemory
from service.engine.sequence import ImageInput, Sequence


def unpack(message: Add, descriptor: int | None, image_token: int | None) -> Sequence:
    """The sequence that a message describes, its tensors in the memory that came along."""
    tiles = [image.tiles for image in message.images if image.tiles is not None]
    found = _tensors([*tiles, *message.extra.values()], descriptor)
    read = iter(found)
    return Sequence(
        message.sampling,
        prompt=message.prompt.tolist(),
        limit=message.limit,
        number=message.number,
        images=tuple(
            ImageInput(image.key, None if image.tiles is None else next(read).numpy(), image.pages)
            for image in message.images
        ),
        extra=dict(zip(message.extra, read, strict=True)),
        image_positions=np.flatnonzero(message.prompt == image_token),
        positions=message.positions,
        sight=message.sight,
    )


def _tensors(regions: list[Region], descriptor: int | None) -> list[torch.Tensor]:
    if descriptor is None:
        return []
    memory = SharedMemory(descriptor)
    try:
        return memory.tensors(regions)
    finally:
        memory.close()
