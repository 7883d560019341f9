"""The command line: options into requests, errors into exit codes, events into the chosen face.

Everything heavy is imported inside a command, so that `--help` costs neither JAX nor Textual. Results go to stdout, all else to
stderr; without a terminal nothing is asked and nothing moves.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent import __version__, model_cli
from agent.errors import AgentError, UsageError

if TYPE_CHECKING:
    from agent.events import Finished
    from agent.session import Deed, Session
    from agent.settings import Settings

EXIT_CODES = """Exit codes: 0 green (a verified fix was found, or nothing was red); 1 not fixed; 2 wrong usage;
3 the tests cannot run; 130 interrupted. Results go to stdout, everything else to stderr."""

# After the app is left its run, in a thread, gets this long to stop its test processes.
LEAVE_SECONDS = 5.0

app = typer.Typer(
    name="trm-agent",
    help="Makes a red pytest suite green, offline. What follows -- goes to pytest.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model_cli.add_commands(app)

PathArgument = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Project folder or Python file.", show_default=False),
]
PythonOption = Annotated[
    str | None,
    typer.Option("--python", metavar="P", help="Interpreter or environment of the tests."),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of a run, or its beginning; default: the latest.")
]


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    # Both are taken out of the arguments by `main`, so that they may stand anywhere.
    del version, debug


@app.command(epilog=EXIT_CODES)
def fix(
    path: PathArgument = Path(),
    apply: Annotated[
        bool, typer.Option("--apply", help="Write a verified patch, unasked.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="Apply and commit just the patch.")
    ] = False,
    patch: Annotated[
        Path | None, typer.Option("--patch", metavar="FILE", help="Also write the diff to FILE.")
    ] = None,
    no_tui: Annotated[
        bool, typer.Option("--no-tui", help="Plain lines, also in a terminal.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Each candidate and step.")
    ] = False,
    python: PythonOption = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Wall time of the run. [600]")
    ] = None,
    max_candidates: Annotated[
        int | None, typer.Option(metavar="N", help="Candidates to validate. [no limit]")
    ] = None,
    rank: Annotated[
        str | None, typer.Option(metavar="R", help="Who orders: trm, untrained, ochiai, random.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="P", help="Weights other than the shipped ones.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of all randomness. [0]")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Test processes; 0: automatic.")
    ] = None,
    theme: Annotated[str, typer.Option(help="Of the TUI: dark, light, ansi.")] = "dark",
    mouse: Annotated[
        bool, typer.Option("--mouse/--no-mouse", help="The TUI takes the mouse.")
    ] = True,
) -> None:
    """Find a verified fix for the failing tests of PATH. Nothing is written before you accept."""
    if apply and commit:
        raise UsageError("--apply and --commit exclude each other", "--commit also applies")
    if json and verbose:
        raise UsageError("--json and --verbose exclude each other", "--json has every event")
    flags = {"python": python, "max_seconds": max_seconds, "max_candidates": max_candidates,
             "rank": rank, "checkpoint": checkpoint, "seed": seed, "jobs": jobs,
             "pytest_args": _after_dashes or None}  # fmt: skip
    settings = _settings(path, flags)
    if patch is not None and not patch.absolute().parent.is_dir():
        raise UsageError(f"--patch {patch}: no such folder", "make it first")
    deed: Deed = "commit" if commit else "apply" if apply else ""
    session = _session(path, settings, deed)
    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")
    if json:
        from agent.faces import jsonl

        finished = jsonl.show(session.events(), sys.stdout)
    elif interactive and sys.stdout.isatty() and not no_tui and not deed and _can_draw():
        finished = _in_tui(session, path, theme, mouse)
    else:
        finished = _in_console(session, verbose, ask=interactive and not deed)
    if finished is None:
        raise typer.Exit(130)
    if patch is not None and finished.status == "fixed":
        patch.write_bytes(finished.diff.encode("utf-8", "surrogateescape"))
    raise typer.Exit(finished.exit_code)


def _settings(path: Path, flags: dict[str, Any]) -> Settings:
    from agent.settings import load_settings

    return load_settings(path, flags)


def _session(path: Path, settings: Settings, deed: Deed) -> Session:
    from agent.loop import FixRequest
    from agent.loop import fix as loop
    from agent.session import Session

    request = FixRequest(
        path=path,
        python=settings.python or None,
        pytest_args=settings.pytest_args,
        max_seconds=settings.max_seconds,
        max_candidates=settings.max_candidates,
        rank=settings.rank,
        checkpoint=settings.checkpoint or None,
        seed=settings.seed,
        jobs=settings.jobs,
    )
    return Session(lambda: loop(request), deed)


def _can_draw() -> bool:
    return os.environ.get("TERM", "dumb") != "dumb"


def _in_console(session: Session, verbose: bool, ask: bool) -> Finished | None:
    from agent.faces.console import ConsoleFace

    events = session.events()
    try:
        finished = ConsoleFace(sys.stdout, sys.stderr, verbose).show(events)
    finally:
        events.close()
    if finished is None or finished.status != "fixed" or session.patch is None:
        return finished
    if ask:
        sys.stderr.write("Apply this patch? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            _say(session.apply(session.patch))
    if not session.deed_done:
        _say("Nothing was written. --apply writes the patch, --commit commits it.")
    _say(f"run {session.run.id}: trm-agent show, replay and undo know it by this name")
    return finished


def _in_tui(session: Session, path: Path, theme: str, mouse: bool) -> Finished | None:
    from agent.faces.tui.app import run_fix_app

    theme, ended = _theme(theme), False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        session.stop()
        signal.raise_signal(signal.SIGINT)  # asyncio's own way out, which restores the terminal

    before = signal.signal(signal.SIGTERM, end)
    try:
        result = run_fix_app(
            session.events(),
            stop=session.stop,
            on_apply=session.apply,
            on_commit=session.commit,
            title=path.absolute().name,
            theme=theme,
            mouse=mouse,
        )
    except RuntimeError:
        if ended:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        session.stop()
        session.wait(LEAVE_SECONDS)
    for line in result.summary:
        print(line)
    return result.finished


def _theme(theme: str) -> str:
    if theme not in ("dark", "light", "ansi"):
        raise UsageError(f"unknown theme {theme}", "choose dark, light or ansi")
    return theme


@app.command(epilog=EXIT_CODES)
def undo(run: RunArgument = "") -> None:
    """Take back the patch of RUN: byte for byte, and only where nothing changed since."""
    from agent.apply import undo as undo_run
    from agent.runs import find_run

    found = find_run(run, applied=not run)
    paths = undo_run(found.folder)
    _say(f"undone: {', '.join(paths)}" if paths else "the files are as before the fix already")


@app.command(epilog=EXIT_CODES)
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


def _one_line(run: Any) -> str:
    from agent.events import Finished, Started

    root, status = "?", "unfinished"
    try:
        for event in run.events():
            if isinstance(event, Started):
                root = event.root
            elif isinstance(event, Finished):
                status = f"{event.status}: {event.message}"
    except UsageError:
        status = "damaged"
    return f"{run.id}  {root}  {status}"


@app.command(epilog=EXIT_CODES)
def replay(
    run: RunArgument = "",
    speed: Annotated[float, typer.Option(metavar="X", help="Times real time.")] = 1.0,
    theme: Annotated[str, typer.Option(help="Of the TUI: dark, light, ansi.")] = "dark",
    mouse: Annotated[
        bool, typer.Option("--mouse/--no-mouse", help="The TUI takes the mouse.")
    ] = True,
) -> None:
    """Watch RUN again in the terminal app. No test is run and nothing is written."""
    from agent.runs import find_run

    found = find_run(run)
    events = list(found.events())
    if not speed > 0:
        raise UsageError(f"--speed {speed}: not above 0", "for example --speed 2")
    theme = _theme(theme)
    if not (sys.stdin.isatty() and sys.stdout.isatty() and _can_draw()):
        raise UsageError("replay needs a terminal", f"trm-agent show {found.id} prints the run")
    from agent.faces.tui.app import run_replay_app

    run_replay_app(events, title=found.id, speed=speed, theme=theme, mouse=mouse)


@app.command()
def doctor() -> None:
    """What works here: interpreter, guards of the test worker, JAX, weights, folders."""
    from agent.doctor import report

    if not report(sys.stdout):
        raise typer.Exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


# The program.

_after_dashes: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program on `arguments` (sys.argv's by default) and exit with the documented code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """The exit code of the program on `arguments`; prints, but does not exit."""
    global _after_dashes
    _after_dashes = ()
    if "--" in arguments:
        cut = arguments.index("--")
        _after_dashes = tuple(arguments[cut + 1 :])
        arguments = arguments[:cut]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments[:1] == ["--version"]:
        print(f"trm-agent {__version__}")
        return 0
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our stdout has gone; the interpreter's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        _report(error)
        return error.exit_code if isinstance(error, AgentError) else 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        done = command.main(arguments, prog_name="trm-agent", standalone_mode=False)
    except Exception as error:
        # typer's and click's own usage errors carry these; whichever package they come from.
        words = getattr(error, "format_message", None)
        if words is None:
            raise
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "trm-agent"
        message = words().strip()
        if message:
            _report(UsageError(message[:1].lower() + message[1:], f"{where} --help"))
        return 2
    return done if isinstance(done, int) else 0


def _report(error: Exception) -> None:
    if isinstance(error, AgentError):
        message, hint = str(error), error.hint
    else:
        message = f"internal error: {type(error).__name__}: {error}"
        hint = "--debug prints the traceback; your files were not changed by this"
    _say(f"error: {message}")
    if hint:
        _say(f"hint: {hint}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
