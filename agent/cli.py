"""The command line: options into requests, errors into exit codes, events into the chosen face.

Everything heavy is imported inside a command, so that `--help` costs neither JAX nor Textual. Results go to stdout, all else to
stderr; without a terminal nothing is asked and nothing moves.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import __version__, eval_cli, model_cli, runs_cli, serve_cli
from agent.errors import AgentError, InternalError, UsageError
from agent.running import (
    Look,
    bisect_in_face,
    check_options,
    interrupting,
    leave,
    request_of,
    run_in_face,
)
from agent.runs_cli import EXIT_CODES, can_draw, say
from agent.settings_cli import (
    CacheOption,
    CandidatesOption,
    CheckpointOption,
    JobsOption,
    MouseOption,
    NetworkOption,
    PathArgument,
    PatienceOption,
    PythonOption,
    RankOption,
    SecondsOption,
    SeedOption,
    ThemeOption,
    config,
    settings_of,
)
from tools.signals import ENDING

if TYPE_CHECKING:
    from agent.session import Deed

_log = logging.getLogger("agent.cli")  # tracebacks, for --debug
NOBODY = (errno.EPIPE, errno.EIO)  # a pipe without a reader, a terminal that was closed

app = typer.Typer(
    name="trm-agent",
    help="Makes a red pytest suite green, offline. Without a command, in a terminal: home. "
    "What follows -- goes to pytest.",
    epilog=EXIT_CODES,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# typer's script for zsh defines the completion only: the first tab of a session, which loads it, would complete nothing.
with contextlib.suppress(
    ImportError, AttributeError, KeyError
):  # of typer's own; without it only that tab is lost
    from typer import _completion_shared

    _completion_shared._completion_scripts["zsh"] += (
        '\n[[ $zsh_eval_context[-1] == loadautofunc ]] && %(complete_func)s "$@"\n'
    )


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    # Both are taken out of the arguments by `main`, so that they may stand anywhere.
    del version, debug
    if context.invoked_subcommand is None:
        _home(context)


def _home(context: typer.Context) -> None:
    """Home in a terminal, where there is a project to show; else the help, as for a usage error."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")
    if not terminal or not can_draw():
        print(context.get_help())
        raise typer.Exit(2)
    settings = settings_of(context)
    from agent.home import at_home

    at_home(Path(), settings, run, context.obj or ())


@app.command(epilog=EXIT_CODES)
def fix(
    context: typer.Context,
    path: PathArgument = Path(),
    apply: Annotated[
        bool, typer.Option("--apply", help="Write a verified patch, unasked.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="Apply and commit just the patch.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write and ask nothing; code 1 if a test was red, fixed or not."
        ),
    ] = False,
    patch: Annotated[
        Path | None, typer.Option("--patch", metavar="FILE", help="Also write the diff to FILE.")
    ] = None,
    sarif: Annotated[
        Path | None,
        typer.Option(
            "--sarif", metavar="FILE", help="Also write a SARIF log, the patch as its fix."
        ),
    ] = None,
    no_tui: Annotated[
        bool, typer.Option("--no-tui", help="Plain lines, also in a terminal.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Each candidate and step.")
    ] = False,
    python: PythonOption = None,
    max_seconds: SecondsOption = None,
    max_candidates: CandidatesOption = None,
    patience: PatienceOption = None,
    rank: RankOption = None,
    checkpoint: CheckpointOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    allow_network: NetworkOption = None,
    cache: CacheOption = None,
    theme: ThemeOption = "dark",
    mouse: MouseOption = True,
) -> None:
    """Find a verified fix for the failing tests of PATH. Nothing is written before you accept."""
    if check and (apply or commit):
        raise UsageError("--check writes nothing", "leave out --apply and --commit")
    check_options(apply, commit, json, verbose, patch=patch, sarif=sarif)
    settings = settings_of(context)
    deed: Deed = "commit" if commit else "apply" if apply else "check" if check else ""
    look = Look(json, no_tui, verbose, theme, mouse)
    finished = run_in_face(request_of(path, settings), deed, look)
    if finished is None:
        raise typer.Exit(130)
    leave(finished, patch, sarif)
    raise typer.Exit(finished.exit_code)


