"""A look at the suite: one run of all tests, told as events. Nothing is repaired."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from agent.budget import Budget
from agent.errors import TestsCannotRun, UsageError
from agent.events import SCHEMA, Event, Finished, Started
from agent.first_run import in_thread, told
from tools.interpreter import WorkspaceError
from tools.runner import Runner
from tools.verdicts import RunnerError
from tools.workspace import find_workspace


def look(
    path: Path, python: str | None = None, pytest_args: tuple[str, ...] = (), max_seconds: float = 600.0,
    allow_network: bool = False,
) -> Iterator[Event]:  # fmt: skip
    """Run the suite of `path` once. Ends in Finished, status not_fixed or green; closing the generator stops the tests.

    Raises UsageError and TestsCannotRun as `agent.loop.fix` does.
    """
    try:
        workspace = find_workspace(path, python)
    except WorkspaceError as error:
        raise UsageError(str(error), error.hint) from error
    if workspace.interpreter.problem:
        raise TestsCannotRun(*workspace.interpreter.problem)
    budget = Budget(max_seconds, None)
    arguments = workspace.pytest_args(pytest_args)
    yield Started(SCHEMA, uuid.uuid4().hex[:12], str(workspace.root), workspace.python, workspace.python_reason,
                  workspace.python_version, arguments, "", "", at=budget.at)  # fmt: skip
    try:
        with Runner(
            workspace.root, workspace.python, arguments, allow_network=allow_network
        ) as runner:
            run = yield from in_thread(
                lambda tell: runner.baseline(tell, spectrum=False, seconds=max_seconds),
                budget,
                "suite",
            )
    except RunnerError as error:
        raise TestsCannotRun(str(error), error.hint) from error
    if not run.results and not run.collection_errors:
        raise TestsCannotRun("pytest collected no tests", "name the tests after --")
    yield from told(run, budget.at)
    red = len(run.failing) + len(run.collection_errors)
    status, code, message = (
        ("not_fixed", 1, f"{red} failing") if red else ("green", 0, "all tests pass")
    )
    yield Finished(status, code, message, seconds=budget.at, at=budget.at)
