"""Linear layers in 8 bits."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.checkpoint.quantization import (
    FORMATS,
    LIMITS,
    QuantizedLinear,
    product,
    quantize,
    quantize_model,
    refuse_device,
    weights_of,
)
from service.engine.runner.layers import Quantized, fuse
from service.engine_options import Quantization
from service.errors import DeviceError
from service.media.decode import ImageLimits, LocalDecoder
from service.native.start import native_engine
from service.protocol.request import EncodedImage
from service.settings import EMBEDDED_MODEL, Settings
from tests.support.running import answer, ask, by_generate, picture, running
from tests.unit.native.test_rank_group import SETUP, processes
from training.shapes import random_image

KINDS = ("int8", "fp8")


def slow_product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, kind: torch.dtype
) -> torch.Tensor:
    """Each number by itself, in float64: rounded to its format, multiplied, summed and scaled back."""
    out = torch.empty(len(x), len(weight), dtype=torch.float64)
    for row, column in [(row, column) for row in range(len(x)) for column in range(len(weight))]:
        factors = []
        for values in (x[row].tolist(), weight[column].tolist()):
            scale = torch.tensor(max(map(abs, values)) / LIMITS[kind], dtype=torch.float32)
            rounded = torch.tensor(values) / scale
            rounded = torch.round(rounded) if kind == torch.int8 else rounded.to(kind)
            factors.append(rounded.double() * scale.double())
        out[row, column] = factors[0] @ factors[1] + bias[column].double()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_the_product_is_that_of_rounded_numbers(kind: Quantization) -> None:
    """The product is what rounding each number and computing in float64 gives, but for the last bits."""
    random = torch.Generator().manual_seed(3)
    x, weight = torch.randn(5, 32, generator=random), torch.randn(16, 32, generator=random)
    bias = torch.randn(16, generator=random)
    rows, scale = quantize(weight, FORMATS[kind])
    found = product(x.view(5, 1, 32), rows, scale, bias)
    assert found.shape == (5, 1, 16)
    expected = slow_product(x, weight, bias, FORMATS[kind])
    torch.testing.assert_close(found.view(5, 16).double(), expected, atol=2e-5, rtol=1e-5)
    exact = x @ weight.T + bias
    assert 0 < (found.view(5, 16) - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_others(kind: Quantization) -> None:
    """A token's result is the same alone as in a batch with larger ones, and zeros stay zeros.

    Sums of fp8 may be in another order.
    """
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(4))
    x[1] *= 1000
    x[2] = 0
    rows, scale = quantize(torch.randn(16, 32, generator=torch.Generator().manual_seed(5)), FORMATS[kind])
    together = product(x, rows, scale)
    last_bits = 0.0 if kind == "int8" else 2e-6
    torch.testing.assert_close(together[0], product(x[:1], rows, scale)[0], atol=last_bits, rtol=last_bits)
    assert not together[2].any()


def test_layers_of_one_input_are_fused_as_they_are() -> None:
    """Fused layers give exactly what each gives, and the model keeps no second copy of them."""
    layers = [QuantizedLinear(nn.Linear(16, width), torch.int8) for width in (16, 32)]
    fused = fuse(*layers)
    assert isinstance(fused, Quantized)
    x = torch.randn(3, 16)
    assert torch.equal(fused(x), torch.cat([layer(x) for layer in layers], -1))
    assert layers[1].weight.data_ptr() == fused.weight[16:].data_ptr()
    with pytest.raises(DeviceError, match="some layers of one input are quantized"):
        fuse(layers[0], nn.Linear(16, 16))


@pytest.fixture(scope="module", params=KINDS)
def quantized(request: pytest.FixtureRequest) -> LoadedModel:
    """The embedded model in 8 bits; torch computes fp8 on the CPU, too, though slowly."""
    loaded = load(str(EMBEDDED_MODEL))
    assert quantize_model(loaded.model, request.param) == 41
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["auto", "transformers"])
def test_runners_compute_in_8_bits(quantized: LoadedModel, runner: Any) -> None:
    """Both runners answer batched requests as the quantized model's own `generate` does alone."""
    requests = [ask(picture(seed), "What is this?") for seed in range(4)]
    with running(quantized, runner=runner) as engine:
        assert engine.describe().runner == ("fused" if runner == "auto" else runner)
        texts = [completion.text for completion in answer(engine, *requests)]
    assert texts == [by_generate(quantized, request) for request in requests]


