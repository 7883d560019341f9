"""The search: candidates in order, until one passes everything or repairs a part, and a while longer for a better one."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agent import decide
from agent.budget import Budget
from agent.candidates import Candidate, CostAware
from agent.choose import MOST_PASSING, Passing, choose
from agent.events import CandidateTried, Event, Note, SearchProgress
from agent.recent import TAKEN_BACK
from agent.suite_cache import Rejected
from tools.runner import Runner
from tools.verdicts import Outcome, SuiteRun, Verdict, said

SPREAD = 4.0  # nats: what is so much less likely than a patch that passes is not tried beside it
PARTIAL_PATIENCE = 400  # candidates tried after a partial repair before building on it
MOST_PARTIAL = 3  # partial repairs kept until then
_PROGRESS_EVERY = 0.25  # seconds


@dataclass
class PatchedFiles:
    """Files as changed so far: path -> (original bytes, current bytes)."""

    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    def with_candidate(self, candidate: Candidate) -> PatchedFiles:
        """These changes and the candidate's."""
        original = self.files.get(candidate.path, (candidate.suspect.file.module.source, b""))[0]
        return PatchedFiles({**self.files, candidate.path: (original, candidate.source())})

    def contents(self) -> dict[str, bytes]:
        """path -> current bytes."""
        return {path: new for path, (_, new) in self.files.items()}


@dataclass(frozen=True)
class Tests:
    """failing: what a candidate must turn green, cheapest first; everything: these and what passed before, in the suite's order.

    Tests leave things behind for those that come after them: what passes everything must do so in the order of the suite.
    """

    __test__ = False

    failing: Sequence[str]
    everything: Sequence[str]

    @staticmethod
    def of(run: SuiteRun, failing: Sequence[str]) -> Tests:
        """In the order in which a wrong candidate dies soonest; hanging tests last."""
        seconds = {result.nodeid: result.seconds for result in run.results}
        hung = {r.nodeid for r in run.results if r.outcome is Outcome.TIMEOUT}
        first = sorted(failing, key=lambda test: (test in hung, seconds.get(test, 0.0)))
        kept = {r.nodeid for r in run.results if r.outcome is Outcome.PASSED}.union(first)
        ran = [r.nodeid for r in run.results if r.nodeid in kept]
        return Tests(first, [*(test for test in first if test not in seconds), *ran])


@dataclass(frozen=True)
class Found:
    """What a search ends with. done: all tests pass; number: of the candidate that made it, in the order of trying."""

    patch: PatchedFiles
    done: bool
    number: int


