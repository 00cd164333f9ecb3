"""What holds for every test."""

import inspect

import pytest
from hypothesis import settings

# A busy machine may take long over any example.
settings.register_profile("capstan", deadline=None)
settings.load_profile("capstan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that does not say in one sentence what it shows."""
    for item in items:
        sentence = inspect.getdoc(getattr(item, "obj", None)) or ""
        if not sentence.partition("\n\n")[0].rstrip().endswith("."):
            raise pytest.UsageError(f"{item.nodeid}: the docstring is not a sentence of behaviour")
