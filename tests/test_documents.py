"""What the documents name exists: modules, settings, import contracts and links."""

import re
import tomllib
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PLACE = re.compile(r"\b(?:service|k8s|tools|training|bench|tests|helm)(?:[./][\w-]+)+")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def missing(name: str) -> bool:
    """Whether neither a path nor a module has this name."""
    module = ROOT / name.replace(".", "/")
    return not any(path.exists() for path in (ROOT / name, module, module.with_suffix(".py")))


def test_every_module_of_the_architecture_exists() -> None:
    """Each module and path that docs/architecture.md names is in the repository."""
    names = set(PLACE.findall(ARCHITECTURE))
    assert len(names) > 50
    assert sorted(filter(missing, names)) == []


def test_every_setting_of_the_architecture_exists() -> None:
    """Each CAPSTAN_ variable that docs/architecture.md names is a setting."""
    names = {name.lower() for name in re.findall(r"CAPSTAN_(\w+)", ARCHITECTURE)}
    assert names
    assert names <= Settings.model_fields.keys()


def test_every_contract_is_explained() -> None:
    """docs/architecture.md explains each import contract of pyproject.toml and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]
    table = ARCHITECTURE.partition("| contract | guards |")[2]
    assert re.findall(r"^\| (?!---)(.+?) \|", table, re.MULTILINE) == contracts


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Each relative link of a page leads to a file of the repository."""
    links = LINK.findall((ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
