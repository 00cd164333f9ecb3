"""The kubeconfig: which API server, as whom, in which namespace; or what is wrong with it."""

from pathlib import Path

import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from k8s.doors.place import Place
from k8s.doors.process import redact
from k8s.errors import UsageError


def load(place: Place) -> tuple[client.Configuration, str]:
    """How to reach the cluster of a kubeconfig's context, or the one this pod runs in, and the namespace.

    Raises UsageError where there is no such configuration.
    """
    settings = client.Configuration()
    paths = str(place.kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION)
    try:
        known = _contexts(paths)
        if known is None:
            return _of_pod(settings, paths, place)
        contexts, current = known
        chosen = place.context or current
        if chosen not in contexts:
            raise UsageError(_unknown(chosen, contexts, named=place.context is not None))
        config.load_kube_config(paths, context=chosen, client_configuration=settings)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"the kubeconfig {paths} is no YAML: {redact(said)}") from None
    except (ConfigException, TypeError, KeyError, AttributeError, OSError) as error:
        raise UsageError(f"the kubeconfig {paths} cannot be used: {redact(str(error))}") from None
    return settings, contexts[chosen]


def _contexts(paths: str) -> tuple[dict[str, str], str] | None:
    """The kubeconfig's contexts with their namespaces, and the current one; None where there is no file."""
    merged = KubeConfigMerger(paths).config
    if merged is None:
        return None
    found = merged.value
    contexts = {
        c.value["name"]: (c.value.get("context") or {}).get("namespace") or "default"
        for c in found.get("contexts") or []
    }
    return contexts, found.get("current-context") or ""


def _of_pod(settings: client.Configuration, paths: str, place: Place) -> tuple[client.Configuration, str]:
    if place.kubeconfig:
        raise UsageError(f"the kubeconfig {paths} does not exist; name another with --kubeconfig")
    try:
        config.load_incluster_config(settings)
    except ConfigException:
        raise UsageError(
            f"no cluster is configured: the kubeconfig {paths} does not exist, and this is no pod; "
            "name one with --kubeconfig or KUBECONFIG"
        ) from None
    namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return settings, namespace.read_text().strip() if namespace.is_file() else "default"


def _unknown(chosen: str, contexts: dict[str, str], *, named: bool) -> str:
    there = ", ".join(contexts) or "none"
    if not chosen:
        return f"the kubeconfig has no current context; choose one of {there} with --context"
    source = "--context" if named else "the kubeconfig's current context"
    return f"{source} {chosen!r} is not among the kubeconfig's contexts: {there}"
