"""What can end a command, and the exit code that says so. docs/rollouts.md lists the codes."""

from enum import IntEnum


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
    """The base of all that this package raises: one sentence for the reader, and an exit code."""

    exit_code = ExitCode.FAILED


class UsageError(CapstanError):
    """The command cannot be understood: a model that does not exist, a malformed duration."""

    exit_code = ExitCode.USAGE


class RefusedError(CapstanError):
    """The command would not end well, so nothing was changed."""

    exit_code = ExitCode.REFUSED


class LockHeldError(RefusedError):
    """Another rollout of the same release is under way."""


class ToolError(CapstanError):
    """helm or kubectl is missing, failed, or did not end in time."""

    exit_code = ExitCode.TOOL


class ClusterError(CapstanError):
    """The API server refused a request. `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(CapstanError):
    """The API server, or a pod behind it, cannot be reached. It may be worth another try."""

    exit_code = ExitCode.UNREACHABLE


class RolloutError(CapstanError):
    """A rollout failed or passed its deadline. Who catches it decides whether to roll back."""

    exit_code = ExitCode.NOT_ROLLED_BACK


class RolledBackError(CapstanError):
    """A rollout failed, and what ran before it serves again."""

    exit_code = ExitCode.ROLLED_BACK
