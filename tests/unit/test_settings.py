"""Settings and the entry point's reading of the environment."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import ERRORS, ErrorCode
from service.settings import Settings


def test_lists_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists in the environment are split at their separators, and blanks are dropped."""
    monkeypatch.setenv("CAPSTAN_IMAGE_ROOTS", "/a::/b")
    monkeypatch.setenv("CAPSTAN_CORS_ORIGINS", "https://a.example , *")
    settings = Settings()
    assert settings.image_roots == (Path("/a"), Path("/b"))
    assert settings.cors_origins == ("https://a.example", "*")


def test_sizes_take_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size may be written with a unit."""
    monkeypatch.setenv("CAPSTAN_CACHE_BYTES", "3MiB")
    assert Settings().cache_bytes == 3 * 2**20


def test_a_value_out_of_bounds_is_refused() -> None:
    """A value outside its bounds is refused with the setting's name."""
    with pytest.raises(ValidationError, match="max_tiles"):
        Settings(max_tiles=0)


def test_settings_survive_the_way_to_the_replica() -> None:
    """Settings turned into plain data and back are the same."""
    settings = Settings(image_roots="/a:/b", cache_bytes="1GiB", max_tiles=6)
    assert Settings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    """Every setting has a sentence under it."""
    assert (Settings.model_fields[name].description or "").endswith(".")


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_in_the_table(code: ErrorCode) -> None:
    """Every public code has its status, its occasion and its remedy."""
    kind = ERRORS[code]
    assert 400 <= kind.status < 600
    assert kind.when.endswith(".")
    assert kind.remedy.endswith(".")


def test_hosts_and_networks_travel_to_the_replica() -> None:
    """Lists of hosts and networks are read from texts, and come through Serve's arguments unchanged."""
    settings = Settings(image_url_hosts="a.test, *.b.test:9000", image_url_networks="10.0.0.0/8,fd00::/8")
    assert settings.image_url_hosts == ("a.test", "*.b.test:9000")
    assert [str(network) for network in settings.image_url_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert Settings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    "wrong",
    [{"image_url_hosts": "https://a.test"}, {"image_url_hosts": "*"}, {"image_url_networks": "10.0.0.1/8"}],
)
def test_hosts_and_networks_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    """An invalid host or network is refused at startup, so that a typing error opens nothing."""
    with pytest.raises(ValidationError):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"adapter": "a/b", "engine": "url", "engine_url": "http://x"}, "adapter is set, but engine is url"),
        ({"quantization": "fp8", "engine": "url", "engine_url": "http://x"}, "quantization is set, but"),
        ({"prompt_lookup": 4, "engine": "url", "engine_url": "http://x"}, "prompt_lookup is set, but"),
        ({"prompt_lookup": 4, "runner": "generate"}, "prompt_lookup is set, but runner is generate"),
        ({"adapter_revision": "main"}, "adapter_revision is set, but adapter is not"),
    ],
)
def test_adapters_and_formats_are_for_our_own_engine(given: dict[str, Any], sentence: str) -> None:
    """An adapter or a format that would be ignored is refused at startup."""
    with pytest.raises(ValidationError, match=sentence):
        Settings(**given)


def test_resources_fill_in_threads_and_the_share_of_a_gpu() -> None:
    """Preparation has a thread for each CPU of the replica, and half a GPU is half of the memory."""
    found = Settings().for_resources(cpus=4, gpus=0.5)
    assert (found.preparation_threads, found.memory_fraction) == (4, 0.45)
    found = Settings(preparation_threads=3).for_resources(cpus=1, gpus=2)
    assert (found.preparation_threads, found.memory_fraction) == (3, 0.9)
    assert Settings().for_resources(cpus=1, gpus=0).preparation_threads == 2
