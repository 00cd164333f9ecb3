"""Sequences from the messages that start them."""

import numpy as np
import torch

from service.engine.ranks.messages import Add
from service.engine.ranks.shared_memory import SharedMemory
from service.engine.sequence import ImageInput, Sequence


def sequence_of(message: Add, descriptor: int | None, image_token: int | None) -> Sequence:
    """The sequence that is described, its tensors in the memory of `descriptor`, which is closed."""
    regions = [image.tiles for image in message.images if image.tiles is not None]
    regions += message.extra.values()
    arrays = list[np.ndarray]()
    if descriptor is not None:
        memory = SharedMemory(descriptor)
        try:
            arrays = memory.arrays(regions)
        finally:
            memory.close()
    read = iter(arrays)
    return Sequence(
        message.sampling,
        prompt=message.prompt.tolist(),
        limit=message.limit,
        number=message.number,
        images=tuple(
            ImageInput(image.key, None if image.tiles is None else next(read), image.pages)
            for image in message.images
        ),
        extra=dict(zip(message.extra, map(torch.from_numpy, read), strict=True)),
        image_positions=np.flatnonzero(message.prompt == image_token),
        positions=message.positions,
        sight=message.sight,
    )
