"""Errors that end a run: each class carries its exit code; each instance a message and a hint."""

from __future__ import annotations


class AgentError(Exception):
    """Base. `hint` says what to do; `exit_code` is the documented process status."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(AgentError):
    """Wrong use: a path that does not exist, an unknown setting, an option that makes no sense."""

    exit_code = 2


class TestsCannotRun(AgentError):
    """No pytest, no tests, a missing module, a suite that hangs or a collection that we cannot repair."""

    exit_code = 3
    __test__ = False  # pytest: not a test class


class CheckpointError(TestsCannotRun):
    """The checkpoint is missing, truncated, or not one of ours."""


class PatchConflict(AgentError):
    """A file changed under us: nothing was written."""

    exit_code = 1


class InternalError(AgentError):
    """A bug of ours, told like any other error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(
            f"internal error: {type(cause).__name__}: {cause}",
            "--debug prints the traceback; your files were not changed by this",
        )
