"""The commands on recorded runs (undo, show, replay), and what they share with the other commands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.errors import UsageError
from agent.settings_cli import THEMES, MouseOption, ThemeOption

if TYPE_CHECKING:
    from agent.runs import Run

EXIT_CODES = """Exit codes: 0 green (a verified fix was found, or nothing was red); 1 not fixed; 2 wrong usage;
3 the tests cannot run; 130 interrupted. Results go to stdout, everything else to stderr."""


def _ids(incomplete: str) -> list[str]:
    from agent.runs import list_runs

    return [run.id for run in list_runs() if run.id.startswith(incomplete)]


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Id of a run, or its beginning; default: the latest.",
        autocompletion=_ids,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (undo, show, replay):
        app.command(epilog=EXIT_CODES)(command)


def undo(run: RunArgument = "") -> None:
    """Take back the patch of RUN: byte for byte, and only where nothing changed since."""
    from agent.apply import undo as undo_run
    from agent.runs import find_run

    found = find_run(run, applied=not run)
    paths = undo_run(found.folder)
    say(f"undone: {', '.join(paths)}" if paths else "the files are as before the fix already")


def show(
    run: RunArgument = "",
    list_runs: Annotated[bool, typer.Option("--list", help="All runs, newest first.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Its events as JSON lines.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Each candidate and step.")
    ] = False,
) -> None:
    """What RUN did, once more; its diff goes to stdout."""
    from agent import runs

    if list_runs:
        for found in runs.list_runs():
            print(_one_line(found))
        return
    events = runs.find_run(run).events()
    if json:
        from agent.faces import jsonl

        jsonl.show(events, sys.stdout)
    else:
        from agent.faces.console import ConsoleFace

        ConsoleFace(sys.stdout, sys.stderr, verbose).show(events)


def _one_line(run: Run) -> str:
    from agent.events import Finished, Started

    root, status = "?", "unfinished"
    try:
        for event in run.events():
            if isinstance(event, Started):
                root = event.root
            elif isinstance(event, Finished):
                label = event.status.replace("_", " ")
                status = f"{label}: {event.message.removeprefix(f'{label}: ')}"
    except UsageError:
        status = "damaged"
    return f"{run.id}  {root}  {status}"


def replay(
    run: RunArgument = "",
    speed: Annotated[float, typer.Option(metavar="X", help="Times real time.")] = 1.0,
    theme: ThemeOption = "dark",
    mouse: MouseOption = True,
) -> None:
    """Watch RUN again in the terminal app. No test is run and nothing is written."""
    from agent.runs import find_run

    found = find_run(run)
    events = list(found.events())
    if not speed > 0:
        raise UsageError(f"--speed {speed}: not above 0", "for example --speed 2")
    theme = check_theme(theme)
    if not (sys.stdin.isatty() and sys.stdout.isatty() and can_draw()):
        raise UsageError("replay needs a terminal", f"trm-agent show {found.id} prints the run")
    from agent.faces.tui.app import run_replay_app

    run_replay_app(events, title=found.id, speed=speed, theme=theme, mouse=mouse)


def check_theme(theme: str) -> str:
    """The theme. Raises UsageError for an unknown one."""
    if theme not in THEMES:
        raise UsageError(f"unknown theme {theme}", f"choose one of {', '.join(THEMES)}")
    return theme


def can_draw() -> bool:
    """Whether the terminal can show the app."""
    return os.environ.get("TERM", "dumb") != "dumb"


def say(text: str) -> None:
    """A line for a person: on stderr, since stdout is for results."""
    print(text, file=sys.stderr)