@pytest.mark.slow
def test_captions_are_as_right_as_before(quantized: LoadedModel) -> None:
    """Of 64 new images at most one less is captioned right than in float32."""
    drawn = [random_image(np.random.default_rng(920_000 + number)) for number in range(64)]
    requests = [ask(encoded(image), "Describe the image.", max_tokens=32) for image, _ in drawn]

    def right(loaded: LoadedModel) -> int:
        with running(loaded) as engine:
            found = answer(engine, *requests)
        return sum(one.text.strip() == caption for one, (_, caption) in zip(found, drawn, strict=True))

    assert right(quantized) >= right(load(str(EMBEDDED_MODEL))) - 1


def encoded(image: Image.Image) -> EncodedImage:
    file = io.BytesIO()
    image.save(file, "PNG")
    return EncodedImage(file.getvalue())


@pytest.mark.slow
def test_the_process_of_the_model_quantizes_it() -> None:
    """The process of rank 0 gets the format with its setup, and reports the bytes that it holds."""
    loaded, requests = load(str(EMBEDDED_MODEL), quantization="int8"), [ask(picture(5), "What is this?")]
    with processes(replace(SETUP, quantization="int8")) as (engine, ranks):
        assert [one.text for one in answer(engine, *requests)] == [by_generate(loaded, requests[0])]
        assert ranks.held_bytes[0] == held(loaded)


def held(loaded: LoadedModel) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights_of(loaded.model))


def test_weights_take_a_quarter() -> None:
    """Linear layers of float32 take a quarter of their bytes; embeddings, the head and norms stay."""
    plain, small = load(str(EMBEDDED_MODEL)), load(str(EMBEDDED_MODEL), quantization="int8")
    linear = sum(
        module.weight.numel() * 4
        for name, module in plain.model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    )
    assert held(plain) - held(small) == linear * 3 // 4
    assert isinstance(small.model.lm_head, nn.Linear)
    assert "quantize" in small.seconds


def test_fp8_is_traced_on_a_gpu() -> None:
    """On a GPU the product keeps to what the kernel takes: this is its trace, without a GPU."""
    with FakeTensorMode():
        weight = torch.empty(48, 32, dtype=torch.float8_e4m3fn, device="cuda")
        layer = Quantized(weight, None, torch.empty(48, 1, device="cuda"))
        for rows in (1, 16, 300):
            out = layer.add_to(
                torch.empty(rows, 48, dtype=torch.bfloat16, device="cuda"),
                torch.empty(rows, 32, dtype=torch.bfloat16, device="cuda"),
            )
            assert (out.shape, out.dtype, out.device.type) == ((rows, 48), torch.bfloat16, "cuda")


CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_devices_without_the_format_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that cannot compute in a format is refused with its name and what to do."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    with pytest.raises(DeviceError, match=r"=fp8 needs compute capability 8.9 .* NVIDIA A100 has 8.0; leave"):
        refuse_device("fp8", CUDA, torch.bfloat16)
    with pytest.raises(DeviceError, match="=int8 is for the CPU; use fp8 on a GPU"):
        refuse_device("int8", CUDA, torch.bfloat16)
    with pytest.raises(DeviceError, match="=fp8 needs a GPU; use int8 on the CPU"):
        load(str(EMBEDDED_MODEL), quantization="fp8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    refuse_device("fp8", CUDA, torch.bfloat16)
    with pytest.raises(DeviceError, match="computes in bfloat16, not in float16; set dtype auto"):
        refuse_device("fp8", CUDA, torch.float16)


def test_a_replica_refuses_before_it_loads() -> None:
    """A replica refuses a format for a model on several GPUs."""
    decoder = LocalDecoder(ImageLimits())
    with pytest.raises(DeviceError, match="=int8 needs CAPSTAN_GPUS_PER_REPLICA to be 1, not 2"):
        native_engine(Settings(quantization="int8", gpus_per_replica=2), 0, decoder)
