"""Which commit, which hunk, which line and which tokens turned a test red: exact bisection of the history, then of the change.

Nothing is checked out. Each probe lays the code of a revision over today's project in the confined runner and runs today's
failing test there, so it works with a dirty tree, an editable install and a project below the repository's top. A revision at
which the test cannot run, or fails in another way, is skipped. A flaky test is bisected by its failure rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

from agent.errors import TestsCannotRun, UsageError
from agent.events import (
    SCHEMA,
    Decision,
    Event,
    FailingTest,
    Finished,
    Interval,
    Narrowing,
    Note,
    Probe,
    Started,
    SuiteRan,
)
from tools.bisection import Bisection, Contradiction
from tools.bisection import Probe as Answer
from tools.bisection import bisect as search_events
from tools.history import UNCOMMITTED, Commit, History, HistoryError
from tools.interpreter import WorkspaceError
from tools.runner import Runner
from tools.source.pieces import LEVELS, Piece, apply, changed_lines, split, unified
from tools.verdicts import Outcome, RunnerError, SuiteRun
from tools.workspace import Workspace, find_workspace

FARTHEST = 1024  # commits looked at when no good revision is given
FLAKY_RUNS = 10  # of a flaky test at either end
FLAKY_PROBES = 200
FLAKY_MASS = 0.99  # of the posterior on one commit before it is named
LABEL = 60  # characters of either side of a piece, as people read it
SINGLY = 24  # pieces that are tried one by one where no order of applying them can be judged
Files = Mapping[str, bytes]
_RED = (Outcome.FAILED, Outcome.ERROR, Outcome.TIMEOUT, Outcome.CRASHED, Outcome.BLOCKED)


def bisect(
    path: Path, good: str | None = None, pytest_args: tuple[str, ...] = (), python: str | None = None,
    max_seconds: float = 600.0, allow_network: bool = False,
) -> Iterator[Event]:  # fmt: skip
    """Find what turned the suite at `path` red since `good` (None: look back for a revision where it is green).

    Ends in one Finished: status "found" (exit code 0, the culprit's diff), "green", or "not_fixed" (exit code 1). Raises
    UsageError and TestsCannotRun where nothing could be begun.
    """
    try:
        workspace = find_workspace(path, python)
        history = History(workspace.root)
        start = None if good is None else history.resolve(good)
        if start is not None and not history.is_ancestor(start):
            raise UsageError(
                f"--good {good} is not before HEAD", "give a commit of this branch's history"
            )
    except (WorkspaceError, HistoryError) as error:
        raise UsageError(str(error), error.hint) from error
    if workspace.interpreter.problem:
        raise TestsCannotRun(*workspace.interpreter.problem)
    yield from _Bisect(workspace, history, start, pytest_args, max_seconds, allow_network).events()


class _Bisect:
    """State of one run."""

    def __init__(self, workspace: Workspace, history: History, good: str | None, pytest_args: tuple[str, ...],
                 max_seconds: float, allow_network: bool) -> None:  # fmt: skip
        self.workspace, self.history, self.good = workspace, history, good
        self.arguments, self.allow_network = workspace.pytest_args(pytest_args), allow_network
        self.began = time.monotonic()
        self.deadline = self.began + max_seconds
        self.probes = 0
        self.focus = ""
        self.exception: str | None = None
        self.flaky = False

    @property
    def at(self) -> float:
        return round(time.monotonic() - self.began, 4)

    def events(self) -> Iterator[Event]:
        workspace = self.workspace
        yield Started(SCHEMA, "", str(workspace.root), workspace.python, workspace.python_reason, workspace.python_version,
                      self.arguments, "bisect", "", at=self.at)  # fmt: skip
        try:
            with Runner(
                workspace.root, workspace.python, self.arguments, allow_network=self.allow_network
            ) as runner:
                self.runner = runner
                yield from self._search()
        except RunnerError as error:
            raise TestsCannotRun(str(error), error.hint) from error

    def _search(self) -> Iterator[Event]:
        run = self.runner.baseline(spectrum=False)
        yield from self._told(run)
        if run.green:
            yield Finished(
                "green",
                0,
                f"all {len(run.results)} tests pass: nothing to bisect",
                seconds=self.at,
                at=self.at,
            )
            return
        tests = self._candidates(run)
        if not tests:
            raise TestsCannotRun(
                "pytest collected no tests", "name the tests after --, for example: -- tests/unit"
            )
        commits, base = yield from self._range(tests)
        if base is None:
            yield self._lost("no earlier revision was found where a failing test passes",
                             "give one with --good REV; a test that never passed has no culprit")  # fmt: skip
            return
        yield from self._commits(commits, base)

    def _told(self, run: SuiteRun) -> Iterator[Event]:
        for note in run.notes:
            yield Note(note, at=self.at)
        count = {outcome: sum(r.outcome is outcome for r in run.results) for outcome in Outcome}
        errors = sum(count[o] for o in _RED[1:]) + len(run.collection_errors)
        yield SuiteRan(count[Outcome.PASSED], count[Outcome.FAILED], errors, count[Outcome.SKIPPED], round(run.seconds, 3),
                       at=self.at)  # fmt: skip
        for result in run.results:
            if result.outcome in _RED:
                yield FailingTest(result.nodeid, result.exception or str(result.outcome), result.message or "", result.path,
                                  result.line or 0, at=self.at)  # fmt: skip

    def _candidates(self, run: SuiteRun) -> dict[str, str | None]:
        """Red tests with their exceptions, fastest first; files stand for their tests where collection fails."""
        broken: dict[str, str | None] = {
            e.collecting or e.path: e.exception for e in run.collection_errors
        }
        broken.pop("", None)
        red = sorted((r for r in run.results if r.outcome in _RED), key=lambda r: r.wall)
        steady = [r for r in red if r.nodeid not in set(run.flaky)]
        self.flaky = bool(red) and not steady and not broken
        return broken or {r.nodeid: r.exception for r in steady or red}

    # ------------------------------------------------------------ probes

    def _changed(self, files: Files) -> Files:
        """Without those that are so on disk already."""
        now = self._now(set(files))
        return {path: data for path, data in files.items() if data != now[path]}

    def _code(self, commit: str) -> dict[str, bytes]:
        return {} if commit == UNCOMMITTED else self.history.code_at(commit)

    def _is_bad(self, files: Files) -> bool | None:
        """Whether the focus fails with `files` in place as it does now; None where that cannot be told."""
        self.probes += 1
        verdict = self.runner.validate(self._changed(files), [self.focus])
        if verdict.passed:
            return False
        same = (
            verdict.exception is None
            or self.exception is None
            or verdict.exception == self.exception
        )
        return (
            True
            if verdict.outcome in _RED and same and verdict.message != "not collected"
            else None
        )

    def _passing(self, tests: Mapping[str, str | None], files: Files) -> list[str]:
        """Those of `tests` that pass with `files` in place."""
        self.probes += 1
        verdict = self.runner.validate(self._changed(files), list(tests), stop_at_first=False)
        if verdict.passed:
            return list(tests)
        green = {r.nodeid for r in verdict.results if r.outcome is Outcome.PASSED}
        return [test for test in tests if test in green]

    # ------------------------------------------------------------ commits

    def _range(self, tests: Mapping[str, str | None]) -> Iterator[Event]:
        """Sets the focus. Returns (commits after the good one, oldest first; the good one's name or None)."""
        latest = self.history.commits(self.good, None if self.good else FARTHEST)
        names = [commit.name for commit in latest]
        if self.history.is_dirty():
            latest.append(Commit(UNCOMMITTED))
        if self.good is not None:
            starts = [self.good]
        else:
            # doubling steps back: the turn is mostly near
            steps = [1 << i for i in range(len(names).bit_length())]
            starts = [names[-back] for back in steps if back <= len(names)]
            dirty = latest[-1:] == [Commit(UNCOMMITTED)]
            starts = [
                name
                for name in dict.fromkeys([*starts, *names[:1]])
                if dirty or name != self.history.head
            ]
        known = {commit.name: commit for commit in latest}
        yield Narrowing(
            "revision", tuple(_titled(known.get(s, Commit(s, ""))) for s in starts), at=self.at
        )
        for item, start in enumerate(starts):
            if time.monotonic() > self.deadline:
                break
            yield Probe(item, "running", item, len(starts) - 1, at=self.at)
            began = time.monotonic()
            passing = (
                self._rates(tests, start) if self.flaky else self._passing(tests, self._code(start))
            )
            left = (item, item) if passing else (min(item + 1, len(starts) - 1), len(starts) - 1)
            seconds = round(time.monotonic() - began, 4)
            yield Probe(item, "passes" if passing else "fails", *left, seconds=seconds, at=self.at)
            yield Note(
                f"{start[:10]}: {len(passing)} of {len(tests)} red tests pass there", at=self.at
            )
            if passing:
                self.focus = passing[0]
                self.exception = tests[self.focus]
                after = names.index(start) + 1 if start in names else 0
                yield Note(f"bisecting {self.focus}", at=self.at)
                return latest[after:], start
        return latest, None

    def _rates(self, tests: Mapping[str, str | None], start: str) -> list[str]:
        """For flaky tests: the first that passes often enough at `start`, as a list."""
        files = self._code(start)
        for test, exception in tests.items():
            self.focus, self.exception = test, exception
            failures = [self._is_bad(files) for _ in range(FLAKY_RUNS)]
            now = [self._is_bad({}) for _ in range(FLAKY_RUNS)]
            self.before = (failures.count(True), failures.count(False))
            self.after = (now.count(True), now.count(False))
            if self.before[0] * 3 < self.after[0]:
                return [test]
        return []

    def _commits(self, commits: list[Commit], base: str) -> Iterator[Event]:
        if not commits:
            yield self._lost(f"{self.focus} passes with the code of {base[:10]}, and no commit has changed it since",
                             "look at untracked files, data and dependencies")  # fmt: skip
            return
        search = Bisection(len(commits))
        if self.flaky:
            search = Bisection(len(commits), None, None, self.before, self.after)
        yield Note(
            f"commits after {base[:10]}: {len(commits)}"
            + (", by failure rates" if self.flaky else ""),
            at=self.at,
        )
        yield Narrowing("commit", tuple(map(_titled, commits)), self.focus, at=self.at)
        found = yield from self._halved(
            search,
            lambda item: self._is_bad(self._code(commits[item].name)),
            lambda item: commits[item].short,
        )
        if found is None:
            return
        first, last = found
        culprit = commits[last]
        for commit in commits[first : last + 1]:
            named = "first bad" if first == last else "one of these"
            yield Note(f"{named}: {_titled(commit)}", at=self.at)
        before = commits[first - 1].name if first else base
        if self.flaky:
            yield Finished("found", 0, f"{culprit.short} {culprit.subject}: {self.focus} fails more often since",
                           tried=self.probes, seconds=self.at, at=self.at)  # fmt: skip
            return
        yield from self._change(culprit, before)

    def _halved(
        self, search: Bisection, oracle: Callable[[int], bool | None], name: Callable[[int], str]
    ) -> Iterator[Event]:
        """Runs a search; returns its interval, or None after having said that it cannot be."""
        try:
            mass, most = (FLAKY_MASS, FLAKY_PROBES) if self.flaky else (1.0, None)
            answers = search_events(search, oracle, mass, most)
            while (probe := (yield from self._probed(search, answers, mass))) is not None:
                left = probe.last - probe.first + 1
                if probe.bad is None:
                    yield Note(
                        f"{name(probe.item)} cannot be judged: skipped; {left} left", at=self.at
                    )
                    continue
                reason = f"{self.focus} {'fails' if probe.bad else 'passes'} at {name(probe.item)}; {left} left"
                yield Decision(
                    "side", int(not probe.bad), round(1 - probe.margin, 4), reason, at=self.at
                )
                if time.monotonic() > self.deadline:
                    yield self._lost(
                        f"out of time with {left} left", "--max-seconds gives it longer"
                    )
                    return None
        except Contradiction as error:
            yield self._lost(
                f"the answers contradict each other: {error}",
                "the test may be flaky or depend on what ran before",
            )
            return None
        first, last, _ = search.interval(mass)
        return first, last

    def _probed(
        self, search: Bisection, answers: Iterator[Answer], mass: float
    ) -> Generator[Event, None, Answer | None]:
        """Tells of the next probe before and after it. Returns it, None at the search's end."""
        first, last, held = search.interval(mass)
        item = search.next()
        if item is not None and not search.is_done(mass):
            yield Probe(item, "running", first, last, held, at=self.at)
        began = time.monotonic()
        found = next(answers, None)
        if found is not None:
            verdict = "unclear" if found.bad is None else "fails" if found.bad else "passes"
            seconds = round(time.monotonic() - began, 4)
            yield Probe(
                found.item, verdict, found.first, found.last, found.mass, seconds, at=self.at
            )
        return found

    # ------------------------------------------------------------ the change

    def _change(self, culprit: Commit, before: str) -> Iterator[Event]:
        """Narrows the change from `before` to `culprit` to hunk, line and tokens."""
        good, bad = self._code(before), self._code(culprit.name)
        now = self._now({*good, *bad})
        around = {**now, **good}
        old, new = {p: around[p] for p in around}, {**now, **bad}
        for level in LEVELS:
            pieces = split(old, new, level)
            if not pieces:
                yield self._lost(f"{culprit.short} changes no code, yet {self.focus} fails since",
                                 "look at data files and dependencies")  # fmt: skip
                return
            found = (0, 0)
            said = tuple(_told_of(piece, old) for piece in pieces)
            yield Narrowing(level, said, self.focus, at=self.at)
            if len(pieces) > 1:
                start, items = old, pieces
                found = yield from self._halved(
                    Bisection(len(pieces)),
                    lambda item, start=start, items=items: self._is_bad(
                        apply(start, items[: item + 1])
                    ),
                    lambda item, level=level, items=items: (
                        f"{level} {item + 1} of {len(items)} ({items[item].path})"
                    ),
                )
                if found is None:
                    return
            first, last = found
            start, items = old, pieces
            old, new = apply(start, items[:first]), apply(start, items[: last + 1])
            if 0 < last - first < SINGLY:
                # pieces that need each other: what turns it green again when taken back alone?
                for left_out in range(last, first - 1, -1):
                    others = [
                        piece
                        for number, piece in enumerate(items[: last + 1])
                        if number != left_out
                    ]
                    if self._is_bad(apply(start, others)) is False:
                        yield Note(
                            f"taking back {level} {left_out + 1} alone turns it green", at=self.at
                        )
                        old = apply(start, others)
                        break
            path, lines = changed_lines(old, new, now)
            yield Interval(path, *lines, 1.0, at=self.at)
        yield from self._report(culprit, old, new, now)

    def _now(self, paths: set[str]) -> dict[str, bytes]:
        root = self.workspace.root
        return {
            path: (root / path).read_bytes() if (root / path).is_file() else b""
            for path in sorted(paths)
        }

    def _report(self, culprit: Commit, old: Files, new: Files, now: Files) -> Iterator[Event]:
        path, (first, last) = changed_lines(old, new, now)
        pieces = split(old, new, "token")
        removed = b" ".join(old.get(p.path, b"")[p.start : p.end].strip() for p in pieces).decode(
            "utf-8", "replace"
        )
        written = b" ".join(p.text.strip() for p in pieces).decode("utf-8", "replace")
        change = f"{' '.join(removed.split())!r} became {' '.join(written.split())!r}"[:200]
        text = now.get(path, b"").decode("utf-8", "replace").splitlines()
        lines = tuple(
            f"{path}:{n}: {text[n - 1].strip()}" for n in range(first, min(last, len(text)) + 1)
        )
        yield Finished("found", 0, f"{culprit.short} {culprit.subject}: {path}:{first}: {change}", diff=unified(old, new),
                       tried=self.probes, seconds=self.at, suspects=lines[:5], at=self.at)  # fmt: skip

    def _lost(self, message: str, hint: str) -> Finished:
        return Finished(
            "not_fixed", 1, message, hint, tried=self.probes, seconds=self.at, at=self.at
        )


def _titled(commit: Commit) -> str:
    """A commit on one line."""
    who = f" ({commit.author}, {commit.date})" if commit.author else ""
    return f"{commit.short} {commit.subject}{who}"


def _told_of(piece: Piece, old: Files) -> str:
    """A piece on one line: where, what it takes away and what it puts there; ∅ is nothing."""
    before = old.get(piece.path, b"")
    taken = before[piece.start : piece.end]
    removed, written = (
        " ".join(text.decode("utf-8", "replace").split()) or "∅" for text in (taken, piece.text)
    )
    # a run of leaves begins with the blanks before it
    start = piece.start + len(taken) - len(taken.lstrip())
    line = before.count(b"\n", 0, start) + 1
    return f"{piece.path}:{line}: {removed[:LABEL]} → {written[:LABEL]}"
