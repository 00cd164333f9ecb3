"""What a plan shows, and the differences it is made of."""

from typing import Any

import pytest

from k8s.planning.diff import differences
from k8s.planning.plan import format_value


def test_differences() -> None:
    """Differences are found at the leaves, and in lists of unequal length as a whole."""
    found = list(differences({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": 2}, "c": [1]}))
    assert found == [(("a", "b"), 1, 2), (("c",), [1, 2], [1])]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("model a: runtime_env.env_vars.HF_TOKEN", "hf_x", "(set)"),
        ("pool p: template.spec.containers[0].env", [{"name": "A", "value": "hf_x"}], "(set)"),
        ("model a: runtime_env", {"env_vars": {"HF_TOKEN": "hf_x"}}, "(set)"),
        ("pool p: template.spec.containers", [{"env": [{"name": "A", "value": "hf_x"}]}], "(set)"),
        ("pool p: template.spec.tolerations", [{"key": "gpu"}], "[{'key': 'gpu'}]"),
        ("model a: num_replicas", 2, "2"),
        ("model a: user_config.max_tokens", None, "(none)"),
        ("model a: import_path", "x" * 80, "x" * 57 + "..."),
    ],
)
def test_values_shown(field: str, value: Any, text: str) -> None:
    """A plan shows short values, and none that may be a secret."""
    assert format_value(field, value) == text
