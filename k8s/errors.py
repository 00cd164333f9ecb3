"""The errors that end a command, with their exit codes (docs/rollouts.md)."""

from enum import IntEnum

TESTED_KUBERAY = "1.7.0"
INSTALL_KUBERAY = (
    "helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ "
    f"--version {TESTED_KUBERAY}"
)


class ExitCode(IntEnum):
    """The exit codes of `capstan`, the same for every command."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    REFUSED = 3
    ROLLED_BACK = 4
    NOT_ROLLED_BACK = 5
    UNREACHABLE = 6
    TOOL = 7
    USAGE = 64
    INTERRUPTED = 130


class CapstanError(Exception):
    """The base of this package's errors: one sentence for the user, and an exit code."""

    exit_code = ExitCode.FAILED


class UsageError(CapstanError):
    """The command makes no sense: an unknown model, a malformed duration."""

    exit_code = ExitCode.USAGE


class RefusedError(CapstanError):
    """The command could not succeed, so nothing was changed."""

    exit_code = ExitCode.REFUSED


class LockHeldError(RefusedError):
    """Another rollout of the same release is in progress."""


class LeaseLostError(CapstanError):
    """Another rollout of the same release took over, so this one may change nothing more."""

    exit_code = ExitCode.NOT_ROLLED_BACK


class ToolError(CapstanError):
    """helm or kubectl is missing, failed, or did not finish in time."""

    exit_code = ExitCode.TOOL


class ClusterError(CapstanError):
    """The API server refused a request. `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(CapstanError):
    """The API server, or a pod behind it, cannot be reached. A retry may help."""

    exit_code = ExitCode.UNREACHABLE


class RolloutError(CapstanError):
    """A rollout failed or passed its deadline."""

    exit_code = ExitCode.NOT_ROLLED_BACK


class RolledBackError(CapstanError):
    """A rollout failed, and the former revision serves again."""

    exit_code = ExitCode.ROLLED_BACK
