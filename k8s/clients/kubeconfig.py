"""The kubeconfig: which API server, as which user, in which namespace."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from k8s.clients.process import redact
from k8s.errors import UsageError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

DEFAULT_FILE = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Location:
    """The cluster, the namespace and the Helm release that a command is about."""

    release: str = "capstan"
    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


def load_configuration(location: Location) -> tuple["Configuration", str]:
    """The client's configuration and the namespace, from the kubeconfig's context or the pod's account.

    Raises UsageError where there is no usable configuration.
    """
    from kubernetes.client import Configuration  # noqa: PLC0415 - takes a second, which --help does not have
    from kubernetes.config import load_kube_config  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION  # noqa: PLC0415

    configuration = Configuration()
    # An empty KUBECONFIG counts as none, as for kubectl.
    paths = str(location.kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION or DEFAULT_FILE)
    try:
        known = _contexts(paths)
        if known is None:
            return _from_pod(configuration, paths, location)
        contexts, current = known
        name = location.context or current
        if name not in contexts:
            raise UsageError(_unknown_context(name, contexts, from_option=location.context is not None))
        load_kube_config(paths, context=name, client_configuration=configuration)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the kubeconfig {paths} is not YAML: {redact(reason)}") from None
    except (ConfigException, TypeError, KeyError, AttributeError, OSError) as error:
        raise UsageError(f"the kubeconfig {paths} cannot be used: {redact(str(error))}") from None
    return configuration, contexts[name]


def _contexts(paths: str) -> tuple[dict[str, str], str] | None:
    """The contexts with their namespaces, and the current context; None where there is no file."""
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    merged = KubeConfigMerger(paths).config
    if merged is None:
        return None
    found = merged.value
    contexts = {
        c.value["name"]: (c.value.get("context") or {}).get("namespace") or "default"
        for c in found.get("contexts") or []
    }
    return contexts, found.get("current-context") or ""


def _from_pod(configuration: "Configuration", paths: str, location: Location) -> tuple["Configuration", str]:
    from kubernetes.config import load_incluster_config  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

    if location.kubeconfig:
        raise UsageError(f"the kubeconfig {paths} does not exist; name another with --kubeconfig")
    try:
        load_incluster_config(configuration)
    except ConfigException:
        raise UsageError(
            f"no cluster is configured: the kubeconfig {paths} does not exist, and this is not a pod; "
            "name one with --kubeconfig or KUBECONFIG"
        ) from None
    namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return configuration, namespace.read_text().strip() if namespace.is_file() else "default"


def _unknown_context(name: str, contexts: dict[str, str], *, from_option: bool) -> str:
    known = ", ".join(contexts) or "none"
    if not name:
        return f"the kubeconfig has no current context; choose one of {known} with --context"
    source = "--context" if from_option else "the kubeconfig's current context"
    return f"{source} {name!r} is not among the kubeconfig's contexts: {known}"
