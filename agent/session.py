"""One `fix` run as the CLI sees it: the loop's events, recorded, made to end in one terminal event, and its patch applied.

Faces get `Session.events()` and, to act on a patch, `apply` and `commit`; they never write. What `--apply` or `--commit`
asked for happens just before the terminal event, so that this event tells the truth about the tree.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal

from agent.apply import apply_diff, check_committable, commit
from agent.errors import AgentError, InternalError
from agent.events import Event, Finished, Note, PatchFound, Started
from agent.runs import Recorder, Run, new_run, settle_runs, wrote

Deed = Literal["", "apply", "commit", "check"]
Loop = Callable[[], Iterator[Event]]
_log = logging.getLogger(__name__)  # tracebacks, for --debug


class Session:
    """Runs `loop()` once. `deed` is what to do with a verified patch without asking; "check": nothing, and a
    suite that needed it is code 1. subject: the function that is written, "" where a repair is.

    root, patch and finished are known as soon as their event has passed.
    """

    def __init__(
        self, loop: Loop, deed: Deed = "", run: Run | None = None, subject: str = ""
    ) -> None:
        self._loop = loop
        self._deed, self._subject = deed, subject
        self._stop = threading.Event()
        self._signalled = self._in_loop = False
        self._ended = threading.Event()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._notes: list[Note] = []
        self.run = run or self._new_run()
        self.root = Path()
        self.patch: PatchFound | None = None
        self.finished: Finished | None = None
        self.deed_done: Deed = ""

    def _new_run(self) -> Run:
        try:
            return new_run()
        except OSError as error:
            folder = Path(tempfile.mkdtemp(prefix="trm-agent-"))
            self._notes.append(Note(f"this run is kept in {folder}: {error}", "warning"))
            return Run(folder)

    def stop(self) -> None:
        """Ask the run to end at its next event. Returns at once; may be called from another thread."""
        self._stop.set()
        self._answers.put(False)

    def rejected(self, patch: PatchFound) -> bool:
        """Wait for `reject` or `stop`; whether it was the former. For `FixRequest.rejected`."""
        del patch
        return self._answers.get()

    def reject(self) -> None:
        """The user wants another patch than the one found last."""
        self.patch = None
        self._answers.put(True)

    def interrupt(self, *_: object) -> None:
        """A signal handler: ends the run, in the loop at once, elsewhere after the event that is being shown; again, anywhere.

        What shows and records an event is not torn apart, so the terminal event comes last, whole, everywhere.
        """
        again, self._signalled = self._signalled, True
        self.stop()
        if self._in_loop or again:
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> bool:
        """Wait for the run's end, which cleans up what it started; whether it came. Only for a run in another thread."""
        return self._ended.wait(seconds)

    def events(self) -> Generator[Event, None, None]:
        """All events of the run, the last one a Finished. Closing it stops the run."""
        recorder = Recorder(self.run)
        at = 0.0
        try:
            for event in self._terminated(self._noted(self._loop())):
                at = max(at, event.at)
                if isinstance(event, Finished) and not event.at:
                    event = dataclasses.replace(event, at=at)
                if isinstance(event, Finished):
                    self.finished = event
                recorder.write(event)
                yield event
        except (GeneratorExit, KeyboardInterrupt):
            if self.finished is None:
                recorder.write(self._interrupted(at))
            raise
        finally:
            recorder.close()
            self._ended.set()

    def _noted(self, events: Iterator[Event]) -> Generator[Event, None, None]:
        """The loop's events until its end or a stop, with our notes after the first."""
        try:
            while (event := self._next(events)) is not None:
                if isinstance(event, Started):
                    self.root = Path(event.root)
                    for run, paths in settle_runs(self.root):
                        text = f"run {run.id} was killed while it wrote: {', '.join(paths)} put back as before it"
                        self._notes.append(Note(text, "warning"))
                    event = dataclasses.replace(event, run=self.run.id)
                if isinstance(event, PatchFound):
                    self.patch = event
                yield event
                while self._notes:
                    yield self._notes.pop()
                if self._stop.is_set():
                    return
        finally:
            close = getattr(events, "close", None)
            if close:
                close()

    def _next(self, events: Iterator[Event]) -> Event | None:
        try:
            self._in_loop = True
            return next(events, None)
        finally:
            self._in_loop = False

    def _terminated(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Exactly one Finished, whatever happens, after what `deed` asked for."""
        last: Finished | None = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    last = event
                    break
                yield event
        except KeyboardInterrupt:
            yield self._interrupted()
            return
        except Exception as error:
            _log.debug("the run ended in an error", exc_info=True)
            yield _failed(error if isinstance(error, AgentError) else InternalError(error))
            return
        finally:
            events.close()
        if last is None:
            last = self._stopped()
        if last.status == "fixed" and self._deed == "check":
            last = dataclasses.replace(last, exit_code=1)
        elif last.status == "fixed" and self._deed and self._signalled:  # just before the writing
            last = self._interrupted(last.at)
        elif last.status == "fixed" and self._deed and self.patch and not self._stop.is_set():
            try:
                text = self.commit(self.patch) if self._deed == "commit" else self.apply(self.patch)
            except AgentError as error:
                yield _failed(error, last)
                return
            yield Note(text, at=last.at)
        yield last

    def _stopped(self) -> Finished:
        """The end after `stop`: what was found until then counts."""
        if self.patch is None or self._signalled:
            return self._interrupted()
        status, code = ("partly_fixed", 1) if self.patch.still_red else ("fixed", 0)
        return Finished(status, code, "stopped with a verified patch", diff=self.patch.diff,
                        tried=self.patch.candidates, seconds=self.patch.seconds)  # fmt: skip

    def _interrupted(self, at: float = 0.0) -> Finished:
        diff = self.patch.diff if self.patch else ""
        done = (
            "the patch is applied; trm-agent undo takes it back"
            if wrote(self.run)
            else "nothing was written"
        )
        return Finished("interrupted", 130, f"interrupted: {done}", diff=diff, at=at)

    # Acts on a patch; each returns one line for the user.

    def apply(self, patch: PatchFound) -> str:
        """Write the patch to the user's tree. Raises PatchConflict, nothing being written."""
        paths = apply_diff(self.root, patch.diff, self.run.folder)
        self.deed_done = "apply"
        return f"applied to {', '.join(paths)}; trm-agent undo takes it back"

    def commit(self, patch: PatchFound) -> str:
        """Apply and commit exactly the patched files. Raises UsageError or PatchConflict before anything is written."""
        check_committable(self.root, patch.paths)
        paths = apply_diff(self.root, patch.diff, self.run.folder)
        self.deed_done = "apply"
        name = commit(self.root, paths, commit_message(patch, self._subject))
        self.deed_done = "commit"
        return f"committed {name}: {', '.join(paths)}"


def commit_message(patch: PatchFound, function: str = "") -> str:
    """Subject and body of the commit of a patch, or of the function that it writes."""
    names = [nodeid.rsplit("::", 1)[-1] for nodeid in patch.turned_green]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    subject = f"Fix {names[0]}{more}" if names else f"Fix {', '.join(patch.paths)}"
    if function:
        subject = f"Write {function}"
    tests = "".join(f"- {nodeid}\n" for nodeid in patch.turned_green)
    return f"{subject}\n\nFound by trm-agent and verified by the tests. Turned green:\n{tests}"


def _failed(error: AgentError, last: Finished | None = None) -> Finished:
    """The terminal event of an error; `last` is the success that it spoilt."""
    diff, tried = (last.diff, last.tried) if last else ("", 0)
    seconds, at = (last.seconds, last.at) if last else (0.0, 0.0)
    return Finished("error", error.exit_code, str(error), error.hint, diff, tried, seconds, at=at)
