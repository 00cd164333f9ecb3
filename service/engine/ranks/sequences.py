"""Sequences from the messages that start them."""

import numpy as np
import torch

from service.engine.ranks.messages import Add
from service.engine.ranks.shared_memory import Region, SharedMemory
from service.engine.sequence import ImageInput, Sequence


def sequence_of(message: Add, descriptor: int | None, image_token: int | None) -> Sequence:
    """The sequence that is described, its tensors in the memory of `descriptor`, which is closed."""
    sent = [image.tiles for image in message.images if image.tiles is not None]
    sent += message.extra.values()
    read = iter(_arrays(sent, descriptor))
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


def _arrays(sent: list[Region | np.ndarray], descriptor: int | None) -> list[np.ndarray]:
    """What was sent, all of it in the message or in the memory."""
    if descriptor is None:
        return [one for one in sent if isinstance(one, np.ndarray)]
    memory = SharedMemory(descriptor)
    try:
        return memory.arrays([one for one in sent if isinstance(one, Region)])
    finally:
        memory.close()
