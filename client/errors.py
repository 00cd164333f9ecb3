"""The errors that end `capstan caption`, with their exit codes (docs/rollouts.md)."""


class ClientError(Exception):
    """The base of this package's errors: one sentence for the user, and an exit code."""

    exit_code = 1


class UsageError(ClientError):
    """The command makes no sense: no such image, an output that is something else."""

    exit_code = 64


class UnreachableError(ClientError):
    """The server does not answer. A retry may help."""

    exit_code = 6