@app.command(epilog=EXIT_CODES)
def write(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH::FUNCTION",
            help="A stub in a Python file: a function, or Class.method.",
            show_default=False,
        ),
    ],
    apply: Annotated[bool, typer.Option("--apply", help="Write a verified body, unasked.")] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="Apply and commit just the body.")
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
    max_seconds: SecondsOption = None,
    max_candidates: CandidatesOption = None,
    patience: PatienceOption = None,
    rank: RankOption = None,
    checkpoint: CheckpointOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    allow_network: NetworkOption = None,
    cache: CacheOption = None,
    theme: ThemeOption = "dark",
    mouse: MouseOption = True,
) -> None:
    """Write the body of a stub, edit by edit, until the failing tests that run it pass. Nothing is written before you accept.

    A stub is a function without a body: pass, ..., raise NotImplementedError, or only a docstring.
    """
    check_options(apply, commit, json, verbose, patch=patch)
    settings = settings_of(context)
    path, separator, function = target.partition("::")
    if not (path and separator and function):
        raise UsageError(
            f"{target}: no function is named", f"PATH::FUNCTION, such as {path or 'shop.py'}::total"
        )
    request = replace(request_of(Path(path), settings), function=function)
    deed: Deed = "commit" if commit else "apply" if apply else ""
    finished = run_in_face(request, deed, Look(json, no_tui, verbose, theme, mouse))
    if finished is None:
        raise typer.Exit(130)
    leave(finished, patch)
    raise typer.Exit(finished.exit_code)


@app.command(epilog=EXIT_CODES)
def bisect(
    context: typer.Context,
    path: PathArgument = Path(),
    good: Annotated[
        str | None, typer.Option("--good", metavar="REV", help="A revision where it was green.")
    ] = None,
    no_tui: Annotated[
        bool, typer.Option("--no-tui", help="Plain lines, also in a terminal.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
    python: PythonOption = None,
    max_seconds: SecondsOption = None,
    allow_network: NetworkOption = None,
    theme: ThemeOption = "dark",
    mouse: MouseOption = True,
) -> None:
    """Which commit, hunk and span turned the suite of PATH red. Nothing is checked out."""
    settings = settings_of(context)
    from agent.bisect import bisect as search
    from agent.session import Session

    session = Session(
        lambda: search(
            path,
            good,
            settings.pytest_args,
            settings.python or None,
            settings.max_seconds,
            settings.allow_network,
        )
    )
    look = Look(json, no_tui, False, theme, mouse)
    finished = bisect_in_face(session, path.absolute().name, look)
    raise typer.Exit(finished.exit_code if finished else 130)


runs_cli.add_commands(app)
eval_cli.add_commands(app)
model_cli.add_commands(app)
serve_cli.add_commands(app)
app.command()(config)


@app.command()
def doctor() -> None:
    """What works here: interpreter, guards of the test worker, JAX, weights, folders."""
    from agent.doctor import report

    if not report(sys.stdout):
        raise typer.Exit(1)


# The program.


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program on `arguments` (sys.argv's by default) and exit with the documented code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """The exit code of the program on `arguments`; prints, but does not exit."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, pytest_args = arguments[:cut], tuple(arguments[cut + 1 :])
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if debug:
        logging.basicConfig()
        logging.getLogger("agent").setLevel(logging.DEBUG)
    if arguments[:1] == ["--version"]:
        print(f"trm-agent {__version__}")
        return 0
    try:
        # Ctrl+C stays Python's own: by that asyncio knows that it may take it.
        with interrupting(_interrupt, [n for n in ENDING if n != signal.SIGINT]):
            return _told(arguments, pytest_args)
    except OSError as error:
        if error.errno not in NOBODY:
            raise
        # Whoever read our output has gone; the interpreter's own flush at exit must not complain.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1 if error.errno == errno.EPIPE else 130


def _told(arguments: list[str], pytest_args: tuple[str, ...]) -> int:
    """The exit code, after a line about what ended the command early. Raises OSError where nobody reads our output."""
    try:
        return _run(arguments, pytest_args)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NOBODY:
            raise
        _log.debug("the command ended in an error", exc_info=True)
        return _report(error, arguments)


def _run(arguments: list[str], pytest_args: tuple[str, ...]) -> int:
    """`pytest_args`, what stood after --, reaches a command as its context's `obj`."""
    command = typer.main.get_command(app)
    try:
        done = command.main(
            arguments, prog_name="trm-agent", standalone_mode=False, obj=pytest_args
        )
    except Exception as error:
        # typer's and click's own usage errors carry these; whichever package they come from.
        words = getattr(error, "format_message", None)
        if words is None:
            raise
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "trm-agent"
        message = words().strip()
        if not message:
            return 2
        raise UsageError(message[:1].lower() + message[1:], f"{where} --help") from error
    return done if isinstance(done, int) else 0


def _report(error: Exception, arguments: list[str]) -> int:
    """Tell of an error that no run told of, also in the language that was asked for; the exit code."""
    told = error if isinstance(error, AgentError) else InternalError(error)
    say(f"error: {told}")
    if told.hint:
        say(f"hint: {told.hint}")
    if "--json" in arguments and arguments[0] in ("fix", "write", "bisect"):
        from agent.events import Finished
        from agent.faces import jsonl

        jsonl.show([Finished("error", told.exit_code, str(told), told.hint)], sys.stdout)
    return told.exit_code


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
