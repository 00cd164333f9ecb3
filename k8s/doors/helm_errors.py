"""What helm complains of, as the error that it is."""

import re

from k8s.errors import CapstanError, ClusterError, RefusedError, ToolError, UnreachableError, UsageError

UNREACHABLE = re.compile(r"Kubernetes cluster unreachable: (?:Get \"[^\"]*\": )?(.*)", re.DOTALL)
IN_TEMPLATE = re.compile(r"execution error at \([^)]*\): (.*)", re.DOTALL)
IN_VALUES = re.compile(r"(failed parsing --set.*|failed to parse .*: error converting YAML.*)", re.DOTALL)
TEXT = "; Helm takes a fraction after --set for text: write it into a file of values (-f)"
FAULT = re.compile(r"^- (.+)$", re.MULTILINE)


def explained(error: ToolError) -> CapstanError:
    """The error in the words of this command: a wrong value is usage, an absent server is unreachable."""
    said = str(error)
    if 'no matches for kind "RayService"' in said:
        return RefusedError(
            "the cluster does not know the kind RayService: KubeRay is not installed; "
            "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
        )
    if found := UNREACHABLE.search(said):
        if "provide credentials" in said:
            return ClusterError(
                "the API server refused (401): log in again, or choose another --context", 401
            )
        return UnreachableError(f"the API server does not answer ({found[1].strip()})")
    if "don't meet the specifications of the schema" in said:
        hint = TEXT if "Expected: number, given: string" in said else ""
        return UsageError(f"the values do not fit the chart: {'; '.join(FAULT.findall(said))}{hint}")
    if found := IN_TEMPLATE.search(said) or IN_VALUES.search(said):
        return UsageError(f"the values do not fit the chart: {found[1].strip()}")
    return error
