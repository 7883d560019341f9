"""Home: what is known of a project without running anything, and the way from its screen to the commands and back.

The screen chooses a command line; it is run as if it had been typed, and home comes back after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.apply import RECORD, load_record, undo
from agent.errors import AgentError
from agent.events import Event, FailingTest, Finished, PatchFound, Started, SuiteRan
from agent.faces.tui.home import Home, PastRun, Suite, SuiteWatch
from agent.runs import EVENTS, Run, find_run, list_runs, runs_folder
from agent.session import Session
from agent.settings import Settings
from agent.suite import look
from tools.workspace import find_workspace

SHOWN = 20  # runs
LEAVE_SECONDS = 5.0  # for the tests of a suite that home was left from


def know(path: Path, settings: Settings) -> Home:
    """The project that holds `path`, its suite as recorded runs last saw it, and those runs. Raises WorkspaceError."""
    workspace = find_workspace(path, settings.python or None)
    arguments = workspace.pytest_args(settings.pytest_args)
    python = f"Python {workspace.python_version} ({workspace.python_reason})"
    git = ""
    if workspace.git_root:
        changed = len(workspace.dirty)
        git = f"{changed} uncommitted file{'s' * (changed != 1)}" if changed else "git: clean"
    runs = [run for run in list_runs() if _root_of(run) == str(workspace.root)][:SHOWN]
    return Home(
        str(workspace.root),
        python,
        git,
        last_suite(runs, suite_run(workspace.root), arguments),
        tuple(past(run) for run in runs),
    )


def suite_run(root: Path) -> Run:
    """Where the newest look at a project's suite is recorded; it is no run that could be undone or replayed."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Run(runs_folder().parent / "suites" / name)


def last_suite(runs: list[Run], looked: Run, arguments: tuple[str, ...]) -> Suite:
    """The suite as it was last seen whole, less what patches that were applied later repaired, with what was undone later.

    runs: newest first. arguments: those of the whole suite; a run with others saw but a part of it.
    """
    seen = [(found.seen, found) for run in (*runs, looked) if (found := _suite_of(run, arguments))]
    if not seen:
        return Suite()
    at, suite = max(seen, key=lambda pair: pair[0])
    for run in reversed(runs):
        record, became = run.folder / RECORD, _patch_of(run)
        if not became or record.stat().st_mtime < at:
            continue
        green: frozenset[str] = frozenset()
        failing: list[FailingTest] = []
        for event in run.events("FailingTest", "PatchFound"):
            if isinstance(event, FailingTest):
                failing.append(event)
            elif isinstance(event, PatchFound):
                green = frozenset(event.turned_green)
        repaired = [test for test in failing if test.nodeid in green]
        suite = suite.without(green) if became == "applied" else suite.again(repaired)
    return suite


def past(run: Run) -> PastRun:
    """One line about a run."""
    began = time.mktime(time.strptime(run.id[:15], "%Y%m%d-%H%M%S"))
    status, message, found = "unfinished", "it was ended from outside", False
    try:
        for event in run.events("Finished", "PatchFound"):
            if isinstance(event, Finished):
                status, message = event.status, event.message
            found = found or isinstance(event, PatchFound)
    except AgentError as error:
        status, message = "damaged", str(error)
    return PastRun(run.id, began, status, message, _patch_of(run) or ("found" if found else ""))


def _root_of(run: Run) -> str:
    try:
        event = next(run.events("Started"), None)
    except AgentError:
        return ""
    return event.root if isinstance(event, Started) else ""


def _patch_of(run: Run) -> str:
    """What became of the patch that the run wrote: applied, undone, or "" for none."""
    if not (run.folder / RECORD).exists():
        return ""
    try:
        return "undone" if load_record(run.folder).state == "undone" else "applied"
    except AgentError:
        return ""


def _suite_of(run: Run, arguments: tuple[str, ...]) -> Suite | None:
    watch = SuiteWatch()
    try:
        for event in run.events("Started", "SuiteRan", "FailingTest", "Finished"):
            if isinstance(event, Started) and event.pytest_args != arguments:
                return None
            if isinstance(event, (SuiteRan, FailingTest, Finished)):
                watch.apply(event)
        seen = (run.folder / EVENTS).stat().st_mtime
    except (AgentError, OSError):
        return None
    return watch.result(seen, "" if run.folder.parent.name == "suites" else f"run {run.id}")


def checked() -> Iterator[str]:
    """The lines of `trm-agent doctor`, from a process of its own: it imports and compiles, which would hold up a screen."""
    program = "from agent.cli import main; main()"
    command = [sys.executable, "-P", "-c", program, "doctor"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield from (line.rstrip("\n") for line in process.stdout)
        finally:
            process.kill()


def taken_back(run: str) -> str:
    """Undo a run's patch; one line about it. Raises what `agent.apply.undo` raises."""
    paths = undo(find_run(run).folder)
    return f"undone: {', '.join(paths)}" if paths else "the files are as before the fix already"


def at_home(
    path: Path,
    settings: Settings,
    run: Callable[[list[str]], int],
    pytest_args: tuple[str, ...] = (),
) -> None:
    """Show home, run what is chosen there, and come back, until the user leaves.

    run: the program on an argument list. pytest_args: what was given for pytest on the command line, for all that runs tests.
    """
    from agent.faces.tui.home_app import run_home_app

    theme = "dark"
    while True:
        looks: list[Session] = []

        def suite(looks: list[Session] = looks) -> Iterator[Event]:
            recorded = suite_run(find_workspace(path, settings.python or None).root)
            recorded.folder.mkdir(parents=True, exist_ok=True)
            (recorded.folder / EVENTS).unlink(missing_ok=True)
            looks.append(
                Session(
                    lambda: look(
                        path,
                        settings.python or None,
                        settings.pytest_args,
                        settings.max_seconds,
                        settings.allow_network,
                    ),
                    run=recorded,
                )
            )
            yield from looks[-1].events()

        def stop(looks: list[Session] = looks) -> None:
            for session in looks:
                session.stop()

        try:
            command, theme = run_home_app(
                know=lambda: know(path, settings),
                suite=suite,
                stop=stop,
                undo=taken_back,
                checks=checked,
                theme=theme,
            )
        finally:
            stop()
            for session in looks:
                session.wait(LEAVE_SECONDS)
        if not command:
            return
        if pytest_args and command[0] in ("fix", "bisect"):
            command = (*command, *(() if "--" in command else ("--",)), *pytest_args)
        code = run(list(command))
        if code not in (0, 1, 130):  # what it printed would be gone
            with contextlib.suppress(EOFError, KeyboardInterrupt):
                input("\nEnter: back home ")
