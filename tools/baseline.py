"""Running the suite as it is: outcomes, lines and times of the tests, hangs among them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from tools.dispatch import Dispatcher
from tools.records import Records
from tools.tasks import Answer, Task
from tools.verdicts import Outcome, RunnerError, SuiteRun, TestResult

# CPU seconds of a traced test, and of those after one that hung, before it is asked again.
QUICK, NEXT = 1.0, 0.2
UNTRACED = 0.5  # CPU seconds of a test that was cut, when it is asked again
SLOWER = 20.0  # or so many times the slowest test that ended
MISSES = 3  # tests that did not end when they were asked again, after which no further one is
REPEATED = 50  # failing tests that are run a second time


class Baseline:
    """Fills a SuiteRun and the records with what the tests do; `spectrum`: lines are wanted.

    seconds: wall time after which no further slow test is told from a hanging one.
    """

    def __init__(
        self, dispatch: Dispatcher, records: Records, run: SuiteRun, spectrum: bool, seconds: float
    ) -> None:
        self.dispatch, self.records, self.suite, self.spectrum = dispatch, records, run, spectrum
        items = dispatch.session["items"] or []
        self.places = {nodeid: (path, line) for nodeid, path, line in items}
        self.until = time.monotonic() + seconds

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Runs all tests. Raises RunnerError where the worker fails."""
        suite, records = self.suite, self.records
        self._trace(list(self.places), min(QUICK, records.limits.baseline_seconds), progress)
        self._slow()
        order = {nodeid: index for index, nodeid in enumerate(self.places)}
        suite.results.sort(key=lambda each: order.get(each.nodeid, len(order)))
        suite.spectrum.failed = set(suite.failing)
        records.know(suite.results)
        self.again()

    def _trace(
        self, rest: list[str], bound: float, progress: Callable[[int, int], None] | None
    ) -> None:
        """Runs `rest` with `bound` CPU seconds each, anew after each that hangs or ends its process."""
        suite = self.suite
        while rest:
            options = self.records.options(rest, stop=False, want_failure=True)
            options.update(
                baseline=True, spectrum=self.spectrum, limits={}, limit=[bound, 3 * bound],
                cpu_total=bound * (len(rest) + 1), writes=False,
            )  # fmt: skip
            task, before = Task(None, {}, rest, options), len(suite.results)

            def count(task: Task = task, before: int = before) -> None:
                if progress is not None:
                    progress(before + len(task.answer.results), len(self.places))

            for _ in self.dispatch.drive(iter([task]), 1, count):
                pass
            self._take(task.answer)
            seen = {result.nodeid for result in task.answer.results}
            rest = [nodeid for nodeid in rest if nodeid not in seen]
            if task.answer.done is not None or not seen:
                break
            if suite.results and suite.results[-1].outcome is Outcome.TIMEOUT:
                # one hang is seldom alone: the next ones are cut sooner
                bound = min(bound, max(NEXT, SLOWER * self._slowest()))

    def _take(self, answer: Answer) -> None:
        suite, records = self.suite, self.records
        if answer.broken or answer.end is None:
            raise RunnerError("the test worker failed: " + answer.broken.strip().split("\n")[-1])
        answer.close()
        for result, extra in zip(answer.results, answer.extras, strict=True):
            path, line = self.places.get(result.nodeid, ("", None))
            suite.results.append(dataclasses.replace(result, path=path, line=line))
            suite.spectrum.lines[result.nodeid] = extra.pop("lines", {})
            records.extras[result.nodeid] = extra
        suite.failures += answer.failures
        if answer.done is not None:
            records.finished(answer.done)
        suite.spectrum.complete = not any(extra.get("cut") for extra in records.extras.values())

    def _slow(self) -> None:
        """Tells slow tests from hanging ones, as far as that is cheap.

        A test that was cut runs once more untraced, for a time that is long beside the others'. One
        that ends is traced with all the time it needs. One that does not stays open, and the next gets half of the time;
        after a few such tests the rest stays open too: `Runner.validate_many` gives it more time once that matters.
        """
        suite, records = self.suite, self.records
        bound = records.limits.baseline_seconds
        cut = [each.nodeid for each in suite.results if each.outcome is Outcome.TIMEOUT]
        if bound <= QUICK:
            return
        records.open = set(cut)
        misses = 0
        for test in cut:
            if time.monotonic() > self.until or misses == MISSES:
                break
            patience = min(bound, max(UNTRACED, SLOWER * self._slowest())) / 2**misses
            if ends(self.dispatch, records, test, patience) is not None:
                suite.results = [each for each in suite.results if each.nodeid != test]
                self._trace([test], 3 * bound, None)
                records.open.discard(test)
            else:
                misses += 1

    def _slowest(self) -> float:
        """CPU seconds of the slowest test that ended by itself."""
        cut = (Outcome.TIMEOUT, Outcome.CRASHED)
        return max(
            (each.seconds for each in self.suite.results if each.outcome not in cut), default=0
        )

    def again(self) -> list[TestResult]:
        """Runs the failing tests a second time, untraced: their own time, and flaky ones. Returns what they do."""
        suite, failing = self.suite, repeatable(self.suite)
        if not failing:
            return []
        results = as_is(self.dispatch, self.records, failing, warm=True).results
        suite.flaky += [each.nodeid for each in results if each.outcome is Outcome.PASSED]
        self.records.know(each for each in results if each.outcome is not Outcome.PASSED)
        if suite.flaky:
            suite.notes.append("failed, then passed with the same code: " + ", ".join(suite.flaky))
        return results


def repeatable(suite: SuiteRun) -> list[str]:
    """Failing tests that came to an end, as many as are run a second time."""
    ended = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)
    return [each.nodeid for each in suite.results if each.outcome in ended][:REPEATED]


def as_is(dispatch: Dispatcher, records: Records, tests: Sequence[str], **more: Any) -> Answer:
    """Runs tests with the code as it is; `more` goes into the request."""
    options = records.options(tests, stop=False, want_failure=False)
    options.update(more)
    task = Task(None, {}, tests, options)
    for _ in dispatch.drive(iter([task]), dispatch.settings["jobs"]):
        pass
    return task.answer


def ends(dispatch: Dispatcher, records: Records, test: str, seconds: float) -> TestResult | None:
    """What becomes of a test within so many CPU seconds (twice the wall time); None if it is cut."""
    limit = [seconds, 2 * seconds]
    answer = as_is(dispatch, records, [test], limits={}, limit=limit, cpu_total=seconds + 1)
    return answer.results[0] if answer.results else None


def prove(dispatch: Dispatcher, records: Records, tests: Sequence[str]) -> None:
    """Tries the direct path for those of `tests` for which that was not done yet."""
    ended = (Outcome.PASSED, Outcome.FAILED)
    known = [test for test in tests if test in records.own and test not in records.asked]
    fresh = [test for test in known if records.own[test].outcome in ended]
    if fresh:
        records.asked.update(fresh)
        records.prove(as_is(dispatch, records, fresh, warm=True, direct=fresh, proof=True))
