"""What travels between a replica and its ranks."""

import pickle

import pytest
import torch

from service.engine.parallel.channel import Channel
from service.engine.parallel.messages import Batch, Parcel, Row
from service.engine.request import Sampling

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.long, torch.bool])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (), (0, 3)])
def test_a_tensor_arrives_as_it_was(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Numbers, shape and type survive the way, whatever they are."""
    tensor = torch.randn(shape).mul(100).to(dtype)
    parcel: Parcel = pickle.loads(pickle.dumps(Parcel.of(tensor)))  # noqa: S301
    arrived = parcel.tensor(CPU)
    assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(arrived, tensor)


def test_a_view_travels_without_what_it_is_a_view_of() -> None:
    """Only the numbers of the tensor itself are sent."""
    whole = torch.arange(1000)
    parcel = Parcel.of(whole[::500])
    assert parcel.content is not None
    assert parcel.content.nbytes == 2 * 8
    assert parcel.tensor(CPU).tolist() == [0, 500]


def test_an_outline_has_the_shape_alone() -> None:
    """Ranks that get the numbers from rank 0 are sent none, and can make room for them."""
    rows = (Row([1, 2], Sampling(5), 5),)
    outline = Batch(rows, {"pixel_values": Parcel.of(torch.ones(7, 3, dtype=torch.bfloat16))}).outline
    assert outline.rows == rows
    assert outline.inputs["pixel_values"].content is None
    room = outline.inputs["pixel_values"].tensor(CPU)
    assert (room.shape, room.dtype) == ((7, 3), torch.bfloat16)


def test_a_channel_delivers_in_order_and_tells_silence_from_the_end() -> None:
    """Messages arrive in order; none in time is a TimeoutError, a closed other end an EOFError."""
    here, socket = Channel[object, object].pair()
    there = Channel[object, object](socket.detach())
    here.send("first")
    here.send({"second": 2})
    assert [there.receive(1), there.receive(1)] == ["first", {"second": 2}]
    with pytest.raises(TimeoutError, match="no message came within 0 s"):
        there.receive(0)
    here.close()
    with pytest.raises(EOFError):
        there.receive(1)
    there.close()
