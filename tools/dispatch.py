"""Keeps the test worker busy: places tasks, follows them, survives the worker's death."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.link import SESSION, ZYGOTE, Link, WorkerDied
from tools.shadow import copy_project, moved
from tools.signals import undisturbed
from tools.tasks import Answer, Task
from tools.verdicts import Outcome, RunnerError

# Beyond a task's own limits the worker is taken for dead after this many seconds of silence.
PATIENCE = 30.0
START_SECONDS = 60.0
CHAIN = 16  # candidates that one process of the worker may run where nothing is left behind
INTERNAL_ERROR, MARK = (
    3,
    "INTERNALERROR> ",
)  # pytest's exit code and words where a plugin or pytest itself fails
SERVER = {"swap": SESSION, "overlay": ZYGOTE, "process": ZYGOTE}


@dataclass(slots=True)
class _Drive:
    """One caller's tasks: those finished, those to send once more."""

    finished: deque[Task] = field(default_factory=deque)
    again: deque[Task] = field(default_factory=deque)
    running: int = 0
    tick: Callable[[], None] | None = None


class Dispatcher:
    """A worker and the tasks in it. `hello` and `session` are what its servers said at the start."""

    def __init__(self, root: Path, python: str, args: Sequence[str], settings: dict[str, Any],
                 collect_seconds: float) -> None:  # fmt: skip
        self.root, self.python, self.args = root, python, list(args)
        self.settings, self.collect_seconds = {**settings, "chain": CHAIN}, collect_seconds
        self.hello: dict[str, Any] = {}
        self.session: dict[str, Any] = {}
        self.order: dict[str, int] = {}  # test id -> its place in the suite
        self._link: Link | None = None
        self._owning, self._closed = (
            threading.Lock(),
            False,
        )  # whoever starts or ends it; no more starts
        self._numbers = itertools.count(1)
        self._running: dict[int, tuple[Task, _Drive]] = {}
        self._restarted = False
        self._heard = 0.0
        self._chain = 1  # candidates that a process of the worker runs now

    # ------------------------------------------------------------ life

    def start(self) -> Link:
        """The running worker, started if need be. Raises RunnerError."""
        if self._link is not None:
            return self._link
        with undisturbed(), self._owning:  # what is started is known, so that it can be ended
            if self._closed:
                raise RunnerError("the test worker was ended meanwhile", "start a new run")
            self._link = link = Link(self.python, self.settings)
        greetings: dict[str, dict[str, Any]] = {}
        try:
            self.hello = self._await(link, greetings, ZYGOTE, START_SECONDS, "starting")
            if self.hello.get("error") == "no-pytest":
                raise RunnerError(
                    f"pytest cannot be imported by {self.python}: {self.hello['message']}",
                    f"{self.python} -m pip install pytest",
                )
            self.session = self._await(
                link, greetings, SESSION, self.collect_seconds, "collecting the tests"
            )
            if "error" in self.session:
                last = self.session["message"].strip().splitlines()[-1]
                raise RunnerError(
                    f"pytest failed while collecting: {last}",
                    "does `python -m pytest --collect-only` work in this project?",
                )
            if self.session["code"] == INTERNAL_ERROR and not self.session["errors"]:
                lines = link.log_tail().splitlines()
                said = (
                    [line for line in lines if line.startswith(MARK)]
                    or lines
                    or ["no reason given"]
                )
                raise RunnerError(
                    f"pytest breaks down before it has collected: {said[-1].removeprefix(MARK)}",
                    "a plugin or a setting is at fault; does `python -m pytest --collect-only` work?",
                )
        except BaseException:
            self._end()
            raise
        self.order = {item[0]: n for n, item in enumerate(self.session["items"] or [])}
        return link

    def _await(self, link: Link, greetings: dict[str, dict[str, Any]], server: str, seconds: float,
               doing: str) -> dict[str, Any]:  # fmt: skip
        """The first frame of `server`, kept in `greetings`: one read may bring those of both servers."""
        end = time.monotonic() + seconds
        try:
            while server not in greetings and (left := end - time.monotonic()) > 0:
                if server == SESSION and not link.session_open:
                    raise WorkerDied("the session ended")
                for source, _, kind, data in link.receive(left):
                    if kind in (b"H", b"X"):
                        greetings[source] = data
        except WorkerDied as death:
            tail = link.log_tail().splitlines()
            raise RunnerError(
                f"the test process ended while {doing}: {tail[-1] if tail else death}",
                "does `python -m pytest --collect-only` work in this project?",
            ) from death
        if server in greetings:
            return greetings[server]
        raise RunnerError(
            f"the test process did not finish {doing} within {seconds:.0f} s",
            "does something wait or loop when the tests are imported?",
        )

    def close(self) -> None:
        """Ends the worker and everything it started, for good; another thread may be waiting for it."""
        with undisturbed():
            self._closed = True
            self._end()

    def _end(self) -> None:
        with undisturbed(), self._owning:
            if self._link is not None:
                self._link.close()
                self._link = None

    def _revive(self, death: WorkerDied) -> None:
        """A new worker; running tasks are sent again. The second death is the end."""
        tail = self._link.log_tail(500) if self._link else ""
        self._end()
        for task, drive in self._running.values():
            task.answer = Answer()
            task.deaths += 1
            drive.again.append(task)
            drive.running -= 1
        self._running.clear()
        if self._restarted:
            raise RunnerError(
                f"the test worker died twice ({death}). {tail}".strip(),
                "run the suite by hand: does something kill other processes or fill the memory?",
            ) from death
        self._restarted = True
        self.start()

    # ------------------------------------------------------------ placing

    def _place(self, task: Task) -> None:
        """Decides where a task runs first."""
        session, options = self.session, task.options
        task.placed = True
        if options["plain"]:
            task.method = "process"
            return
        if options["baseline"]:
            return
        if session.get("items") is None or session.get("errors"):
            task.reason = "the suite did not collect"
        elif any(test not in self.order for test in task.tests):
            task.reason = "not collected before"
        elif session.get("threads"):
            task.reason = "threads run after collection"
        elif task.files and options["spawns"]:
            task.reason = "the tests start programs"
        elif set(task.files) & set(options["reads"]):
            task.reason = "the tests read the source file"
        else:
            return
        task.method = "overlay"

    def narrow(self, tests: Sequence[str], whole_files: bool) -> list[str]:
        """pytest arguments that collect no more than `tests`, or the files of `tests`."""
        positional, rootdir = self.session.get("positional"), self.session.get("rootdir")
        if positional is None or not rootdir:
            return self.args
        rest, kept = list(positional), []
        for argument in self.args:
            if argument in rest:
                rest.remove(argument)
            else:
                kept.append(argument)
        kept += ["--rootdir", rootdir]
        if self.session.get("configfile"):
            kept += ["-c", self.session["configfile"]]
        # In the order of the suite: what is imported first may decide which of two packages of one name is found.
        tests = sorted(tests, key=lambda test: self.order.get(test, -1))
        names = [test.split("::")[0] if whole_files else test for test in tests]
        return kept + list(dict.fromkeys(os.path.join(rootdir, name) for name in names))

    def _guess(self, task: Task) -> bool:
        """Has a task run with code exchanged that ran during import and, if that repairs a test, with the project imported anew.

        What the first run shows is no verdict: values made by the old code may still be there.
        """
        if not task.options["guess"]:
            task.reason, task.answer = task.answer.inexact, Answer()
            task.options["guess"] = True
            return True
        first = next(iter(task.answer.results), None)
        if task.answer.inexact or first is None or first.outcome is not Outcome.PASSED:
            return False
        task.options["guess"], task.exact = False, False
        task.method, task.answer = "overlay", Answer()
        return True

    def _elsewhere(self, task: Task) -> bool:
        """Has a task judged again that was not judged exactly; False where that was not so.

        What the direct path doubts goes through pytest's protocol, in the same server; what a server
        cannot judge goes to the next one.
        """
        inexact, options = task.answer.inexact, task.options
        if task.answer.doubtful and not options["texts"]:
            options["texts"], options["direct"], task.answer = True, [], Answer()
            return True
        if task.guess and task.exact and (inexact or options["guess"]):
            return self._guess(task)
        if not inexact or task.exact or options["shadow"]:
            return False
        task.reason, task.answer = task.reason or inexact, Answer()
        if task.method == "swap":
            task.method = "overlay"
            return True
        if task.method == "overlay":
            # All tests start anew in one process: one limit for the whole.
            options["setup_wall"] += sum(wall for _, wall in options["limits"].values())
            options["args"] = self.narrow(task.tests, whole_files=False)
            options["plain"], task.method = True, "process"
            return True
        assert self._link is not None
        folder = Path(tempfile.mkdtemp(prefix="copy-", dir=self._link.scratch)) / self.root.name
        copy_project(self.root, folder, task.files)
        options["shadow"] = str(folder)
        options["args"] = [moved(argument, self.root, folder) for argument in options["args"]]
        return True

    # ------------------------------------------------------------ running

    def drive(
        self, tasks: Iterator[Task], jobs: int, tick: Callable[[], None] | None = None,
        in_time: Callable[[], bool] = lambda: True,
    ) -> Iterator[Task]:  # fmt: skip
        """Sends tasks, keeps `jobs` running and a few waiting, yields them when finished.

        Other drives may run in between. Closing the generator kills what it still has running, and so does `in_time`, asked every
        second at least, when it says no.
        """
        drive, exhausted = _Drive(tick=tick), False
        self._set_jobs(jobs)
        try:
            while True:
                try:
                    most = jobs * self._chain + 2
                    while drive.again or (not exhausted and drive.running < most):
                        task = drive.again.popleft() if drive.again else next(tasks, None)
                        if task is None:
                            exhausted = True
                            break
                        self._send(task, drive)
                    while drive.finished:
                        yield drive.finished.popleft()
                    if not drive.running and not drive.again:
                        if exhausted:
                            return
                        continue
                    if not drive.again:
                        self._listen()
                        if not (drive.finished or in_time()):
                            return
                except WorkerDied as death:
                    self._revive(death)
        finally:
            self._cancel(drive)

    def _set_jobs(self, jobs: int) -> None:
        link = self.start()
        if jobs != self.settings["jobs"]:
            self.settings["jobs"] = jobs
            for server in (ZYGOTE, SESSION):
                link.send(server, 0, b"J", jobs)

    def _send(self, task: Task, drive: _Drive) -> None:
        link = self.start()
        if not task.placed:
            self._place(task)
        files = {path: data.decode("latin-1") for path, data in task.files.items()}
        request = dict(task.options, files=files, first=None)
        if task.method == "swap" and not request["baseline"] and task.tests:
            # The server knows what the child begins with: that saves a message.
            _, wall = request["limits"].get(task.tests[0], request["limit"])
            request["first"] = [task.tests[0], wall]
        if task.method == "overlay":
            request["args"] = self.narrow(task.tests, whole_files=True)
        number = next(self._numbers)
        self._running[number] = task, drive
        drive.running += 1
        self._heard = time.monotonic()
        link.send(SERVER[task.method], number, b"Q", request)

    def _listen(self) -> None:
        link = self.start()
        for _, number, kind, data in link.receive(1.0):
            self._heard = time.monotonic()
            if kind == b"Z":
                raise WorkerDied("the session ended")
            if number not in self._running:
                continue
            task, drive = self._running[number]
            task.answer.take(kind, data)
            if kind == b"R" and drive.tick is not None:
                drive.tick()
            if kind == b"E":
                self._chain = data["chain"]
                del self._running[number]
                drive.running -= 1
                if task.options["shadow"]:
                    shutil.rmtree(Path(task.options["shadow"]).parent, ignore_errors=True)
                (drive.again if self._elsewhere(task) else drive.finished).append(task)
        longest = max((task.patience() for task, _ in self._running.values()), default=0.0)
        if time.monotonic() - self._heard > longest + PATIENCE:
            raise WorkerDied("the worker does not answer")

    def _cancel(self, drive: _Drive) -> None:
        for number, (task, owner) in list(self._running.items()):
            if owner is drive:
                del self._running[number]
                try:
                    if self._link is not None:
                        self._link.send(SERVER[task.method], number, b"K", None)
                except WorkerDied:
                    pass
