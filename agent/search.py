"""The search: candidates in order, validated until one passes everything or repairs a part."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agent import decide
from agent.budget import Budget
from agent.events import CandidateTried, Event, SearchProgress
from agent.propose import Candidate, CostAware
from tools.runner import Runner
from tools.verdicts import Outcome, SuiteRun

PARTIAL_PATIENCE = 400  # candidates tried after a partial repair before building on it
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
    """failing: what a candidate must turn green, cheapest first; everything: these and all that passed before."""

    __test__ = False

    failing: Sequence[str]
    everything: Sequence[str]

    @staticmethod
    def of(run: SuiteRun, failing: Sequence[str]) -> Tests:
        """In the order in which a wrong candidate dies soonest; hanging tests last."""
        seconds = {result.nodeid: result.seconds for result in run.results}
        hung = {r.nodeid for r in run.results if r.outcome is Outcome.TIMEOUT}
        first = sorted(failing, key=lambda test: (test in hung, seconds.get(test, 0.0)))
        passed = [r.nodeid for r in run.results if r.outcome is Outcome.PASSED]
        return Tests(first, [*first, *(test for test in passed if test not in set(first))])


def search(
    runner: Runner, run: SuiteRun, candidates: CostAware, tests: Tests, patch: PatchedFiles, budget: Budget
) -> Iterator[Event]:  # fmt: skip
    """Try candidates in order until one passes everything. Returns (patch, done) or None."""
    failing, everything = tests.failing, tests.everything
    flying: dict[int, Candidate] = {}
    waiting: list[Candidate] = []
    partial: tuple[int, PatchedFiles, str] | None = None
    since_partial = 0
    numbers = itertools.count(1)
    last_progress = 0.0
    search_began = time.monotonic()
    tried_before = budget.tried

    def feed() -> Iterator[tuple[int, dict[str, bytes]]]:
        while not budget.over(len(flying)):
            candidate = waiting.pop() if waiting else next(candidates, None)
            if candidate is None:
                return
            number = next(numbers)
            flying[number] = candidate
            yield number, patch.with_candidate(candidate).contents()

    while True:
        verdicts = cast(Generator, runner.validate_many(feed(), failing))
        survivor: tuple[Candidate, Any] | None = None
        try:
            for number, verdict in verdicts:
                candidate = flying.pop(number)
                budget.tried += 1
                if "ran during" in verdict.reason:
                    candidates.slow(candidate.suspect)
                since_partial += partial is not None
                improves = verdict.passed or (verdict.failing_test not in (None, failing[0]) and len(failing) > 1
                                              and verdict.outcome in (Outcome.FAILED, Outcome.ERROR))  # fmt: skip
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
                if partial is not None and since_partial > PARTIAL_PATIENCE:
                    break
        finally:
            verdicts.close()
            waiting.extend(reversed(flying.values()))
            flying.clear()
        if survivor is not None:
            candidate, verdict = survivor
            attempt = patch.with_candidate(candidate)
            if verdict.passed:
                whole = runner.validate(attempt.contents(), everything)
                if whole.passed:
                    yield budget.stamp(decide.accept(True, f"all {len(everything)} tests pass"))
                    return attempt, True
                yield budget.stamp(decide.accept(False, f"breaks {whole.failing_test}"))
                continue
            full = runner.validate(attempt.contents(), everything, stop_at_first=False)
            bad = {
                r.nodeid for r in full.results if r.outcome not in (Outcome.PASSED, Outcome.SKIPPED)
            }
            turned = len(set(failing) - bad)
            if turned and bad <= set(failing) and (partial is None or turned > partial[0]):
                partial = (turned, attempt, candidate.suspect.name)
                yield budget.stamp(decide.combine(turned, len(failing) - turned))
                if not _touched(run, set(failing) & bad, candidate):
                    return attempt, False
            continue
        if partial is not None:
            return partial[1], False
        return None


def _touched(run: SuiteRun, tests: set[str], candidate: Candidate) -> bool:
    """Whether any of `tests` ran the candidate's unit."""
    unit = candidate.suspect.unit
    lines = range(unit.first_line, unit.last_line + 1)
    return any(
        set(run.spectrum.lines_of(test).get(candidate.path, ())) & set(lines) for test in tests
    )
