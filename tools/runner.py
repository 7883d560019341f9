"""Runs a pytest suite and judges candidates: the host of the test worker.

`Runner` starts one worker process under the user's interpreter (``tools/worker``), which collects
the suite once and then forks a confined child per candidate. Candidates never touch the user's
files: changed code is exchanged in memory, or mounted over the old file in the child's own view.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tools.baseline import Baseline, ends, prove
from tools.dispatch import Dispatcher
from tools.records import Records
from tools.remembered import Earlier, Memory
from tools.spectrum import Spectrum
from tools.tasks import Task
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
UNTIL_PROOF = 3  # candidates judged through pytest's protocol before the direct path is tried
BEHAVIOUR = 5.0  # CPU seconds of a test whose calls are copied
HELD = 30  # candidates cut in one test before it is settled whether that is just slow
SLOW = 6.0  # times the time of a test of the baseline, for one in which what repairs others is cut
LONGER_AT_ONCE = 1.5  # CPU seconds for candidates that were cut in a failing test and get more time
LONGER_SHARE = 0.2  # more of these, as a share of the time that all candidates take


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
            self.root, self.python, self.pytest_args, settings, self.limits.collect_seconds
        )
        self._baseline: SuiteRun | None = None
        self._records = Records(self.limits)
        self._judging_since = self._longer_seconds = 0.0
        self._in_vain = 0  # candidates in a row that more time did not help
        self.key = ""  # stands for all that the baseline depends on, once it ran with a memory

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

    @property
    def collection_errors(self) -> list[CollectionError]:
        """What pytest could not collect."""
        return [CollectionError(**error) for error in self._dispatch.session["errors"]]

    @property
    def collected(self) -> list[str]:
        """Ids of the tests in collection order."""
        return [nodeid for nodeid, _, _ in self._dispatch.session["items"] or []]

    def _new_run(self, **fields: Any) -> SuiteRun:
        hello, session = self._dispatch.hello, self._dispatch.session
        return SuiteRun(
            **fields, spectrum=Spectrum(), seconds=0.0, rootdir=session.get("rootdir", ""),
            configfile=session.get("configfile"), pytest_version=hello["pytest"],
            python_version=hello["python"],
        )  # fmt: skip

    # ------------------------------------------------------------ baseline

    def baseline(
        self, progress: Callable[[int, int], None] | None = None, spectrum: bool = True, seconds: float = math.inf,
        memory: Memory | None = None,
    ) -> SuiteRun:  # fmt: skip
        """Runs the whole suite once as it is; times and spectrum of it steer `validate`.

        `progress(done, total)` is called after each test. Tests that hang or end their process get
        that as their outcome, and the others still run; slow ones that were cut are not told from them after `seconds`.
        memory: of earlier runs; one of the very same code is taken over if its failing tests fail again as they did.
        """
        began = time.perf_counter()
        earlier = None if memory is None else Earlier(memory, self._dispatch, self.limits)
        self._dispatch.start()
        if earlier is not None and (found := earlier.find()):
            self.key, (self._baseline, self._records) = earlier.key, found
            return self._baseline
        session = self._dispatch.session
        run = self._new_run(
            results=[], failures=[], collection_errors=self.collection_errors, notes=list(session["notes"])
        )  # fmt: skip
        Baseline(self._dispatch, self._records, run, spectrum, seconds).run(progress)
        self._baseline = run
        if session.get("threads"):
            run.notes.append("threads run after collection: candidates are imported anew")
        if self._records.writes:
            run.notes.append("the tests write into the project: each candidate gets its own view")
        run.seconds = time.perf_counter() - began
        if earlier is not None:
            self.key = earlier.keep(run, self._records)
        return run

    def traced(
        self,
        candidates: Iterable[tuple[Key, Files, Sequence[str]]],
        seconds: float,
        jobs: int | None = None,
    ) -> Iterator[tuple[Key, SuiteRun | None]]:
        """Runs the tests of each (key, files, tests) with the files in place and their lines traced.

        What comes out is what `baseline` would tell of these tests, but each has `seconds` of CPU, and none is run
        after one that hangs or ends its process. None where the code cannot be exchanged in the collected suite.
        """

        def tasks() -> Iterator[Task]:
            for key, files, tests in candidates:
                options = self._records.options(tests, stop=False, want_failure=True)
                options.update(
                    spectrum=True, limits={}, limit=[seconds, 3 * seconds], cpu_total=seconds * (len(tests) + 1)
                )  # fmt: skip
                yield Task(key, files, tests, options, exact=True)

        for task in self._dispatch.drive(tasks(), jobs or self.jobs):
            answer = task.answer
            answer.close()
            if answer.inexact or answer.invalid is not None or not answer.results:
                yield task.key, None
                continue
            run = self._new_run(
                results=answer.results, failures=answer.failures, collection_errors=[]
            )
            for result, extra in zip(answer.results, answer.extras, strict=True):
                run.spectrum.lines[result.nodeid] = extra.get("lines", {})
            run.spectrum.failed = set(run.failing)
            run.cpu = (answer.end or {}).get("cpu", 0.0)
            yield task.key, run

    def plain_tests(self) -> list[str]:
        """Tests of the baseline that pass without starting programs, reading sources or writing into the project."""
        records = self._records
        odd = ("spawns", "reads", "writes")
        return [
            test
            for test, result in records.own.items()
            if result.outcome is Outcome.PASSED
            and not any(records.extras.get(test, {}).get(what) for what in odd)
        ]

    # ------------------------------------------------------------ candidates

    def failing(self, tests: Iterable[str]) -> list[str]:
        """Those of `tests` that do not pass with the code as it is: one that was cut may have proved to be slow since."""
        own = self._records.own
        return [
            test for test in tests if test not in own or own[test].outcome is not Outcome.PASSED
        ]

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
        in_time: Callable[[], bool] = lambda: True,
        exact: Callable[[Key], bool] = lambda key: False,
    ) -> Iterator[tuple[Key, Verdict]]:
        """Judges candidates, `jobs` at once; yields (key, verdict) as they finish.

        Candidates are taken from the iterable only shortly before they run. Closing the iterator
        ends those that are running, and so does `in_time` when it says no: nothing is said of them.

        A candidate whose code cannot be exchanged in the collected suite has the project imported anew, which takes some fifty
        times as long. Where `exact` says yes to its key it is postponed (Outcome.POSTPONED), unless it repairs the first test
        when it is exchanged all the same. The results of a postponed one are those of this guess, if there was one.
        """

        records, held = self._records, []
        self._judging_since = self._judging_since or time.monotonic()

        def options() -> dict[str, Any]:
            return records.options(tests, stop_at_first, want_failure, limit_seconds)

        def tasks() -> Iterator[Task]:
            request, changes = options(), records.changes
            for count, (key, files) in enumerate(candidates):
                if count == UNTIL_PROOF and not want_failure:
                    prove(self._dispatch, records, tests)
                if changes != records.changes:
                    request, changes = options(), records.changes
                doubted = records.open if limit_seconds is None else ()
                alike = exact(key)
                yield Task(
                    key,
                    files,
                    tests,
                    dict(request),
                    exact=alike,
                    guess=alike,
                    doubted=frozenset(doubted),
                )

        for task in self._dispatch.drive(tasks(), jobs or self.jobs, in_time=in_time):
            verdict = task.verdict(records.own)
            if verdict.outcome is Outcome.TIMEOUT and verdict.failing_test in task.doubted:
                held.append(task)
                known = verdict.failing_test not in records.open
                enough = known or len(held) >= HELD or records.repairs(verdict.results)
                if enough and in_time():
                    yield from self._settle(held, options)
                    held = []
            elif limit_seconds is None and self._deserves_longer(verdict) and in_time():
                yield task.key, self._longer(task, stop_at_first, want_failure, in_time) or verdict
            else:
                yield task.key, verdict
        if held and in_time():
            yield from self._settle(held, options)
        else:
            yield from ((task.key, task.verdict(records.own)) for task in held)

    def _deserves_longer(self, verdict: Verdict) -> bool:
        """Whether a candidate that was cut is to be given more time.

        How long a test takes that fails early says little of how long it takes once the code is right. But most that is cut
        hangs: the time for this is limited, the more so the oftener it was in vain.
        """
        test = self._records.own.get(verdict.failing_test or "")
        if verdict.outcome is not Outcome.TIMEOUT or test is None:
            return False
        if test.outcome not in (Outcome.FAILED, Outcome.ERROR):
            return False
        elapsed = time.monotonic() - self._judging_since
        return self._longer_seconds < LONGER_AT_ONCE + LONGER_SHARE * elapsed / (1 + self._in_vain)

    def _longer(
        self, task: Task, stop: bool, want_failure: bool, in_time: Callable[[], bool]
    ) -> Verdict | None:
        """The verdict on a candidate with more time; what is learned of the test serves those that follow. None: out of time."""
        records = self._records
        seconds = records.enough()
        options = records.options(task.tests, stop, want_failure, seconds)
        again = Task(task.key, task.files, task.tests, options)
        jobs = self._dispatch.settings["jobs"]
        done = next(self._dispatch.drive(iter([again]), jobs, in_time=in_time), None)
        if done is None:
            return None
        verdict = done.verdict(records.own)
        cut = verdict.outcome is Outcome.TIMEOUT
        self._in_vain = self._in_vain + 1 if cut else 0
        records.took(result for result in done.answer.results if result.outcome is Outcome.PASSED)
        took = sum(result.seconds for result in done.answer.results)
        self._longer_seconds += seconds if cut else took
        return verdict

    def _settle(
        self, held: Sequence[Task], options: Callable[[], dict[str, Any]]
    ) -> Iterator[tuple[Any, Verdict]]:
        """Verdicts on candidates that were cut in a test which may only be slow.

        Unless it was before, the test is now given all its time with the code as it is, and more where a candidate
        repairs another test. Where it ends in that, the candidates are judged anew.
        """
        records, seconds = self._records, self.limits.baseline_seconds
        verdicts = [(task, task.verdict(records.own)) for task in held]
        if any(records.repairs(verdict.results) for _, verdict in verdicts):
            seconds *= SLOW
        for test in sorted({str(verdict.failing_test) for _, verdict in verdicts} & records.open):
            records.open.discard(test)
            result = ends(self._dispatch, records, test, seconds)
            if result is not None:
                records.know([result])
        unjust = []
        for task, verdict in verdicts:
            if records.own[str(verdict.failing_test)].outcome is Outcome.TIMEOUT:
                yield task.key, verdict
            else:
                unjust.append(task)
        doubted = frozenset(records.open)
        again = (Task(t.key, t.files, t.tests, options(), doubted=doubted) for t in unjust)
        for task in self._dispatch.drive(again, self._dispatch.settings["jobs"]):
            yield task.key, task.verdict(records.own)

    def behaviour(
        self, candidates: Iterable[tuple[Key, Files]], tests: Sequence[str]
    ) -> Iterator[tuple[Key, dict[str, str] | None]]:
        """What candidates do with other arguments than the tests give them: yields (key, {input: outcome}).

        Inputs and outcomes are short texts, alike where they are the same for two candidates: "v..." a value, "rX" the
        code raised X, "eX" an operation in it failed with X, "h" it did not end. See tools/worker/behave.py. None where the
        code cannot be exchanged in the collected suite, or its process ended.
        """

        def tasks() -> Iterator[Task]:
            for key, files in candidates:
                options = self._records.options(tests, stop=True, want_failure=True)
                # every call is looked at, which makes it slow
                options.update(behave=True, limits={}, limit=[BEHAVIOUR, 3 * BEHAVIOUR],
                               cpu_total=BEHAVIOUR * (len(tests) + 2))  # fmt: skip
                yield Task(key, files, tests, options, exact=True)

        for task in self._dispatch.drive(tasks(), self.jobs):
            yield task.key, task.answer.behaviour

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
        options = self._records.options([], stop=False, want_failure=False)
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
