"""What runs of the code as it is have told of each test, and the requests that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tools.tasks import Answer
from tools.verdicts import Limits, Outcome, TestResult

CUT = (Outcome.TIMEOUT, Outcome.CRASHED)
_PEERS = 2.0  # times another test's time, where that is but a hint
_MOST_BY_PEERS = 1.0  # CPU seconds that such a hint can ask for
_UNKNOWN = 0.1  # CPU seconds of a test where nothing is known at all
_ENOUGH = 0.5  # CPU seconds in which a test ends that does not hang, unless others take longer


class Records:
    """Results of the tests with the code as it is, and what else is to be known of them.

    `own`: test id -> result. `extras`: test id -> what it did (reads, writes, spawns). `late`: files
    that tests import while they run. `direct`: tests that may take the direct path, `asked`: those for
    which that was tried. `open`: tests that were cut and may only be slow. `changes` grows
    with each change that requests depend on.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.own: dict[str, TestResult] = {}
        self.extras: dict[str, dict[str, Any]] = {}
        self.late: list[str] = []
        self.wrote = False  # something wrote into the project, and it is not known which test
        self.asked: set[str] = set()
        self.direct: set[str] = set()
        self.open: set[str] = set()
        self.changes = 0
        self._took: dict[str, tuple[float, float]] = {}  # failing tests with candidates: CPU, wall

    @property
    def writes(self) -> bool:
        """Whether the tests write into the project."""
        return self.wrote or any(extra.get("writes") for extra in self.extras.values())

    def finished(self, done: dict[str, Any]) -> None:
        """Takes what a baseline's child says at its end."""
        self.late = done.get("late", [])
        extras = self.extras.values()
        seen = any(extra.get("writes") for extra in extras)
        hidden = any(extra.get("spawns") for extra in extras) or not seen
        self.wrote = self.wrote or (done.get("wrote", False) and hidden)

    def know(self, results: Iterable[TestResult]) -> None:
        """Takes results in place of those that are known."""
        for result in results:
            self.own[result.nodeid] = result
        self.changes += 1

    def took(self, results: Iterable[TestResult]) -> None:
        """Takes how long failing tests took with a candidate with which they pass: others may take as long."""
        for each in results:
            own = self.own.get(each.nodeid)
            if own is not None and own.outcome is not Outcome.PASSED:
                cpu, wall = self._took.get(each.nodeid, (0.0, 0.0))
                self._took[each.nodeid] = max(cpu, each.seconds), max(wall, each.wall)
                self.changes += 1

    def enough(self) -> float:
        """CPU seconds for a test of which it is not known how long it takes."""
        passed = [each for each in self.own.values() if each.outcome is Outcome.PASSED]
        return min(self.limits.baseline_seconds, max(_ENOUGH, _PEERS * _longest(passed)[0]))

    def prove(self, answer: Answer) -> None:
        """Takes the direct path for tests that end as they did, with the same exception."""
        for result, extra in zip(answer.results, answer.extras, strict=True):
            was = self.own[result.nodeid]
            if extra.get("direct") == was.outcome and result.exception == was.exception:
                self.direct.add(result.nodeid)
        self.changes += 1

    def options(
        self, tests: Sequence[str], stop: bool, want_failure: bool, seconds: float | None = None
    ) -> dict[str, Any]:
        """The request as the worker reads it, but for the files. `seconds` replaces CPU limits."""
        limits = {test: self.limit(test, seconds) for test in tests if test in self.own}
        default = self.limit(None, seconds)
        total = sum(cpu for cpu, _ in limits.values()) + default[0] * (len(tests) + 1)
        extras = [self.extras.get(test, {}) for test in tests]
        setup = self.limits.setup_seconds
        return {
            "tests": list(tests), "stop": stop, "want_failure": want_failure, "limits": limits,
            "limit": default, "setup_wall": setup, "baseline": False, "spectrum": False,
            "late": self.late,
            "writes": self.wrote or any(extra.get("writes") for extra in extras),
            "spawns": any(extra.get("spawns") for extra in extras),
            "reads": sorted({path for extra in extras for path in extra.get("reads", ())}),
            "cpu_total": total + setup, "args": [], "plain": False, "shadow": "", "texts": False,
            "proof": False, "warm": False, "behave": False, "guess": False,
            "direct": [] if want_failure else [test for test in tests if test in self.direct],
        }  # fmt: skip

    def repairs(self, results: Iterable[TestResult]) -> bool:
        """Whether a test passed that does not with the code as it is."""
        passed = {each.nodeid for each in results if each.outcome is Outcome.PASSED}
        return any(self.own[test].outcome is not Outcome.PASSED for test in passed & set(self.own))

    def limit(self, test: str | None, seconds: float | None = None) -> list[float]:
        """[CPU, wall] seconds for a test; `seconds` replaces the first.

        `factor` times its own time. Where a test failed, a repair may let it run on as long as other
        tests of its file do; where it was cut, passing tests are the only measure there is.
        """
        bounds, own = self.limits, self.own.get(test or "")
        cpu, wall = bounds.cpu_floor, bounds.wall_floor
        if own is not None and own.outcome not in CUT:
            cpu, wall = max(cpu, bounds.factor * own.seconds), max(wall, bounds.factor * own.wall)
        took_cpu, took_wall = self._took.get(test or "", (0.0, 0.0))
        cpu, wall = max(cpu, _PEERS * took_cpu), max(wall, _PEERS * took_wall)
        if own is None or own.outcome is not Outcome.PASSED:
            near, passed = self._passed(test)
            if own is not None and own.outcome not in CUT:
                cpu = max(cpu, min(_MOST_BY_PEERS, _PEERS * _longest(near)[0]))
            elif passed:
                for group, times in ((near or passed, bounds.factor), (passed, _PEERS)):
                    longest = _longest(group)
                    cpu, wall = max(cpu, times * longest[0]), max(wall, times * longest[1])
            else:
                cpu = max(cpu, _UNKNOWN)
        if seconds is not None:
            wall = max(wall * seconds / cpu, bounds.wall_floor, 2 * seconds)
            cpu = seconds
        return [cpu, wall]

    def _passed(self, test: str | None) -> tuple[list[TestResult], list[TestResult]]:
        """(Passing tests of the test's file, all passing tests)."""
        file = (test or "").partition("::")[0]
        passed = [each for each in self.own.values() if each.outcome is Outcome.PASSED]
        return [each for each in passed if each.nodeid.partition("::")[0] == file], passed


def _longest(results: Iterable[TestResult]) -> tuple[float, float]:
    """The longest CPU and wall time among results."""
    pairs = [(each.seconds, each.wall) for each in results]
    return max((cpu for cpu, _ in pairs), default=0.0), max(
        (wall for _, wall in pairs), default=0.0
    )
