"""The kubeconfig, and what may be wrong with it."""

from pathlib import Path

import pytest
import yaml

from k8s.clients.kubeconfig import Location, load_configuration
from k8s.errors import UsageError

USER = {"name": "me", "user": {"token": "abc123"}}


def written(path: Path, current: str = "test", namespace: str | None = "captions") -> Path:
    context = {"cluster": "c", "user": "me", **({"namespace": namespace} if namespace else {})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": "https://host.example:6443"}}],
        "users": [USER],
        "contexts": [{"name": "test", "context": context}, {"name": "other", "context": context}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(("namespace", "found"), [("captions", "captions"), (None, "default")])
def test_context(tmp_path: Path, namespace: str | None, found: str) -> None:
    """A context gives the server and the namespace, which is `default` where it names none."""
    settings, where = load_configuration(
        Location(kubeconfig=written(tmp_path / "config", namespace=namespace))
    )
    assert (settings.host, where) == ("https://host.example:6443", found)


def test_an_empty_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty KUBECONFIG counts as none: the file in the home directory is read."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    written(tmp_path / ".kube" / "config")
    assert load_configuration(Location())[1] == "captions"


@pytest.mark.parametrize(
    ("context", "current", "sentence"),
    [
        ("tset", "test", "--context 'tset' is not among the kubeconfig's contexts: test, other"),
        (None, "gone", "current context 'gone' is not among the kubeconfig's contexts: test, other"),
        (None, "", "no current context; choose one of test, other with --context"),
    ],
)
def test_unknown_context(tmp_path: Path, context: str | None, current: str, sentence: str) -> None:
    """A context that is not there is reported with those that are."""
    with pytest.raises(UsageError) as error:
        load_configuration(Location(context=context, kubeconfig=written(tmp_path / "config", current)))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        ("contexts: [", "is not YAML"),
        ("", "cannot be used"),
        ("just words", "cannot be used"),
        ("{current-context: a, contexts: [{name: a}]}", "cannot be used"),
    ],
)
def test_unusable_file(tmp_path: Path, content: str | None, sentence: str) -> None:
    """A file that is not there, or is no kubeconfig, is reported with its name."""
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=f"{path.name} .*{sentence}|config {sentence}"):
        load_configuration(Location(kubeconfig=path))
