"""What the home screen shows, as plain values; `agent.home` makes them. Imports no textual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agent import events as ev


@dataclass(frozen=True)
class Suite:
    """The suite as it was last seen. seen: seconds since the epoch, 0 for never; source: where that is known from.

    passed counts the tests that passed; `tests` are those that failed; message and hint say why the tests could not run.
    """

    seen: float = 0.0
    source: str = ""
    passed: int = 0
    tests: tuple[ev.FailingTest, ...] = ()
    message: str = ""
    hint: str = ""

    @property
    def state(self) -> str:
        """unknown, broken (could not run), red or green."""
        if not self.seen:
            return "unknown"
        return "broken" if self.message else "red" if self.tests else "green"

    def without(self, turned_green: frozenset[str]) -> Suite:
        """After a patch that repaired these tests was applied."""
        left = tuple(test for test in self.tests if test.nodeid not in turned_green)
        return replace(self, passed=self.passed + len(self.tests) - len(left), tests=left)

    def again(self, tests: Iterable[ev.FailingTest]) -> Suite:
        """After a patch that had repaired these tests was taken back."""
        known = {test.nodeid for test in self.tests}
        back = tuple(test for test in tests if test.nodeid not in known)
        return replace(self, passed=self.passed - len(back), tests=self.tests + back)


@dataclass(frozen=True)
class PastRun:
    """A recorded run. began: seconds since the epoch; patch: "" none, or found, applied, undone."""

    id: str
    began: float
    status: str
    message: str
    patch: str = ""


@dataclass(frozen=True)
class Home:
    """A project and what is known of it. `python` is what runs its tests and why; runs: newest first."""

    root: str
    python: str
    git: str = ""
    suite: Suite = field(default_factory=Suite)
    runs: tuple[PastRun, ...] = ()

    @property
    def last_applied(self) -> PastRun | None:
        """The newest run whose patch is in the files now."""
        return next((run for run in self.runs if run.patch == "applied"), None)


class SuiteWatch:
    """A run of the suite as it comes in; `result` is the Suite when its Finished has passed."""

    def __init__(self) -> None:
        self.done = self.total = self.passed = 0
        self.tests: list[ev.FailingTest] = []
        self.over = False
        self.finished: ev.Finished | None = None

    def apply(self, event: ev.Event) -> None:
        """Take one event in."""
        match event:
            case ev.SuiteProgress():
                self.done, self.total = event.done, event.total
            case ev.SuiteRan():
                self.passed = event.passed
                self.over = True
            case ev.FailingTest():
                self.tests.append(event)
            case ev.Finished():
                self.finished = event

    def result(self, seen: float, source: str) -> Suite | None:
        """What the run showed at `seen`; None for one that was stopped before its end."""
        end = self.finished
        if self.over:
            return Suite(seen, source, self.passed, tuple(self.tests))
        if end is not None and end.status == "error":
            return Suite(seen, source, message=end.message, hint=end.hint)
        return None


def ago(seconds: float) -> str:
    """'just now', '4 min ago', '3 h ago', '2 days ago'."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    if minutes < 48 * 60:
        return f"{minutes // 60} h ago"
    return f"{minutes // (24 * 60)} days ago"
