"""Runs a pytest suite and judges candidates: the host of the test worker.

`Runner` starts one worker process under the user's interpreter (``tools/worker``), which collects
the suite once and then forks a confined child per candidate. Candidates never touch the user's
files: changed code is exchanged in memory, or mounted over the old file in the child's own view.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tools.link import SESSION, ZYGOTE, Link, WorkerDied
from tools.spectrum import Spectrum
from tools.verdicts import (
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
NOT_PASSED = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED, Outcome.TIMEOUT, Outcome.CRASHED)
# Beyond its limits the worker itself is taken for dead after this many seconds.
PATIENCE = 30.0


@dataclass(slots=True)
class _Task:
    """A candidate on its way."""

    key: Any
    files: Files
    tests: Sequence[str]
    options: dict[str, Any]
    began: float = field(default_factory=time.perf_counter)
    server: str = SESSION
    reason: str = ""
    results: list[TestResult] = field(default_factory=list)
    extras: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    invalid: list[str] | None = None
    missing: list[str] = field(default_factory=list)
    done: dict[str, Any] | None = None
    end: dict[str, Any] | None = None
    broken: str = ""
    inexact: bool = False
    attempts: int = 0


class Runner:
    """The suite of one project under one interpreter. A context manager.

    `root`: the project's folder, also the working directory of the tests. `python`: the user's
    interpreter. `pytest_args`: what the user would give to pytest. `writable`: more places that
    tests may write to. Raises RunnerError where the suite cannot be run at all.
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
        confine: bool = True,
    ) -> None:
        self.root = Path(root).resolve()
        # Not resolved: a virtual environment's python is a link that must stay one.
        self.python = os.path.abspath(shutil.which(python) or python)
        self.limits, self.jobs = limits or Limits(), jobs
        self.pytest_args = list(pytest_args)
        self.guards: list[str] = []
        self.landlock_abi = 0
        self._settings = {
            "root": str(self.root),
            "cwd": str(self.root),
            "args": self.pytest_args,
            "limits": {
                name: getattr(self.limits, name)
                for name in ("memory_bytes", "file_bytes", "disk_bytes", "processes", "open_files")
            },
            "writable": [str(Path(path).resolve()) for path in writable],
            "network": allow_network,
            "confine": confine,
            "jobs": jobs,
        }
        self._settings["limits"]["user_processes"] = 4096
        self._numbers = itertools.count(1)
        self._link: Link | None = None
        self._hello: dict[str, Any] = {}
        self._session: dict[str, Any] | None = None
        self._baseline: SuiteRun | None = None
        self._own: dict[str, TestResult] = {}
        self._extras: dict[str, dict[str, Any]] = {}
        self._late: list[str] = []
        self._writes = False
        self._restarted = False
        self._ids: set[str] = set()

    # ------------------------------------------------------------ life

    def __enter__(self) -> Runner:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker and everything it started."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _start(self) -> Link:
        if self._link is not None:
            return self._link
        link = Link(self.python, self._settings)
        try:
            self._hello = self._await(link, ZYGOTE, 30.0, "starting the test worker")
            if self._hello.get("error") == "no-pytest":
                raise RunnerError(
                    f"pytest cannot be imported by {self.python}: {self._hello['message']}",
                    f"{self.python} -m pip install pytest",
                )
            self.guards, self.landlock_abi = self._hello["guards"], self._hello["landlock"]
            session = self._await(link, SESSION, self.limits.setup_seconds, "collecting the tests")
        except BaseException:
            link.close()
            raise
        if "error" in session:
            tail = session.get("message", "")
            link.close()
            raise RunnerError("the test worker failed while collecting: " + tail, "see --debug")
        self._session, self._link = session, link
        self._ids = {item[0] for item in session["items"] or []}
        return link

    def _await(self, link: Link, server: str, seconds: float, doing: str) -> dict[str, Any]:
        """The first frame of `server`."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                for source, _, kind, data in link.receive(left):
                    if source == server and kind in (b"H", b"X"):
                        return data
                    if kind == b"Z":
                        raise WorkerDied("the session ended")
        except WorkerDied as death:
            tail = link.log_tail().splitlines()
            last = tail[-1] if tail else str(death)
            raise RunnerError(
                f"the test process ended while {doing}: {last}",
                "does `python -m pytest --collect-only` work in this project?",
            ) from death
        raise RunnerError(
            f"the test process did not finish {doing} within {seconds:.0f} s",
            "does something wait or loop when the tests are imported?",
        )

    # ------------------------------------------------------------ baseline

    def baseline(
        self, progress: Callable[[int, int], None] | None = None, spectrum: bool = True
    ) -> SuiteRun:
        """Runs the whole suite once as it is; times and spectrum of it steer `validate`.

        `progress(done, total)` is called after each test. Tests that hang or end their process get
        that as their outcome, and the others still run.
        """
        began = time.perf_counter()
        self._start()
        session = self._session or {}
        items: list[list[Any]] = session["items"] or []
        run = SuiteRun(
            results=[], failures=[], seconds=0.0, spectrum=Spectrum(),
            collection_errors=[CollectionError(**error) for error in session["errors"]],
            notes=list(session["notes"]), rootdir=session["rootdir"],
            configfile=session["configfile"], pytest_version=self._hello["pytest"],
            python_version=self._hello["python"],
        )  # fmt: skip
        places = {nodeid: (path, line) for nodeid, path, line in items}
        rest = list(places)
        bound = self.limits.baseline_seconds
        while rest:
            options = self._options(rest, stop=False, want_failure=True)
            options.update(
                baseline=True, spectrum=spectrum, limits={}, limit=[bound, 3 * bound],
                cpu_total=bound * (len(rest) + 1), late=[], writes=False,
            )  # fmt: skip
            task = _Task(None, {}, rest, options)

            def count(task: _Task = task) -> None:
                if progress is not None:
                    progress(len(run.results) + len(task.results), len(places))

            for _ in self._drive(iter([task]), 1, count):
                pass
            self._take_baseline(run, task, places)
            seen = {result.nodeid for result in task.results}
            rest = [nodeid for nodeid in rest if nodeid not in seen]
            if task.done is not None or not seen:
                break
        run.spectrum.failed = set(run.failing)
        self._own = {result.nodeid: result for result in run.results}
        self._baseline = run
        self._again(run)
        if session.get("threads"):
            run.notes.append("threads run after collection: candidates are imported anew")
        if self._writes:
            run.notes.append("the tests write into the project: each candidate gets its own view")
        run.seconds = time.perf_counter() - began
        return run

    def _take_baseline(self, run: SuiteRun, task: _Task, places: dict[str, Any]) -> None:
        end = task.end or {}
        current = end.get("current")
        if current is not None and task.done is None:
            outcome = Outcome.TIMEOUT if end["timeout"] else Outcome.CRASHED
            message = _ending(end)
            task.results.append(TestResult(current, outcome, end["cpu"], message=message))
            task.extras.append({"cut": True})
        for result, extra in zip(task.results, task.extras, strict=True):
            path, line = places.get(result.nodeid, ("", None))
            run.results.append(_replace(result, path=path, line=line))
            run.spectrum.lines[result.nodeid] = extra.pop("lines", {})
            if extra.get("cut"):
                run.spectrum.complete = False
            if extra.get("writes"):
                self._writes = True
            self._extras[result.nodeid] = extra
        run.failures += task.failures
        if task.done is not None:
            self._late = task.done.get("late", [])
            self._writes = self._writes or task.done.get("wrote", False)
        if task.broken:
            raise RunnerError("the test worker failed: " + task.broken.strip().splitlines()[-1])

    def _again(self, run: SuiteRun) -> None:
        """Runs the failing tests a second time, untraced: their own time, and flaky ones."""
        failing = [
            result.nodeid
            for result in run.results
            if result.outcome in (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED)
        ][:50]
        if not failing:
            return
        for _, verdict in self.validate_many([(0, {})], failing, stop_at_first=False):
            for result in verdict.results:
                if result.outcome is Outcome.PASSED:
                    run.flaky.append(result.nodeid)
                elif result.nodeid in self._own:
                    self._own[result.nodeid] = result
        if run.flaky:
            run.notes.append("failed, then passed with the same code: " + ", ".join(run.flaky))

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

        Candidates are taken from the iterable only shortly before they run.
        """
        options = self._options(tests, stop_at_first, want_failure, limit_seconds)
        tasks = (
            _Task(key, files, tests, dict(options, late=self._late)) for key, files in candidates
        )
        for task in self._drive(tasks, jobs or self.jobs):
            yield task.key, self._verdict(task)

    def _options(
        self,
        tests: Sequence[str],
        stop: bool,
        want_failure: bool,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        limits = {test: self._limit(test, seconds) for test in tests if test in self._own}
        default = self._limit(None, seconds)
        total = sum(cpu for cpu, _ in limits.values()) + default[0] * (len(tests) + 1)
        reads: set[str] = set()
        spawns = False
        for test in tests:
            extra = self._extras.get(test, {})
            reads.update(extra.get("reads", ()))
            spawns = spawns or extra.get("spawns", False)
        return {
            "tests": list(tests), "stop": stop, "want_failure": want_failure, "limits": limits,
            "limit": default, "setup_wall": self.limits.setup_seconds, "baseline": False,
            "spectrum": False, "writes": self._writes, "spawns": spawns, "reads": sorted(reads),
            "cpu_total": total + self.limits.setup_seconds, "args": [], "plain": False,
        }  # fmt: skip

    def _limit(self, test: str | None, seconds: float | None) -> list[float]:
        """[CPU, wall] seconds for a test."""
        bounds, own = self.limits, self._own.get(test or "")
        if own is None or own.outcome in (Outcome.TIMEOUT, Outcome.CRASHED):
            # Its own time is not known: the slowest passing test is the best guess.
            passed = [each for each in self._own.values() if each.outcome is Outcome.PASSED]
            slow = max((each.seconds for each in passed), default=0.1)
            wait = max((each.wall for each in passed), default=0.1)
            cpu, wall = max(1.0, bounds.factor * slow), max(3.0, bounds.factor * wait)
        else:
            cpu = max(bounds.cpu_floor, bounds.factor * own.seconds)
            wall = max(bounds.wall_floor, bounds.factor * own.wall)
        if seconds is not None:
            wall = max(wall * seconds / cpu, bounds.wall_floor, 2 * seconds)
            cpu = seconds
        return [cpu, wall]

    def _place(self, task: _Task) -> str:
        """Which server judges a candidate."""
        session = self._session or {}
        options = task.options
        if options["plain"] or session.get("items") is None or session.get("errors"):
            return ZYGOTE
        if options["baseline"]:
            return SESSION
        if any(test not in self._ids for test in task.tests):
            task.reason = "not collected before"
        elif session.get("threads"):
            task.reason = "threads run after collection"
        elif task.files and options["spawns"]:
            task.reason = "the tests start programs"
        elif set(task.files) & set(options["reads"]):
            task.reason = "the tests read the source file"
        else:
            return SESSION
        return ZYGOTE

    def _zygote_args(self, tests: Sequence[str]) -> list[str]:
        """pytest arguments that collect no more than the files of `tests`."""
        session = self._session or {}
        positional, rootdir = session.get("positional"), session.get("rootdir")
        if positional is None or not rootdir:
            return self.pytest_args
        rest = list(positional)
        kept = []
        for argument in self.pytest_args:
            if argument in rest:
                rest.remove(argument)
            else:
                kept.append(argument)
        paths = dict.fromkeys(os.path.join(rootdir, test.split("::")[0]) for test in tests)
        extra = ["--rootdir", rootdir]
        if session.get("configfile"):
            extra += ["-c", session["configfile"]]
        return kept + extra + list(paths)

    def _drive(
        self, tasks: Iterator[_Task], jobs: int, tick: Callable[[], None] | None = None
    ) -> Iterator[_Task]:
        """Sends tasks, keeps `jobs` running and a few waiting, yields them when finished."""
        running: dict[int, _Task] = {}
        again: deque[_Task] = deque()
        exhausted = False
        link = self._start()
        if jobs != self._settings["jobs"]:
            self._settings["jobs"] = jobs
            for server in (ZYGOTE, SESSION):
                link.send(server, 0, b"J", jobs)
        heard = time.monotonic()
        try:
            while True:
                try:
                    while not exhausted and len(running) < jobs + 2 or again:
                        task = again.popleft() if again else next(tasks, None)
                        if task is None:
                            exhausted = True
                            break
                        if not task.attempts:
                            task.server = self._place(task)
                        running[self._send(link, task)] = task
                        heard = time.monotonic()
                    if not running:
                        return
                    frames = link.receive(1.0)
                except WorkerDied as death:
                    again.extend(running.values())
                    running.clear()
                    link = self._restart(death, again)
                    continue
                for server, number, kind, data in frames:
                    heard = time.monotonic()
                    if kind == b"Z":
                        again.extend(running.values())
                        running.clear()
                        link = self._restart(WorkerDied("the session ended"), again)
                        break
                    task = running.get(number)
                    if task is None:
                        continue
                    self._take(task, kind, data)
                    if kind == b"R" and tick is not None:
                        tick()
                    if kind == b"E":
                        del running[number]
                        if task.inexact and task.server == SESSION:
                            task.server, task.attempts = ZYGOTE, task.attempts + 1
                            task.inexact, task.end = False, None
                            again.append(task)
                        else:
                            yield task
                if time.monotonic() - heard > self._patience(running.values()):
                    again.extend(running.values())
                    running.clear()
                    link = self._restart(WorkerDied("the worker does not answer"), again)
                    heard = time.monotonic()
        finally:
            if running and self._link is link:
                for number, task in running.items():
                    try:
                        link.send(task.server, number, b"K", None)
                    except WorkerDied:
                        break

    @staticmethod
    def _patience(tasks: Iterable[_Task]) -> float:
        longest = 0.0
        for task in tasks:
            walls = [wall for _, wall in task.options["limits"].values()]
            walls += [task.options["limit"][1], task.options["setup_wall"]]
            longest = max(longest, *walls)
        return longest + PATIENCE

    def _send(self, link: Link, task: _Task) -> int:
        number = next(self._numbers)
        request = dict(
            task.options,
            files={path: data.decode("latin-1") for path, data in task.files.items()},
        )
        if task.server == ZYGOTE and not task.options["plain"]:
            request["args"] = self._zygote_args(task.tests)
        link.send(task.server, number, b"Q", request)
        return number

    def _restart(self, death: WorkerDied, waiting: deque[_Task]) -> Link:
        """A new worker for the tasks in `waiting`; the second death is the end."""
        tail = self._link.log_tail(500) if self._link else ""
        self.close()
        if self._restarted:
            raise RunnerError(
                f"the test worker died twice ({death}). {tail}".strip(),
                "run the suite by hand: does something kill other processes or fill the memory?",
            ) from death
        self._restarted = True
        for task in waiting:
            task.results, task.extras, task.failures, task.errors = [], [], [], []
            task.done = task.end = task.invalid = None
            task.missing = []
        return self._start()

    @staticmethod
    def _take(task: _Task, kind: bytes, data: Any) -> None:
        if kind == b"R":
            nodeid, outcome, cpu, wall, exception, message, extra = data
            found = Outcome(outcome)
            if extra.get("blocked") and found in (Outcome.FAILED, Outcome.ERROR):
                found = Outcome.BLOCKED
            task.results.append(
                TestResult(nodeid, found, cpu, wall, exception=exception, message=message)
            )
            task.extras.append(extra)
        elif kind == b"F":
            frames = [Frame(**frame) for frame in data.pop("frames")]
            task.failures.append(Failure(frames=frames, **data))
        elif kind == b"N":
            task.reason, task.inexact = data, True
        elif kind == b"I":
            task.invalid = data
        elif kind == b"C":
            task.missing = data[0]
        elif kind == b"L":
            task.errors += data
        elif kind == b"D":
            task.done = data
        elif kind == b"X":
            task.broken = data
        elif kind == b"E":
            task.end = data

    def _verdict(self, task: _Task) -> Verdict:
        method = "swap" if task.server == SESSION else "overlay"
        end = task.end or {}
        verdict = Verdict(
            Outcome.PASSED, results=task.results, seconds=end.get("cpu", 0.0), method=method,
            wall=time.perf_counter() - task.began, reason=task.reason,
            failure=task.failures[0] if task.failures else None,
        )  # fmt: skip
        if task.invalid is not None:
            verdict.outcome = Outcome.INVALID
            verdict.exception, verdict.message = task.invalid
            return verdict
        for result in task.results:
            if result.outcome in NOT_PASSED:
                verdict.outcome, verdict.failing_test = result.outcome, result.nodeid
                verdict.exception, verdict.message = result.exception, result.message
                return verdict
        if task.done is None:
            verdict.outcome = Outcome.TIMEOUT if end.get("timeout") else Outcome.CRASHED
            verdict.failing_test = end.get("current")
            verdict.message = task.broken or _ending(end)
        elif task.errors or task.missing:
            verdict.outcome = Outcome.ERROR
            verdict.failing_test = task.missing[0] if task.missing else None
            if task.errors:
                verdict.exception = task.errors[0]["exception"]
                verdict.message = task.errors[0]["message"]
            else:
                verdict.message = "not collected"
        elif not task.results:
            verdict.outcome, verdict.message = Outcome.ERROR, "nothing was run"
        else:
            for result in task.results:
                before = self._own.get(result.nodeid)
                ran_before = before is None or before.outcome is not Outcome.SKIPPED
                if result.outcome is Outcome.SKIPPED and ran_before:
                    verdict.outcome, verdict.failing_test = Outcome.SKIPPED, result.nodeid
                    break
        return verdict


def _replace(result: TestResult, **changes: Any) -> TestResult:
    import dataclasses

    return dataclasses.replace(result, **changes)


def _ending(end: Mapping[str, Any]) -> str:
    if end.get("timeout"):
        return "took too long and was cut"
    if end.get("signal"):
        return f"the process was ended by signal {end['signal']}"
    return f"the process ended by itself with code {end.get('exit')}"
