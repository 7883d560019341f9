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
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import __version__, eval_cli, model_cli, runs_cli, serve_cli
from agent.atomic import ENDING
from agent.errors import AgentError, InternalError, UsageError
from agent.faces.hangup import let_go
from agent.runs_cli import EXIT_CODES, can_draw, check_theme, say
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

if TYPE_CHECKING:
    from agent.events import Finished
    from agent.session import Deed, Session
    from agent.settings import Settings

_log = logging.getLogger("agent.cli")  # tracebacks, for --debug
# After the app is left its run, in a thread, gets this long to stop its test processes.
LEAVE_SECONDS = 5.0
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
    if apply and commit:
        raise UsageError("--apply and --commit exclude each other", "--commit also applies")
    if check and (apply or commit):
        raise UsageError("--check writes nothing", "leave out --apply and --commit")
    if json and verbose:
        raise UsageError("--json and --verbose exclude each other", "--json has every event")
    settings = settings_of(context)
    for name, file in (("--patch", patch), ("--sarif", sarif)):
        if file is not None and not file.absolute().parent.is_dir():
            raise UsageError(f"{name} {file}: no such folder", "make it first")
    deed: Deed = "commit" if commit else "apply" if apply else "check" if check else ""
    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not (deed or os.environ.get("CI"))
    screen = interactive and sys.stdout.isatty() and not (json or no_tui) and can_draw()
    session = _session(path, settings, deed, asks=screen)
    if json:
        finished = _in_json(session)
    elif screen:
        finished = _in_tui(session, path, settings.allow_network, theme, mouse)
    else:
        finished = _in_console(session, verbose, ask=interactive)
    if finished is None:
        raise typer.Exit(130)
    _leave(finished, patch, sarif)
    raise typer.Exit(finished.exit_code)


def _leave(finished: Finished, patch: Path | None, sarif: Path | None) -> None:
    """Write what was asked for beside the run's own output. A file that cannot be written is code 1, the rest is written."""
    from agent.diffs import changes

    refused = False
    try:
        if patch is not None and finished.status == "fixed":
            patch.write_bytes(finished.diff.encode("utf-8", "surrogateescape"))
        if sarif is not None:
            from json import dumps

            from agent.faces.sarif import log

            text = dumps(log(finished, changes(finished.diff), __version__), indent=2)
            sarif.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        say(f"error: {error.filename}: {error.strerror}")
        refused = True
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from agent.faces import github

        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        try:
            github.report(
                finished, changes(finished.diff), sys.stderr, Path(summary) if summary else None
            )
        except OSError as error:
            say(f"no summary was written: {error}")
    if refused:
        raise typer.Exit(1)


def _session(path: Path, settings: Settings, deed: Deed, asks: bool = False) -> Session:
    """A run of the loop; one that `asks` waits at each patch for the user, who may want another."""
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
        patience=settings.patience,
        allow_network=settings.allow_network,
        cache=settings.cache,
    )
    session = Session(lambda: loop(request), deed)
    if asks:
        request = replace(request, rejected=session.rejected)  # before the run begins
    return session


@contextlib.contextmanager
def _interrupting(handler: Callable[..., object]) -> Generator[None, None, None]:
    """Have Ctrl+C, SIGTERM and a closed terminal call `handler`; for a run see `Session.interrupt`."""

    def end(*came: object) -> None:
        let_go()
        handler(*came)

    before = {
        number: signal.signal(number, end)
        for number in ENDING
        if signal.getsignal(number) != signal.SIG_IGN  # as nohup and a shell's & have it
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _in_json(session: Session) -> Finished | None:
    from agent.faces import jsonl

    with _interrupting(session.interrupt), contextlib.closing(session.events()) as events:
        return jsonl.show(events, sys.stdout)


def _in_console(session: Session, verbose: bool, ask: bool) -> Finished | None:
    from agent.faces.console import ConsoleFace

    with _interrupting(session.interrupt), contextlib.closing(session.events()) as events:
        finished = ConsoleFace(sys.stdout, sys.stderr, verbose).show(events)
    patch = session.patch
    if finished is None or finished.status not in ("fixed", "partly_fixed") or patch is None:
        return finished
    if ask:
        sys.stderr.write("Apply this patch? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            say(session.apply(patch))
    if not session.deed_done and patch.still_red:
        say(
            "Nothing was written: a patch for a part is not applied unasked. git apply takes the diff above."
        )
    elif not session.deed_done:
        say("Nothing was written. --apply writes the patch, --commit commits it.")
    say(f"run {session.run.id}: trm-agent show, replay and undo know it by this name")
    return finished


def _in_tui(
    session: Session, path: Path, network: bool, theme: str, mouse: bool
) -> Finished | None:
    from agent.by_hand import attempt, open_in_editor
    from agent.faces.tui.app import run_fix_app

    theme = check_theme(theme)
    try:
        result = run_fix_app(
            session.events(),
            stop=session.stop,
            on_apply=session.apply,
            on_commit=session.commit,
            on_reject=session.reject,
            on_attempt=partial(attempt, allow_network=network),
            on_open=open_in_editor,
            title=path.absolute().name,
            theme=theme,
            mouse=mouse,
        )
    finally:
        session.stop()
        session.wait(LEAVE_SECONDS)
    for line in result.summary:
        print(line)
    finished, patch = result.finished, result.patch
    if finished and patch and not patch.still_red and result.decision in ("applied", "committed"):
        # also where the user wrote the patch, after the search had ended without one
        finished = replace(finished, status="fixed", exit_code=0, diff=patch.diff)
    return finished


@app.command(epilog=EXIT_CODES)
def bisect(
    context: typer.Context,
    path: PathArgument = Path(),
    good: Annotated[
        str | None, typer.Option("--good", metavar="REV", help="A revision where it was green.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
    python: PythonOption = None,
    max_seconds: SecondsOption = None,
    allow_network: NetworkOption = None,
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
    finished = _in_json(session) if json else _in_console(session, verbose=False, ask=False)
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
        with _interrupting(_interrupt):
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
    if "--json" in arguments and arguments[0] in ("fix", "bisect"):
        from agent.events import Finished
        from agent.faces import jsonl

        jsonl.show([Finished("error", told.exit_code, str(told), told.hint)], sys.stdout)
    return told.exit_code


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
