"""The first run of the suite: its progress, what it showed, and whether a repair can begin."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.budget import Budget
from agent.errors import TestsCannotRun
from agent.events import Event, FailingTest, Note, SuiteProgress, SuiteRan
from agent.locate import Sources
from tools.source.leaves import Module
from tools.verdicts import CollectionError, Outcome, SuiteRun

RECALLED = "nothing changed since an earlier run: its results are taken over, what failed failed again (--no-cache: run all)"
_PROGRESS_EVERY = 0.25  # seconds


def in_thread(
    work: Callable[[Callable[[int, int], None]], Any], budget: Budget, phase: str
) -> Iterator[Event]:
    """Run `work(progress)` in a thread and yield its progress; returns its result, raises its exception."""
    state: dict[str, Any] = {"done": 0, "total": 0}

    def progress(done: int, total: int) -> None:
        state.update(done=done, total=total)

    def body() -> None:
        try:
            state["result"] = work(progress)
        except BaseException as error:  # raised again below
            state["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    told = -1
    while thread.is_alive():
        thread.join(_PROGRESS_EVERY)
        if state["total"] and state["done"] != told:
            told = state["done"]
            yield SuiteProgress(phase, told, state["total"], at=budget.at)
    if "error" in state:
        raise state["error"]
    return state["result"]


def told(run: SuiteRun, at: float) -> Iterator[Event]:
    """What the first run showed. pytest reads one file of configuration, which may hide another: it is named."""
    if run.rootdir:
        file = os.path.relpath(run.configfile, run.rootdir) if run.configfile else "no file"
        yield Note(f"pytest's root is {run.rootdir}, it is configured by {file}", at=at)
    for note in run.notes:
        yield Note(note, at=at)
    if run.recalled:
        yield Note(RECALLED, at=at)
    counts = {outcome: sum(r.outcome is outcome for r in run.results) for outcome in Outcome}
    bad = sum(
        counts[o]
        for o in (Outcome.ERROR, Outcome.TIMEOUT, Outcome.CRASHED, Outcome.BLOCKED, Outcome.INVALID)
    )
    yield SuiteRan(counts[Outcome.PASSED], counts[Outcome.FAILED], bad + len(run.collection_errors),
                   counts[Outcome.SKIPPED], round(run.seconds, 3), run.recalled, at=at)  # fmt: skip
    known = {failure.nodeid: failure for failure in run.failures}
    for test in run.failing:
        failure = known.get(test)
        if failure is None:
            result = next(r for r in run.results if r.nodeid == test)
            yield FailingTest(test, result.exception or str(result.outcome), result.message or "", result.path,
                              result.line or 0, at=at)  # fmt: skip
            continue
        frame = failure.frames[-1] if failure.frames else None
        yield FailingTest(test, failure.exception, failure.message, frame.path if frame else "", frame.line if frame else 0,
                          failure.actual or "", failure.expected or "", at=at)  # fmt: skip
    for error in run.collection_errors:
        yield FailingTest(
            error.collecting or error.path,
            error.exception,
            error.message,
            error.path,
            error.line or 0,
            at=at,
        )
    for test in run.flaky:
        yield Note(
            f"flaky: {test} failed and then passed on the same code; it is left alone",
            "warning",
            at=at,
        )


def beyond_repair(run: SuiteRun, sources: Sources) -> list[str]:
    """Test files that cannot be collected for a reason that no edit of ours removes, so that the others must do without them.

    Empty where something else than a test file, such as a conftest, is in the way.
    """
    found: dict[str, None] = {}
    for error in run.collection_errors:
        foreign = error.missing_module and not _is_ours(sources.root, error.missing_module)
        if foreign or not sources.get(error.path):
            name = error.collecting.rpartition("/")[2]
            if not name.endswith(".py") or name in ("conftest.py", "__init__.py"):
                return []
            found.setdefault(error.collecting)
    return list(found)


def why(error: CollectionError) -> str:
    """A collection error in a line."""
    if error.missing_module:
        return f"the module {error.missing_module!r} is not installed"
    said = error.message.splitlines()[0] if error.message else ""
    return f"{error.exception}: {said}"


def check_runnable(run: SuiteRun, sources: Sources, python: str) -> None:
    """Raise TestsCannotRun where no edit of ours can help: a module that is not installed, no tests, broken test files."""
    for error in run.collection_errors:
        if error.missing_module and not _is_ours(sources.root, error.missing_module):
            top = error.missing_module.partition(".")[0]
            raise TestsCannotRun(
                f"the module {error.missing_module!r} is not installed for {python}",
                f"{python} -m pip install {top}, or choose another interpreter with --python",
            )
    if not run.results and not run.collection_errors:
        raise TestsCannotRun(
            "pytest collected no tests", "name the tests after --, for example: -- tests/unit"
        )
    if run.collection_errors and not any(
        sources.get(e.path) for e in run.collection_errors if e.path
    ):
        error = run.collection_errors[0]
        raise TestsCannotRun(
            f"collection fails in {error.path}:{error.line or 1}: {why(error)}",
            "test files, conftest.py and configuration are never edited: repair this by hand",
        )


def _is_ours(root: Path, module: str) -> bool:
    top = module.partition(".")[0]
    return any(
        (base / top).is_dir() or (base / f"{top}.py").is_file() for base in (root, root / "src")
    )


def test_literals(run: SuiteRun) -> list[str]:
    """Literals of failing assertions: what the code may have to mention."""
    found: dict[str, None] = {}
    for failure in run.failures[:8]:
        for text in (failure.test_line, failure.expected or ""):
            try:
                leaves = Module(text[:400].encode("utf-8", "replace").replace(b"\0", b"")).leaves
            except ValueError:
                continue
            for leaf in leaves:
                if leaf.kind in ("integer", "float", "string") and len(leaf.text) <= 24:
                    found.setdefault(leaf.text)
    return list(found)[:12]