def search(
    runner: Runner, run: SuiteRun, candidates: CostAware, tests: Tests, patch: PatchedFiles, budget: Budget, patience: float,
    rejected: Rejected, seconds: float = math.inf, most: float = math.inf,
    told: Callable[[Candidate, Verdict], None] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Try candidates in order until one passes everything, and `patience` seconds more. Returns Found or None.

    What passes has passed the tests that run it; the caller's last check is for all, and where that fails `candidates` still have
    whatever else passed. seconds, most: time and number of candidates after which it gives up for now; `candidates` go on where
    it stopped. told: is called with every verdict, then of all failing tests, and what to make of a partial repair is left to it.
    rejected: what failed in earlier runs of the same code, and is passed over; what fails now is added.
    """
    failing, everything = tests.failing, tests.everything
    unchanged = _unchanged(runner, run, failing[0], patch) if told is None else None
    plain = set(runner.plain_tests())
    flying: dict[int, Candidate] = {}
    marks: dict[int, bytes] = {}  # of those, for `rejected`
    waiting: list[Candidate] = []
    partial: list[tuple[int, Found]] = []  # what repairs failing tests, with how many, most first
    since_partial = 0
    passing: list[Passing] = []
    until = 0.0  # where something passes already
    numbers = itertools.count(1)
    dry = False  # no candidates are left but those that wait
    passed_over = False  # the last ones that came were known to fail
    last_progress = 0.0
    search_began = time.monotonic()
    tried_before = budget.tried
    end = search_began + seconds

    def feed() -> Iterator[tuple[int, dict[str, bytes]]]:
        nonlocal dry, passed_over
        passed_over, pause = False, time.monotonic() + _PROGRESS_EVERY
        while not budget.over(len(flying)):
            if time.monotonic() > (until if passing else end):
                return
            if not passing and budget.tried - tried_before + len(flying) >= most:
                return
            candidate = waiting.pop() if waiting else next(candidates, None)
            dry = candidate is None
            if candidate is None:
                return
            if passing and candidate.score < passing[0].candidate.score - SPREAD:
                candidates.put_back(candidate)
                return
            contents = patch.with_candidate(candidate).contents()
            mark = rejected.mark(failing[0], contents)
            if mark in rejected:
                passed_over = time.monotonic() > pause
                if passed_over:  # there may be thousands: whoever wants to stop is heard
                    return
                continue
            number = next(numbers)
            flying[number], marks[number] = candidate, mark
            yield number, contents
            pause = time.monotonic() + _PROGRESS_EVERY

    while True:
        judged = runner.validate_many(
            feed(), failing, stop_at_first=told is None, in_time=lambda: budget.left > 0,
            exact=lambda number: not candidates.was_postponed(flying[number]),
        )  # fmt: skip
        verdicts = cast(Generator, judged)
        survivor: tuple[Candidate, Any] | None = None
        try:
            for number, verdict in verdicts:
                candidate, mark = flying.pop(number), marks.pop(number)
                if verdict.outcome is Outcome.POSTPONED:
                    looked = verdict.results[-1] if verdict.results else None
                    other = looked is not None and said(looked) != unchanged
                    candidates.postpone(candidate, in_vain=other)
                    continue
                budget.tried += 1
                since_partial += bool(partial)
                failed = verdict.outcome in (Outcome.FAILED, Outcome.ERROR)
                if told is not None:
                    told(candidate, verdict)
                else:
                    candidates.answered(candidate, failed and said(verdict) == unchanged)
                further = (
                    verdict.failing_test not in (None, failing[0]) and len(failing) > 1 and failed
                )
                improves = verdict.passed or (told is None and not passing and further)
                if failed and verdict.failing_test == failing[0]:
                    rejected.add(mark)
                yield CandidateTried(budget.tried, candidate.path, candidate.line, candidate.before, candidate.after,
                                     candidate.operator, round(candidate.score, 4), str(verdict.outcome),
                                     verdict.failing_test or "", round(verdict.wall, 4), at=budget.at)  # fmt: skip
                now = time.monotonic()
                if now - last_progress > _PROGRESS_EVERY:
                    last_progress = now
                    rate = (budget.tried - tried_before) / max(1e-6, now - search_began)
                    yield SearchProgress(budget.tried, len(flying) + len(waiting), round(rate, 1),
                                         round(budget.left, 1), at=budget.at)  # fmt: skip
                if improves:
                    survivor = (candidate, verdict)
                    break
                if partial and since_partial > PARTIAL_PATIENCE:
                    dry = False
                    break
        finally:
            verdicts.close()
            waiting.extend(reversed(flying.values()))
            flying.clear()
            marks.clear()
        if survivor is not None:
            candidate, verdict = survivor
            attempt = patch.with_candidate(candidate)
            if verdict.passed and not runner.failing(failing):
                break  # they were only slow: there is nothing to repair
            if verdict.passed:
                concerned = everything
                if verdict.method == "swap" and not patch.files:
                    concerned = _concerned(run, everything, candidate, plain)
                whole = runner.validate(attempt.contents(), concerned)
                if not whole.passed:
                    yield budget.stamp(decide.accept(False, f"breaks {whole.failing_test}"))
                    continue
                reason = f"all {len(everything)} tests pass"
                if len(concerned) < len(everything):
                    reason = f"of {len(everything)} the {len(concerned)} tests that run it pass"
                yield budget.stamp(decide.accept(True, reason))
                times = {result.nodeid: result.seconds for result in whole.results}
                passing.append(Passing(budget.tried, candidate, attempt, times))
                if len(passing) == 1:
                    until = time.monotonic() + patience
                if patience <= 0 or len(passing) == MOST_PASSING:
                    break
                continue
            some = runner.validate(attempt.contents(), failing, stop_at_first=False)
            left = _not_passed(some, failing)
            turned = len(failing) - len(left)
            if not turned:
                continue
            found = Found(attempt, False, budget.tried)
            partial = sorted([*partial, (turned, found)], key=lambda pair: -pair[0])[:MOST_PARTIAL]
            if partial[0][1] is not found or _touched(run, left, candidate):
                continue  # more may be done at the same place
        if passed_over and survivor is None:
            yield SearchProgress(
                budget.tried, len(waiting), 0.0, round(budget.left, 1), at=budget.at
            )
            continue
        # Whether it breaks other tests takes the whole suite, so that is asked only of what may be built upon.
        if partial and not passing:
            for turned, found in partial:
                whole = runner.validate(found.patch.contents(), everything, stop_at_first=False)
                if _not_passed(whole, everything) <= set(failing):
                    yield budget.stamp(decide.combine(turned, len(failing) - turned))
                    return found
            partial, since_partial = [], 0
            if not dry and not budget.over():
                continue
        if dry and candidates.waits and not budget.over():
            continue
        break
    for candidate in waiting:
        candidates.put_back(candidate)
    if passing:
        best = yield from choose(runner, passing, budget)
        for other in passing:
            if other is not best:
                candidates.put_back(other.candidate)
        if (change := TAKEN_BACK.get(best.candidate.operator)) is not None:
            yield Note(f"the patch takes back a part of {change}", at=budget.at)
        return Found(best.patch, True, best.number)
    return None


def _unchanged(
    runner: Runner, run: SuiteRun, test: str, patch: PatchedFiles
) -> tuple[str, str] | None:
    """How the test fails before any candidate; None where it would take long to tell.

    The first run tells more than the message of a candidate's verdict, so it is asked again.
    """
    before = next((result for result in run.results if result.nodeid == test), None)
    if before is None or before.outcome is not Outcome.FAILED:
        return None
    return said(runner.validate(patch.contents(), [test]))


def _not_passed(verdict: Verdict, tests: Sequence[str]) -> set[str]:
    """Tests that failed, and those, or files of tests, that were not reached."""
    reached = verdict.reached
    fine = (Outcome.PASSED, Outcome.SKIPPED)
    failed = {result.nodeid for result in verdict.results if result.outcome not in fine}
    return failed.union(test for test in tests if test not in reached)


def _concerned(
    run: SuiteRun, tests: Sequence[str], candidate: Candidate, plain: Collection[str]
) -> list[str]:
    """Those of `tests` that an edit of a function can break: that ran it, or of which the trace does not tell.

    plain: tests that pass and start no programs.
    """
    unit = candidate.suspect.unit
    if unit.kind != "function":
        return list(tests)
    lines = set(range(unit.first_line, unit.last_line + 1))
    return [
        test for test in tests
        if test not in plain or not (ran := run.spectrum.lines_of(test)) or not lines.isdisjoint(ran.get(candidate.path, ()))
    ]  # fmt: skip


def _touched(run: SuiteRun, tests: set[str], candidate: Candidate) -> bool:
    """Whether any of `tests` ran the candidate's unit."""
    unit = candidate.suspect.unit
    lines = range(unit.first_line, unit.last_line + 1)
    return any(
        set(run.spectrum.lines_of(test).get(candidate.path, ())) & set(lines) for test in tests
    )
