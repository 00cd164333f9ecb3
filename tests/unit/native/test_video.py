"""Videos as lists of frames, from the request to the answer."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.errors import ErrorCode, RequestError
from service.external.payload import PayloadBuilder
from service.media.tiles import TileSpec
from service.prompt.inputs import DecodedTurn
from service.prompt.internvl_inputs import frames_of
from service.protocol.request import EncodedImage, EncodedVideo, Sampling
from tests.support.checkpoints import TOKENS_PER_TILE, make_internvl
from tests.support.original_checkpoints import make_original
from tests.support.other_checkpoints import make_other
from tests.support.running import DECODER, answer, ask, by_generate, embedded, picture, running

VIDEO = EncodedVideo((picture(1), picture(2, 224, 112), picture(3, 100, 300)))


@pytest.fixture(scope="module", params=["ported", "original", "original_qwen"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A small checkpoint of each layout."""
    folder: Path = tmp_path_factory.mktemp("video") / request.param
    if request.param == "ported":
        return load(str(make_internvl(folder)))
    if request.param == "original":
        return load(str(make_original(folder)))
    return load(str(make_original(folder, "Qwen2ForCausalLM", template="internvl2_5")))


def published(frames: int, question: str) -> str:
    """A question about a video, put together as on the model card of InternVL2 and in its `chat`."""
    text = "".join(f"Frame{index + 1}: <image>\n" for index in range(frames)) + question
    for _ in range(frames):  # one tile each
        text = text.replace("<image>", "<img>" + "<IMG_CONTEXT>" * TOKENS_PER_TILE + "</img>", 1)
    return text


def test_the_prompt_is_the_published_one(model: LoadedModel) -> None:
    """Frames stand behind their numbers as in the published recipe, token for token."""
    spec = model.inputs.tiling.spec if model.inputs.tiling else TileSpec(56, 1)
    content = tuple(
        part if isinstance(part, str) else DECODER.cut(part.data, spec.at_most(part.max_tiles))
        for part in frames_of(VIDEO)
    )
    built = model.inputs.build([DecodedTurn("user", (*content, "What happens?"))])
    assert built.tiles_per_image == (1, 1, 1)
    # The template around it is that of a question without images.
    around = model.inputs.build([DecodedTurn("user", ("@@",))])
    before, after = model.tokenizer.decode(around.input_ids).removeprefix("<s>").split("@@")
    whole = model.tokenizer(before.lstrip() + published(3, "What happens?") + after)["input_ids"]
    assert model.tokenizer.decode(built.input_ids) == model.tokenizer.decode(whole)
    assert built.input_ids == whole


def test_a_frame_is_one_tile_of_the_whole_image(model: LoadedModel) -> None:
    """A frame of any aspect ratio is resized to a tile, without a thumbnail, as the published code does."""
    tiling = model.inputs.tiling
    assert tiling is not None
    frames = [part for part in frames_of(VIDEO) if isinstance(part, EncodedImage)]
    for frame in frames:
        (tile,) = DECODER.cut(frame.data, tiling.spec.at_most(frame.max_tiles))
        side = (tiling.spec.size, tiling.spec.size)
        image = Image.open(io.BytesIO(frame.data)).convert("RGB").resize(side, Image.Resampling.BICUBIC)
        assert np.array_equal(tile, np.asarray(image))


@pytest.mark.slow
def test_a_video_is_answered_together_with_images() -> None:
    """Videos batched with images get the text of `generate` alone, and frames are a tile each."""
    requests = [
        ask(VIDEO, "What happens?"),
        ask(picture(1), "What is this?"),
        ask("First:", VIDEO, "then", picture(2), "and", EncodedVideo((picture(4),)), "?"),
    ]
    with running() as engine:
        answers = answer(engine, *requests)
    assert [one.text for one in answers] == [by_generate(embedded(), request) for request in requests]
    tiles = [one.usage.image_tiles for one in answers]
    assert tiles[0] == 3
    assert tiles[2] == 3 + 1 + len(DECODER.cut(picture(2).data, embedded().inputs.tiling.spec))


@pytest.mark.slow
def test_a_video_is_not_its_frames_as_images() -> None:
    """A video shares neither its answer nor its features with the same files and texts as images."""
    with running() as engine:
        video, images = answer(
            engine, ask(EncodedVideo((picture(1),)), "?"), ask("Frame1: ", picture(1), "?")
        )
        assert engine.stats().feature_misses == 2
    assert (video.usage.image_tiles, images.usage.image_tiles) == (1, 5)


@pytest.mark.slow
def test_a_video_too_long_for_the_context_is_refused() -> None:
    """More frames than fit into the context are refused with the numbers."""
    loaded = embedded()
    frames = loaded.context_length // loaded.inputs.tiling.tokens_per_tile + 1
    with (
        running(loaded) as engine,
        pytest.raises(RequestError, match="images included; the limit") as caught,
    ):
        answer(engine, ask(EncodedVideo((picture(1),) * frames), "?"))
    assert caught.value.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


def test_a_model_that_takes_images_only_refuses_a_video(tmp_path: Path) -> None:
    """A family whose own processor prepares images refuses a video, and says what to send."""
    loaded = load(str(make_other(tmp_path / "model", "llava_onevision")))
    with (
        running(loaded) as engine,
        pytest.raises(RequestError, match="takes images only; send its frames as"),
    ):
        answer(engine, ask(VIDEO, "?"))


def test_another_server_gets_frames_as_vllm_takes_them() -> None:
    """Another server gets a video as one data URL, in which frames are separated by commas."""
    request = ask(VIDEO, "What happens?", max_tokens=1)
    assert request.sampling == Sampling(1)
    ((video, text),) = (message["content"] for message in PayloadBuilder("m", DECODER).messages(request))
    assert text == {"type": "text", "text": "What happens?"}
    assert video["type"] == "video_url"
    head, _, frames = video["video_url"]["url"].partition(",")
    assert head == "data:video/jpeg;base64"
    sizes = [Image.open(io.BytesIO(base64.b64decode(frame))).size for frame in frames.split(",")]
    assert sizes == [(112, 112), (224, 112), (100, 300)]
