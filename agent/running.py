"""One run in the chosen face: the settings as a request, the session's events shown, the files that it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent import __version__
from agent.errors import UsageError
from agent.faces.hangup import let_go
from agent.runs_cli import can_draw, check_theme, say
from tools.signals import ENDING

if TYPE_CHECKING:
    from agent.events import Finished
    from agent.loop import FixRequest
    from agent.session import Deed, Session
    from agent.settings import Settings

# After the app is left its run, in a thread, gets this long to stop its test processes.
LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Look:
    """How a run is shown, as the command's options of these names say."""

    json: bool
    no_tui: bool
    verbose: bool
    theme: str
    mouse: bool


def check_options(
    apply: bool, commit: bool, json: bool, verbose: bool, **files: Path | None
) -> None:
    """Raise UsageError for options that exclude each other, and for files (by their option) in folders that are none."""
    if apply and commit:
        raise UsageError("--apply and --commit exclude each other", "--commit also applies")
    if json and verbose:
        raise UsageError("--json and --verbose exclude each other", "--json has every event")
    for name, file in files.items():
        if file is not None and not file.absolute().parent.is_dir():
            raise UsageError(f"--{name} {file}: no such folder", "make it first")


def request_of(path: Path, settings: Settings) -> FixRequest:
    """What to do with `path` under these settings."""
    from agent.loop import FixRequest

    return FixRequest(
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


def run_in_face(request: FixRequest, deed: Deed, look: Look) -> Finished | None:
    """Run the loop and show it: JSON lines, the app in a terminal, else plain lines. None: the user left before its end."""
    interactive = not deed and _attended()
    screen = interactive and _on_screen(look)
    session = _session(request, deed, asks=screen)
    if look.json:
        return _in_json(session)
    if screen:
        return _in_tui(session, request, look)
    return _in_console(session, look.verbose, ask=interactive)


def bisect_in_face(session: Session, title: str, look: Look) -> Finished | None:
    """As `run_in_face`, for a session of bisect."""
    if look.json:
        return _in_json(session)
    if not (_attended() and _on_screen(look)):
        return _in_console(session, look.verbose, ask=False)
    from agent.faces.tui.bisect_app import run_bisect_app

    theme = check_theme(look.theme)
    with _ending(session):
        result = run_bisect_app(
            session.events(), stop=session.stop, title=title, theme=theme, mouse=look.mouse
        )
    for line in result.summary:
        print(line)
    return result.finished


def _attended() -> bool:
    """Whether a person looks on who can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def _on_screen(look: Look) -> bool:
    """Whether an app is wanted and can be shown, where a person looks on."""
    return sys.stdout.isatty() and not (look.json or look.no_tui) and can_draw()


@contextlib.contextmanager
def _ending(session: Session) -> Generator[None, None, None]:
    """The session's run, in the thread of an app, ends with it."""
    try:
        yield
    finally:
        session.stop()
        session.wait(LEAVE_SECONDS)


def leave(finished: Finished, patch: Path | None, sarif: Path | None = None) -> None:
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


def _session(request: FixRequest, deed: Deed, asks: bool = False) -> Session:
    """A run of the loop; one that `asks` waits at each patch for the user, who may want another."""
    from agent.loop import fix as loop
    from agent.session import Session

    session = Session(lambda: loop(request), deed, subject=request.function)
    if asks:
        request = replace(request, rejected=session.rejected)  # before the run begins
    return session


@contextlib.contextmanager
def interrupting(
    handler: Callable[..., object], signals: Sequence[int] = ENDING
) -> Generator[None, None, None]:
    """Have Ctrl+C, SIGTERM and a closed terminal call `handler`; for a run see `Session.interrupt`."""

    def end(*came: object) -> None:
        let_go()
        handler(*came)

    before = {
        number: signal.signal(number, end)
        for number in signals
        if signal.getsignal(number) != signal.SIG_IGN  # as nohup and a shell's & have it
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _in_json(session: Session) -> Finished | None:
    """Every event as a line of JSON on stdout."""
    from agent.faces import jsonl

    with interrupting(session.interrupt), contextlib.closing(session.events()) as events:
        return jsonl.show(events, sys.stdout)


def _in_console(session: Session, verbose: bool, ask: bool) -> Finished | None:
    """Plain lines. ask: whether to apply the patch, which is read from stdin."""
    from agent.faces.console import ConsoleFace

    with interrupting(session.interrupt), contextlib.closing(session.events()) as events:
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


def _in_tui(session: Session, request: FixRequest, look: Look) -> Finished | None:
    from agent.by_hand import attempt, open_in_editor
    from agent.faces.tui.app import run_fix_app

    theme = check_theme(look.theme)
    with _ending(session):
        result = run_fix_app(
            session.events(),
            stop=session.stop,
            on_apply=session.apply,
            on_commit=session.commit,
            on_reject=session.reject,
            on_attempt=partial(attempt, allow_network=request.allow_network),
            on_open=open_in_editor,
            title=request.function or request.path.absolute().name,
            theme=theme,
            mouse=look.mouse,
        )
    for line in result.summary:
        print(line)
    finished, patch = result.finished, result.patch
    if finished and patch and not patch.still_red and result.decision in ("applied", "committed"):
        # also where the user wrote the patch, after the search had ended without one
        finished = replace(finished, status="fixed", exit_code=0, diff=patch.diff)
    return finished
