"""The parts of the measurement on a GPU that need none."""

import io
from pathlib import Path

import pytest
from PIL import Image

from bench.gpu_profile import card_of, shares
from bench.random_checkpoint import SMALL, write
from bench.tile_load import Load, loads, photos, prompt
from service.checkpoint.load import load
from service.media.tiles import TileSpec, tile_count


@pytest.mark.parametrize(
    ("name", "terabytes"),
    [
        ("NVIDIA H100 80GB HBM3", 3.35),
        ("NVIDIA H100 PCIe", 2.0),
        ("NVIDIA H200", 4.8),
        ("NVIDIA A100-SXM4-80GB", 2.039),
        ("NVIDIA A100-SXM4-40GB", 1.555),
        ("NVIDIA L4", 0.3),
        ("NVIDIA L40S", 0.864),
    ],
)
def test_a_card_is_known_by_its_name(name: str, terabytes: float) -> None:
    """The driver's names lead to the peaks of the very card."""
    card = card_of(name)
    assert card is not None
    assert card.bytes == pytest.approx(terabytes * 1e12)


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 9999", "NVIDIA L40", "NVIDIA GH200 480GB"])
def test_an_unknown_card_has_no_peaks(name: str) -> None:
    """Nothing is guessed for a card that is not listed, however like another's its name is."""
    assert card_of(name) is None


def test_the_time_of_a_step_is_divided() -> None:
    """Kernels are distinguished by their names, overlaps count once, and what is left are gaps."""
    found = shares(
        [
            ("flash_fwd_splitkv_kernel", 10.0, 30.0),
            ("sm90_xmma_gemm_bf16", 0.0, 10.0),
            ("vectorized_elementwise_kernel", 25.0, 40.0),
            ("nvjet_tst_128x64", 60.0, 100.0),
        ]
    )
    assert (found.attention, found.products, found.other) == pytest.approx((0.2, 0.5, 0.1))
    assert found.gaps == pytest.approx(0.2)


def test_a_profile_without_kernels_is_an_error() -> None:
    """A trace in which nothing ran gives no shares."""
    with pytest.raises(ValueError, match="no kernels"):
        shares([])


def test_images_are_cut_into_the_tiles_that_a_load_names() -> None:
    """Each load's images, all different, are cut without being scaled, and its prompts have its words."""
    spec = TileSpec(448, 12)
    chosen = loads(12)
    assert len({str(one) for one in chosen}) == len(chosen) == 18
    for one in (chosen[0], chosen[6], chosen[12]):
        first, second = photos(one, spec.size, 2)
        with Image.open(io.BytesIO(first.file)) as image:
            assert tile_count(*image.size, spec) == one.tiles
        assert first.file != second.file
    assert len(prompt(Load((1, 1), 8, 1)).split()) == 8


def test_a_checkpoint_of_random_weights_loads(tmp_path: Path) -> None:
    """The written checkpoint passes every check of the loader, its larger vocabulary included."""
    write(tmp_path, SMALL)
    loaded = load(str(tmp_path))
    assert loaded.architecture == "internvl"
    assert len(loaded.tokenizer) == SMALL.text["vocab_size"]
