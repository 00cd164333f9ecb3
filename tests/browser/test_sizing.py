"""The calculator of the documentation site, and `capstan size`."""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page, expect

from k8s.commands.size import size_values
from k8s.planning.sizing import GPUS, ModelShape, Workload, size
from tests.browser.conftest import Visit
from tests.support.server import ROOT
from tools.sizing_data import INTERNVL2_8B

pytestmark = pytest.mark.browser

EMBEDDED = ROOT / "service/models/embedded/config.json"
TEXT, VISION = INTERNVL2_8B["llm_config"], INTERNVL2_8B["vision_config"]
# Both layouts of config.json, and models from tiny to larger than eight cards.
CONFIGS: list[dict[str, Any]] = [
    INTERNVL2_8B,
    json.loads(EMBEDDED.read_text()),
    {**INTERNVL2_8B, "llm_config": {**TEXT, "num_hidden_layers": 96, "head_dim": 256}},
    {**INTERNVL2_8B, "llm_config": {**TEXT, "num_hidden_layers": 2000}},
    {
        "text_config": {**TEXT, "num_key_value_heads": None, "tie_word_embeddings": True},
        "vision_config": {**VISION, "image_size": [384, 384], "patch_size": [16, 16]},
        "image_seq_length": 144,
    },
]
WORKLOADS = [Workload(*work) for work in product((0.5, 20.0, 999.0), (1, 13, 128), (1, 200, 4000))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The address of the documentation site."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(built)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)  # noqa: S603 - our own command

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=built)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(site: str, visit: Visit) -> Page:
    found = visit(site + "sizing.html")
    expect(found.get_by_role("status")).to_have_text("Weights: 15.0 GiB.")
    return found


def test_the_page_and_the_command_agree(page: Page) -> None:
    """For every model, GPU and workload of a grid, the page computes what `capstan size` does."""
    works = [asdict(work) for work in WORKLOADS]
    computed = page.evaluate(
        """([configs, works]) => configs.map(modelShape).map((shape) => [shape, works.map((work) =>
            Object.values(SIZING.GPUS).map((gpu) => size(shape, gpu, work)))])""",
        [CONFIGS, works],
    )
    for config, (shape, sizes) in zip(CONFIGS, computed, strict=True):
        wanted = ModelShape.from_config(config)
        assert shape == asdict(wanted)
        for work, found in zip(WORKLOADS, sizes, strict=True):
            for gpu, one in zip(GPUS.values(), found, strict=True):
                right = size(wanted, gpu, work)
                assert (one is None) == (right is None)
                if right is not None:
                    expected = asdict(right) | {"gpu_hours_a_month": right.gpu_hours_a_month}
                    assert one == pytest.approx(expected, rel=1e-12)


def test_the_form_shows_sizes_and_values(page: Page, tmp_path: Path) -> None:
    """The form sizes a model of its list or a config.json, and writes the command's values file."""
    page.get_by_label("Images per second").fill("40")
    page.get_by_label("Values file for").select_option("h100")
    found = size(ModelShape.from_config(INTERNVL2_8B), GPUS["h100"], Workload(40.0, 13, 200))
    assert found is not None
    code = page.locator("#calculator code")
    expect(code).to_contain_text(f"replicas: {found.replicas}")
    assert yaml.safe_load(code.inner_text()) == size_values(found)
    row = page.locator("#calculator tbody tr", has_text="h100")
    expect(row).to_contain_text(f"{found.gpu_hours_a_month:,}")

    page.get_by_label("Model").select_option("its config.json ...")
    expect(page.get_by_role("status")).to_have_text("Choose the config.json of a checkpoint.")
    page.locator("#calculator [type=file]").set_input_files(EMBEDDED)
    expect(page.get_by_role("status")).to_have_text("Weights: 0.0 GiB.")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    page.locator("#calculator [type=file]").set_input_files(tmp_path / "config.json")
    expect(page.get_by_role("status")).to_contain_text("other families must be measured")
