"""Plain lines on stderr, the diff alone on stdout.

In a terminal one line at the bottom shows progress and goes away; elsewhere, and where CI is set, progress is a line now and
then, at most one a second and ever rarer, and nothing moves. Colour only adds: NO_COLOR loses no information. FORCE_COLOR
colours the lines wherever they go; the diff keeps its bytes unless it goes to a terminal, so that `> fix.patch` is a patch.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from agent.events import (
    CandidateTried,
    Decision,
    Event,
    FailingTest,
    Finished,
    Interval,
    Narrowing,
    Note,
    PatchFound,
    PatchRejected,
    Probe,
    RecursionStep,
    SearchProgress,
    Started,
    SuiteProgress,
    SuiteRan,
    Suspect,
)

SHOWN = 10  # failing tests and suspects listed before "and N more"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_STYLES = {
    "fixed": "bold green",
    "green": "bold green",
    "partly_fixed": "bold yellow",
    "not_fixed": "bold yellow",
}


class ConsoleFace:
    """Reads events, writes lines. `out` gets the diff, `err` all else; `verbose` adds each candidate and step."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._console = Console(file=err, highlight=False, soft_wrap=True)
        # Not the console's own opinion: with FORCE_COLOR it takes a log file for a terminal.
        self._moves = (
            err.isatty() and not self._console.is_dumb_terminal and not os.environ.get("CI")
        )
        self._verbose = verbose
        self._clock = clock
        self._began = self._last = clock()
        self._status: Status | None = None
        self._failing = self._suspects = self._tried = 0
        self._narrowed: Narrowing | None = None
        self._phase: SuiteProgress | None = None  # the first event of the phase that runs

    def show(self, events: Iterable[Event]) -> Finished | None:
        """Show all events; returns the terminal one, None when the stream ended without it."""
        if self._moves:
            self._status = self._console.status("starting", spinner="dots")
            self._status.start()
        finished = None
        try:
            for event in events:
                if isinstance(event, Finished):
                    finished = event
                    break
                self._show(event)
        finally:
            self._still()
        if finished:
            self._finished(finished)
        return finished

    def _still(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def _line(self, label: str, text: str, style: str = "") -> None:
        self._console.print(Text(f"{label:<9} ", style or "bold") + Text(clean(text)))

    def _more(self, text: str, style: str = "") -> None:
        self._console.print(Text(" " * 10 + clean(text), style))

    def _progress(self, label: str, text: str) -> None:
        """Coalesced: the newest replaces the line in a terminal, elsewhere a line after a pause that grows."""
        if self._status:
            self._status.update(Text(clean(f"{label} {text}")))
            return
        now = self._clock()
        if now - self._last >= max(1.0, (now - self._began) / 10):
            self._last = now
            self._line(label, text, "dim")

    def _show(self, event: Event) -> None:
        show = _SHOW.get(type(event))
        if show:
            show(self, event)

    def _started(self, event: Started) -> None:
        self._line("project", event.root)
        self._line("python", f"{event.python} ({event.python_version}, {event.python_reason})")
        if event.pytest_args:
            self._line("pytest", " ".join(event.pytest_args))
        weights = (
            f", weights: {event.checkpoint}" if event.checkpoint and event.rank == "trm" else ""
        )
        self._line("rank", event.rank + weights)
        for note in event.notes:
            self._line("note", note, "dim")

    def _note(self, event: Note) -> None:
        self._line(
            "warning" if event.level == "warning" else "note",
            event.text,
            "bold yellow" if event.level == "warning" else "dim",
        )

    def _suite_progress(self, event: SuiteProgress) -> None:
        if self._phase is None or event.phase != self._phase.phase:
            self._phase = event
        done, spent = event.done - self._phase.done, event.at - self._phase.at
        left = f", {spent / done * (event.total - event.done):.0f} s left" if done and spent else ""
        self._progress("tests", f"{event.phase} {event.done}/{event.total}{left}")

    def _failing_test(self, event: FailingTest) -> None:
        self._failing += 1
        if self._failing > SHOWN and not self._verbose:
            return
        self._line("failed", event.nodeid, "bold red")
        first = next(iter(event.message.strip().splitlines()), "")
        where = f"{event.path}:{event.line}: " if event.line else ""
        self._more(where + ": ".join(part for part in (event.exception, first) if part))
        if event.expected or event.actual:
            self._more(f"expected {event.expected}, got {event.actual}")

    def _suite_ran(self, event: SuiteRan) -> None:
        if self._failing > SHOWN and not self._verbose:
            self._more(f"and {self._failing - SHOWN} more")
        parts = [f"{event.passed} passed", f"{event.failed} failed"]
        parts += [f"{event.errors} errors"] if event.errors else []
        parts += [f"{event.skipped} skipped"] if event.skipped else []
        self._line("tests", f"{', '.join(parts)} in {event.seconds:.2f} s")

    def _suspect(self, event: Suspect) -> None:
        self._suspects += 1
        if self._suspects <= SHOWN or self._verbose:
            best = max(event.line_scores, default=0.0)
            line = event.first_line + (event.line_scores.index(best) if event.line_scores else 0)
            self._line("suspect", f"{event.path}:{line} {event.name} (suspicion {best:.2f})")

    def _interval(self, event: Interval) -> None:
        self._line(
            "interval",
            f"{event.path}:{event.first}-{event.last} holds {event.mass:.0%} of the suspicion",
        )

    def _narrowing(self, event: Narrowing) -> None:
        self._narrowed = event

    def _probe(self, event: Probe) -> None:
        if event.verdict == "running":  # a decision tells of the others
            self._progress("probe", self._narrowed.items[event.item] if self._narrowed else "")

    def _decision(self, event: Decision) -> None:
        # Each candidate is rejected by a decision of its own: only the verbose want them all.
        if event.kind == "accept" and not event.bit and not self._verbose:
            return
        verb = _DECISIONS.get(event.kind, (f"not {event.kind}", event.kind))[bool(event.bit)]
        self._line("decision", f"{event.bit} {verb} (margin {event.margin:.2f}): {event.reason}")

    def _recursion(self, event: RecursionStep) -> None:
        at = f"{event.unit} step {event.step}/{event.steps}, halt {event.halt:.2f}"
        if self._verbose:
            self._line("model", f"{at}, line {event.proposal_line}, p {event.probability:.2f}")
            for line in event.proposal.splitlines():
                self._more(line)
        else:
            self._progress("model", at)

    def _candidate(self, event: CandidateTried) -> None:
        self._tried = max(self._tried, event.number)
        edit = f"{event.before!r} -> {event.after!r}"
        if self._verbose:
            text = f"{event.number} {event.path}:{event.line} {edit} [{event.operator}]"
            self._line("try", f"{text} {event.outcome} {event.seconds:.3f} s")
        else:
            self._progress("search", f"{self._tried} tried, now {event.path}:{event.line} {edit}")

    def _search(self, event: SearchProgress) -> None:
        self._progress(
            "search",
            f"{event.tried} tried, {event.queued} queued, {event.per_second:.0f}/s, "
            f"{event.seconds_left:.0f} s left",
        )

    def _patch(self, event: PatchFound) -> None:
        self._line(
            "patch",
            f"{', '.join(event.paths)}: {count(len(event.turned_green), 'test')} turned green, "
            f"{count(event.candidates, 'candidate')}, {event.seconds:.1f} s, "
            f"verified by {event.verified_by}",
            "bold green",
        )
        for nodeid in event.turned_green:
            self._more(nodeid, "green")

    def _rejected(self, event: PatchRejected) -> None:
        del event
        self._line("patch", "turned down: the search goes on for another")

    def _finished(self, event: Finished) -> None:
        if event.status == "error":
            self._console.print(Text("error: ", "bold red") + Text(clean(event.message)))
        else:
            label = event.status.replace("_", " ")
            text = event.message.removeprefix(f"{label}: ")
            self._line(label, text, _STYLES.get(event.status, "bold"))
        if event.tried and event.status not in ("fixed", "partly_fixed", "found"):  # told by then
            self._more(f"{count(event.tried, 'candidate')} tried in {event.seconds:.1f} s")
        if event.suspects:
            self._more("where the fault probably is:")
            for suspect in event.suspects:
                self._more(f"  {suspect}")
        if event.hint:
            self._console.print(Text("hint: ", "bold cyan") + Text(clean(event.hint)))
        if event.diff:
            write_diff(event.diff, self._out)


_DECISIONS = {  # kind -> (what bit 0 says, what bit 1 says)
    "halt": ("recurse on", "halt the recursion"),
    "side": ("left", "right"),
    "accept": ("reject", "accept"),
    "choose": ("show the first", "show another"),
    "combine": ("no second edit", "build a second edit on it"),
    "stop": ("search on", "stop the search"),
}

_SHOW: dict[type[Event], Callable[..., None]] = {
    Started: ConsoleFace._started,
    Note: ConsoleFace._note,
    SuiteProgress: ConsoleFace._suite_progress,
    FailingTest: ConsoleFace._failing_test,
    SuiteRan: ConsoleFace._suite_ran,
    Suspect: ConsoleFace._suspect,
    Interval: ConsoleFace._interval,
    Narrowing: ConsoleFace._narrowing,
    Probe: ConsoleFace._probe,
    Decision: ConsoleFace._decision,
    RecursionStep: ConsoleFace._recursion,
    CandidateTried: ConsoleFace._candidate,
    SearchProgress: ConsoleFace._search,
    PatchFound: ConsoleFace._patch,
    PatchRejected: ConsoleFace._rejected,
}


def clean(text: str) -> str:
    """Text of foreign origin without what a terminal would obey: control characters become U+FFFD, breaks blanks."""
    return _CONTROL.sub("\ufffd", text.replace("\n", " ").replace("\r", " "))


def count(number: int, noun: str) -> str:
    """'1 test', '2 tests'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def write_diff(diff: str, out: TextIO) -> None:
    """The diff, byte for byte where `out` is a file or pipe; cleaned and coloured in a terminal."""
    if out.isatty():
        console = Console(file=out, highlight=False, soft_wrap=True)
        for line in diff.removesuffix("\n").split("\n"):
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            console.print(Text(clean(line), style))
        return
    data = diff.encode("utf-8", "surrogateescape")
    buffer = getattr(out, "buffer", None)
    if buffer is None:
        out.write(data.decode("utf-8", "replace"))
    else:
        out.flush()
        buffer.write(data)
    out.flush()
