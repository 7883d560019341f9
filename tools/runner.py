"""Runs a pytest suite and judges candidates: the host of the test worker.

`Runner` starts one worker process under the user's interpreter (``tools/worker``), which collects
the suite once and then forks a confined child per candidate. Candidates never touch the user's
files: changed code is exchanged in memory, or mounted over the old file in the child's own view.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tools.dispatch import Dispatcher
from tools.spectrum import Spectrum
from tools.tasks import Answer, Task
from tools.verdicts import (
    WORKER_LIMITS,
    CollectionError,
    Failure,
    Frame,
    Limits,
    Outcome,
    RunnerError,
    SuiteRun,
    TestResult,
    Verdict,
)

__all__ = [
    "CollectionError", "Failure", "Frame", "Limits", "Outcome", "Runner", "RunnerError",
    "Spectrum", "SuiteRun", "TestResult", "Verdict",
]  # fmt: skip

Key = TypeVar("Key", bound=Hashable)
Files = Mapping[str, bytes]
_UNTIL_PROOF = (
    3  # candidates that tests judge through pytest's protocol before the direct path is tried
)
_QUICK = 2.0  # CPU seconds a test at first; what needs more is asked again
REPEATED = 50  # failing tests that are run a second time after the baseline


class Runner:
    """The suite of one project under one interpreter. A context manager.

    `root`: the project's folder, also the working directory of the tests. `python`: the user's
    interpreter. `pytest_args`: what the user would give to pytest. `writable`: more places that
    tests may write to. `jobs`: candidates at once. `guards_off` ("namespaces", "landlock") is for
    tests of what is left without them. Raises RunnerError where the suite cannot be run at all.
    """

    def __init__(
        self,
        root: Path,
        python: str,
        pytest_args: Sequence[str] = (),
        limits: Limits | None = None,
        writable: Sequence[Path] = (),
        allow_network: bool = False,
        jobs: int = 1,
        guards_off: Sequence[str] = (),
    ) -> None:
        self.root = Path(root).resolve()
        # Not resolved: a virtual environment's python is a link that must stay one.
        self.python = os.path.abspath(shutil.which(python) or python)
        self.limits, self.jobs = limits or Limits(), jobs
        self.pytest_args = list(pytest_args)
        bounds: dict[str, int] = {name: getattr(self.limits, name) for name in WORKER_LIMITS}
        settings = {
            "root": str(self.root), "cwd": str(self.root), "args": self.pytest_args,
            "limits": bounds, "writable": [str(Path(path).resolve()) for path in writable],
            "network": allow_network, "guards_off": list(guards_off), "jobs": jobs,
        }  # fmt: skip
        self._dispatch = Dispatcher(
            self.root, self.python, self.pytest_args, settings, self.limits.setup_seconds
        )
        self._baseline: SuiteRun | None = None
        self._own: dict[str, TestResult] = {}
        self._extras: dict[str, dict[str, Any]] = {}
        self._late: list[str] = []
        self._wrote = False  # something wrote into the project, and it is not known which test
        self._asked: set[str] = set()  # tests for which the direct path was tried
        self._direct: set[str] = set()  # those where it gave what the protocol gave

    def __enter__(self) -> Runner:
        self._dispatch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker and everything it started."""
        self._dispatch.close()

    @property
    def guards(self) -> list[str]:
        """Names of the guards around the worker: namespaces, read_only, tmpfs, pid_max, landlock."""
        hello = self._dispatch.hello
        return sorted(hello.get("guards", [])) + (["landlock"] if hello.get("landlock") else [])

    def _new_run(self, **fields: Any) -> SuiteRun:
        hello, session = self._dispatch.hello, self._dispatch.session
        return SuiteRun(
            **fields, spectrum=Spectrum(), seconds=0.0, rootdir=session.get("rootdir", ""),
            configfile=session.get("configfile"), pytest_version=hello["pytest"],
            python_version=hello["python"],
        )  # fmt: skip

    # ------------------------------------------------------------ baseline

    def baseline(
        self, progress: Callable[[int, int], None] | None = None, spectrum: bool = True
    ) -> SuiteRun:
        """Runs the whole suite once as it is; times and spectrum of it steer `validate`.

        `progress(done, total)` is called after each test. Tests that hang or end their process get
        that as their outcome, and the others still run.
        """
        began = time.perf_counter()
        self._dispatch.start()
        session = self._dispatch.session
        errors = [CollectionError(**error) for error in session["errors"]]
        run = self._new_run(
            results=[], failures=[], collection_errors=errors, notes=list(session["notes"])
        )
        places = {nodeid: (path, line) for nodeid, path, line in session["items"] or []}
        bound = self.limits.baseline_seconds
        quick = min(_QUICK, bound)
        self._trace(run, list(places), quick, places, spectrum, progress)
        slow = [each.nodeid for each in run.results if each.outcome is Outcome.TIMEOUT]
        # A slow test or a hang? One is given all its time; only if that helps, the others are too.
        for tests in (slow[:1], slow[1:]) if bound > quick else ():
            run.results = [each for each in run.results if each.nodeid not in set(tests)]
            self._trace(run, tests, bound, places, spectrum, None)
            if any(each.outcome is Outcome.TIMEOUT for each in run.results if each.nodeid in tests):
                break
        order = {nodeid: index for index, nodeid in enumerate(places)}
        run.results.sort(key=lambda each: order.get(each.nodeid, len(order)))
        run.spectrum.failed = set(run.failing)
        self._own = {result.nodeid: result for result in run.results}
        self._baseline = run
        self._again(run)
        if session.get("threads"):
            run.notes.append("threads run after collection: candidates are imported anew")
        if self._wrote or any(extra.get("writes") for extra in self._extras.values()):
            run.notes.append("the tests write into the project: each candidate gets its own view")
        run.seconds = time.perf_counter() - began
        return run

    def _trace(
        self, run: SuiteRun, rest: list[str], bound: float, places: dict[str, Any], spectrum: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        """Run the tests `rest` with `bound` CPU seconds each, anew after each that hangs or ends its process."""
        while rest:
            options = self._options(rest, stop=False, want_failure=True)
            options.update(
                baseline=True, spectrum=spectrum, limits={}, limit=[bound, 3 * bound],
                cpu_total=bound * (len(rest) + 1), writes=False,
            )  # fmt: skip
            task = Task(None, {}, rest, options)
            before = len(run.results)

            def count(task: Task = task, before: int = before) -> None:
                if progress is not None:
                    progress(before + len(task.answer.results), len(places))

            for _ in self._dispatch.drive(iter([task]), 1, count):
                pass
            self._take_baseline(run, task, places)
            seen = {result.nodeid for result in task.answer.results}
            rest = [nodeid for nodeid in rest if nodeid not in seen]
            if task.answer.done is not None or not seen:
                break
            if run.results and run.results[-1].outcome is Outcome.TIMEOUT:
                # one hang is seldom alone: the next ones are cut sooner
                passed = [each.seconds for each in run.results if each.outcome is Outcome.PASSED]
                bound = min(bound, max(0.5, 20 * max(passed, default=0.0)))

    def _take_baseline(self, run: SuiteRun, task: Task, places: dict[str, Any]) -> None:
        answer = task.answer
        current = (answer.end or {}).get("current")
        if answer.broken or answer.end is None:
            raise RunnerError("the test worker failed: " + answer.broken.strip().split("\n")[-1])
        if current is not None and answer.done is None:
            outcome = Outcome.TIMEOUT if answer.end["timeout"] else Outcome.CRASHED
            answer.results.append(
                TestResult(current, outcome, answer.end["cpu"], message=answer.ending())
            )
            answer.extras.append({"cut": True, "lines": answer.partial})
        for result, extra in zip(answer.results, answer.extras, strict=True):
            path, line = places.get(result.nodeid, ("", None))
            run.results.append(dataclasses.replace(result, path=path, line=line))
            run.spectrum.lines[result.nodeid] = extra.pop("lines", {})
            run.spectrum.complete = run.spectrum.complete and not extra.get("cut")
            self._extras[result.nodeid] = extra
        run.failures += answer.failures
        if answer.done is not None:
            self._late = answer.done.get("late", [])
            seen = any(extra.get("writes") for extra in self._extras.values())
            hidden = any(extra.get("spawns") for extra in self._extras.values()) or not seen
            self._wrote = self._wrote or (answer.done.get("wrote", False) and hidden)

    def _again(self, run: SuiteRun) -> None:
        """Runs the failing tests a second time, untraced: their own time, and flaky ones."""
        ended = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)
        failing = [each.nodeid for each in run.results if each.outcome in ended][:REPEATED]
        if not failing:
            return
        for result in self._as_is(failing).results:
            if result.outcome is Outcome.PASSED:
                run.flaky.append(result.nodeid)
            elif result.nodeid in self._own:
                self._own[result.nodeid] = result
        if run.flaky:
            run.notes.append("failed, then passed with the same code: " + ", ".join(run.flaky))

    def _as_is(self, tests: Sequence[str], **more: Any) -> Answer:
        """Runs tests with the code as it is; what they compile is compiled once from then on."""
        options = self._options(tests, stop=False, want_failure=False)
        options.update(warm=True, **more)
        task = Task(None, {}, tests, options)
        for _ in self._dispatch.drive(iter([task]), self._dispatch.settings["jobs"]):
            pass
        return task.answer

    # ------------------------------------------------------------ candidates

    def validate(
        self,
        files: Files,
        tests: Sequence[str],
        *,
        stop_at_first: bool = True,
        want_failure: bool = False,
        limit_seconds: float | None = None,
    ) -> Verdict:
        """Runs `tests` in the given order with `files` (relative path -> new content) in place.

        A test id without "::" stands for all tests of that file (for suites that do not collect).
        `limit_seconds` replaces the CPU limit of each test. Raises RunnerError if the worker dies
        twice.
        """
        many = self.validate_many(
            [(0, files)], tests, stop_at_first=stop_at_first, want_failure=want_failure,
            limit_seconds=limit_seconds,
        )  # fmt: skip
        return next(iter(many))[1]

    def validate_many(
        self,
        candidates: Iterable[tuple[Key, Files]],
        tests: Sequence[str],
        jobs: int | None = None,
        *,
        stop_at_first: bool = True,
        want_failure: bool = False,
        limit_seconds: float | None = None,
    ) -> Iterator[tuple[Key, Verdict]]:
        """Judges candidates, `jobs` at once; yields (key, verdict) as they finish.

        Candidates are taken from the iterable only shortly before they run. Closing the iterator
        ends those that are running.
        """

        def tasks() -> Iterator[Task]:
            options = self._options(tests, stop_at_first, want_failure, limit_seconds)
            for count, (key, files) in enumerate(candidates):
                if count == _UNTIL_PROOF and not want_failure and self._prove(tests):
                    options = self._options(tests, stop_at_first, want_failure, limit_seconds)
                yield Task(key, files, tests, dict(options))

        for task in self._dispatch.drive(tasks(), jobs or self.jobs):
            yield task.key, task.verdict(self._own)

    def _prove(self, tests: Sequence[str]) -> bool:
        """Tries the direct path with the code as it is. True where `self._direct` has grown.

        It is taken for tests that end as they did in the baseline, with the same exception.
        """
        ended = (Outcome.PASSED, Outcome.FAILED)
        own = {test: self._own[test] for test in tests if test in self._own}
        fresh = [t for t in own if own[t].outcome in ended and t not in self._asked]
        if not fresh:
            return False
        self._asked.update(fresh)
        before = len(self._direct)
        answer = self._as_is(fresh, direct=fresh, proof=True)
        for result, extra in zip(answer.results, answer.extras, strict=True):
            was = own[result.nodeid]
            if extra.get("direct") == was.outcome and result.exception == was.exception:
                self._direct.add(result.nodeid)
        return len(self._direct) > before

    def _options(
        self, tests: Sequence[str], stop: bool, want_failure: bool, seconds: float | None = None
    ) -> dict[str, Any]:
        """The request as the worker reads it, but for the files."""
        limits = {test: self._limit(test, seconds) for test in tests if test in self._own}
        default = self._limit(None, seconds)
        total = sum(cpu for cpu, _ in limits.values()) + default[0] * (len(tests) + 1)
        extras = [self._extras.get(test, {}) for test in tests]
        return {
            "tests": list(tests), "stop": stop, "want_failure": want_failure, "limits": limits,
            "limit": default, "setup_wall": self.limits.setup_seconds, "baseline": False,
            "spectrum": False, "late": self._late,
            "writes": self._wrote or any(extra.get("writes") for extra in extras),
            "spawns": any(extra.get("spawns") for extra in extras),
            "reads": sorted({path for extra in extras for path in extra.get("reads", ())}),
            "cpu_total": total + self.limits.setup_seconds, "args": [], "plain": False,
            "shadow": "", "texts": False, "proof": False, "warm": False,
            "direct": [] if want_failure else [test for test in tests if test in self._direct],
        }  # fmt: skip

    def _limit(self, test: str | None, seconds: float | None) -> list[float]:
        """[CPU, wall] seconds for a test."""
        bounds, own = self.limits, self._own.get(test or "")
        if own is None or own.outcome in (Outcome.TIMEOUT, Outcome.CRASHED):
            # Its own time is not known: the slowest passing test is the best guess.
            passed = [each for each in self._own.values() if each.outcome is Outcome.PASSED]
            slow = max((each.seconds for each in passed), default=0.1)
            wait = max((each.wall for each in passed), default=0.1)
            cpu, wall = max(0.3, bounds.factor * slow), max(2.0, bounds.factor * wait)
        else:
            cpu = max(bounds.cpu_floor, bounds.factor * own.seconds)
            wall = max(bounds.wall_floor, bounds.factor * own.wall)
        if seconds is not None:
            wall = max(wall * seconds / cpu, bounds.wall_floor, 2 * seconds)
            cpu = seconds
        return [cpu, wall]

    # ------------------------------------------------------------ the last check

    def confirm(
        self,
        files: Files,
        tests: Sequence[str] | None = None,
        limit_seconds: float | None = None,
    ) -> SuiteRun:
        """The user's own command, as a plain pytest process of its own, with `files` in place.

        Runs in a private view of the project (a copy where the kernel has no private mounts), with
        all plugins and options as the user has them. Differences from the baseline in which tests
        were collected or skipped become notes. `tests` narrows the run; `limit_seconds` (wall)
        ends it, by default ten times what the baseline took.
        """
        began = time.perf_counter()
        self._dispatch.start()
        options = self._options([], stop=False, want_failure=False)
        spent = self._baseline.seconds if self._baseline is not None else 60.0
        wall = limit_seconds or max(self.limits.setup_seconds, self.limits.factor * spent)
        narrowed = None if tests is None else self._dispatch.narrow(tests, whole_files=False)
        options.update(
            plain=True, writes=True, setup_wall=wall, cpu_total=wall,
            args=self.pytest_args if narrowed is None else narrowed,
        )  # fmt: skip
        task = Task(None, files, [], options)
        for _ in self._dispatch.drive(iter([task]), self._dispatch.settings["jobs"]):
            pass
        answer = task.answer
        errors = [CollectionError(**error) for error in answer.errors]
        if answer.invalid is not None:
            errors.append(CollectionError("", *answer.invalid, line=None, missing_module=None))
        run = self._new_run(
            results=answer.results, failures=answer.failures, collection_errors=errors
        )
        run.seconds = time.perf_counter() - began
        run.cpu = (answer.end or {}).get("cpu", 0.0)
        if answer.done is None:
            run.exit_code = -1
            run.notes.append("pytest did not finish: " + (answer.broken or answer.ending()))
        else:
            run.exit_code = answer.done["code"]
            if tests is None and self._baseline is not None:
                _compare(self._baseline, run)
        return run


def _compare(baseline: SuiteRun, run: SuiteRun) -> None:
    """Notes in `run` the tests that are gone or newly skipped."""

    def skipped(suite: SuiteRun) -> set[str]:
        return {each.nodeid for each in suite.results if each.outcome is Outcome.SKIPPED}

    lost = {each.nodeid for each in baseline.results} - {each.nodeid for each in run.results}
    if lost:
        run.notes.append(f"{len(lost)} tests were not run by plain pytest: {_few(lost)}")
    new = skipped(run) - skipped(baseline)
    if new:
        run.notes.append(f"{len(new)} tests are newly skipped: {_few(new)}")


def _few(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
