"""What travels between the processes of a replica."""

import os

import numpy as np
import pytest

from service.engine.ranks.channel import Channel
from service.engine.ranks.shared_memory import SharedMemory


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.bool_, np.uint8])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (), (0, 3)])
def test_an_array_arrives_as_it_was(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Numbers, shape and type survive the way through shared memory, whatever they are."""
    array = np.asarray(np.random.default_rng(1).uniform(0, 100, shape)).astype(dtype)
    other = np.arange(1000)[::7]
    memory, regions = SharedMemory.of([other, array])
    arrived = SharedMemory(os.dup(memory.descriptor)).arrays(regions)
    memory.close()
    assert np.array_equal(arrived[0], other)
    assert (arrived[1].dtype, arrived[1].shape) == (array.dtype, array.shape)
    assert np.array_equal(arrived[1], array)


def test_messages_arrive_in_order_with_their_files() -> None:
    """Messages of any size arrive in order, and a file comes with its own message."""
    here, end = Channel[object, object].pair()
    there = Channel[object, object](end)
    memory, regions = SharedMemory.of([np.arange(9)])
    here.send("first")
    here.send({"second": b"x" * 100_000}, memory.descriptor)
    here.send("third")
    memory.close()
    assert there.receive(1) == ("first", None)
    second, descriptor = there.receive(1)
    assert second == {"second": b"x" * 100_000}
    assert descriptor is not None
    arrived = SharedMemory(descriptor)
    assert arrived.arrays(regions)[0].tolist() == list(range(9))
    arrived.close()
    assert there.receive(1) == ("third", None)
    here.close()
    there.close()


def test_a_channel_tells_silence_from_the_end() -> None:
    """No message in time is a TimeoutError, a closed other end an EOFError, for a sender an OSError."""
    here, end = Channel[object, object].pair()
    there = Channel[object, object](end)
    with pytest.raises(TimeoutError, match="no message came within 0 s"):
        there.receive(0)
    here.close()
    with pytest.raises(EOFError):
        there.receive(1)
    with pytest.raises(OSError, match="Broken pipe"):
        there.send("late")
    there.close()
