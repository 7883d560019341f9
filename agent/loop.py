"""The repair loop: from a red suite to a verified patch, as a stream of events that ends in exactly one `Finished`.

Search goes round by round. Candidates come from the suspect units, likeliest first, and meet the cheapest failing test, then
the other failing ones, then the whole suite. A candidate that repairs some tests and breaks none can become the base
of the next round. Where several things are wrong, of which one may be the machine, they are taken one at a time and what could be
repaired is told. Nothing here writes to the user's tree.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import decide, locate
from agent.budget import Budget
from agent.candidates import CostAware
from agent.diffs import make_diff
from agent.errors import TestsCannotRun, UsageError
from agent.events import SCHEMA, Event, Finished, Note, PatchFound, PatchRejected, Started
from agent.first_run import beyond_repair, check_runnable, in_thread, told, why
from agent.grow import Growth
from agent.reading import Reader, show_suspects
from agent.search import Found, PatchedFiles, Tests, search
from agent.settings import PATIENCE
from agent.stubs import Stub, body_text, stub_of, tests_of
from agent.suite_cache import Rejected, SuiteCache
from tools.interpreter import WorkspaceError
from tools.runner import Runner
from tools.source.leaves import Module
from tools.verdicts import Limits, RunnerError, SuiteRun
from tools.workspace import Workspace, find_workspace

ROUNDS = 6  # edits that may be combined
TOGETHER = 10.0  # seconds for an edit that repairs all, before causes are taken apart where there seem to be several
SLICE = 5.0  # seconds for one of several causes before the next has its turn; longer each time


@dataclass(frozen=True)
class FixRequest:
    """What to repair and within which bounds. max_candidates None: no bound; jobs 0: the machine's cores, at most 4.

    patience: seconds to look for other patches after the first, of which the likeliest is shown; 0: the first.
    allow_network: tests and candidates reach it. cache: what an earlier run of the same code told is taken over and kept.
    function: where `path` is a file, the name of a stub in it, whose body is to be written; "": what is red is repaired.
    rejected: asked about each verified patch after it was told of, may block; true where another is wanted. None: never.
    """

    path: Path
    python: str | None = None
    pytest_args: tuple[str, ...] = ()
    max_seconds: float = 600.0
    max_candidates: int | None = None
    rank: str = "trm"
    checkpoint: Path | str | None = None
    seed: int = 0
    jobs: int = 0
    patience: float = PATIENCE
    allow_network: bool = False
    cache: bool = False
    function: str = ""
    rejected: Callable[[PatchFound], bool] | None = None


def fix(request: FixRequest) -> Iterator[Event]:
    """Run a repair, or write a function. Closing the generator stops everything it started.

    Raises UsageError and TestsCannotRun before the first event where nothing could be begun.
    """
    if request.rank not in ("trm", "untrained", "ochiai", "random"):
        raise UsageError(f"unknown rank {request.rank!r}", "one of trm, untrained, ochiai, random")
    try:
        workspace = find_workspace(request.path, request.python)
    except WorkspaceError as error:
        raise UsageError(str(error), error.hint) from error
    if workspace.interpreter.problem:
        raise TestsCannotRun(*workspace.interpreter.problem)
    run = _Run(request, workspace)
    if request.function:
        run.stub = stub_of(run.sources, workspace.target, request.function)
    yield from run.events()


class _Run:
    """State of one run."""

    def __init__(self, request: FixRequest, workspace: Workspace) -> None:
        self.request, self.workspace = request, workspace
        self.budget = Budget(request.max_seconds, request.max_candidates)
        self.arguments = workspace.pytest_args(request.pytest_args)
        self.sources = locate.Sources(workspace.root)
        self.found: list[locate.Suspect] = []
        self.rejected = Rejected()  # what is known to fail
        self.refused = ""  # tests for which a plain pytest run refused a patch
        self.turned_down = 0  # patches that the user did not want
        self.stub: Stub | None = None  # whose body is to be written

    def events(self) -> Iterator[Event]:
        """All events of the run. Raises TestsCannotRun and CheckpointError."""
        request, workspace = self.request, self.workspace
        yield Started(
            SCHEMA,
            uuid.uuid4().hex[:12],
            str(workspace.root),
            workspace.python,
            workspace.python_reason,
            workspace.python_version,
            self.arguments,
            request.rank,
            str(request.checkpoint or "shipped"),
            at=self.budget.at,
        )
        checkpoint = Path(request.checkpoint) if request.checkpoint else None
        reader = Reader(request.rank, checkpoint, request.seed, self.budget)
        runner = self._runner()
        try:
            run = yield from self._suite(runner)
            files = beyond_repair(run, self.sources)
            if files:
                runner.close()
                runner = self._runner(*(f"--ignore={workspace.root / file}" for file in files))
                rest = yield from self._suite(runner)
                if not (rest.failing or rest.collection_errors):
                    # what would be left out is all that is wrong
                    check_runnable(run, self.sources, workspace.python)
                for error in run.collection_errors:
                    if error.collecting in files:
                        text = f"{error.collecting} is left out: {why(error)}"
                        yield Note(text, "warning", at=self.budget.at)
                run = rest
            yield from self._repair(runner, reader, run)
        except RunnerError as error:
            raise TestsCannotRun(str(error), error.hint) from error
        finally:
            reader.close()
            runner.close()
            self.rejected.save()

    def _runner(self, *more: str) -> Runner:
        """A runner of the project's tests; `more` arguments hold for all that follows."""
        request, workspace = self.request, self.workspace
        self.arguments = (*self.arguments, *more)
        jobs = request.jobs or min(4, os.cpu_count() or 1)
        limits = Limits(baseline_seconds=min(10.0, max(2.0, request.max_seconds / 10)))
        return Runner(workspace.root, workspace.python, self.arguments, limits,
                      allow_network=request.allow_network, jobs=jobs)  # fmt: skip

    def _suite(self, runner: Runner) -> Iterator[Event]:
        """The first run of all tests. Returns a SuiteRun."""
        seconds = self.request.max_seconds / 2
        memory = SuiteCache() if self.request.cache else None
        run = yield from in_thread(
            lambda tell: runner.baseline(tell, seconds=seconds, memory=memory), self.budget, "suite"
        )
        self.rejected = memory.rejected(runner.key) if memory and runner.key else Rejected()
        return run

    def _repair(self, runner: Runner, reader: Reader, run: SuiteRun) -> Iterator[Event]:
        budget = self.budget
        yield from told(run, budget.at)
        if run.green:
            message = f"all {len(run.results)} tests pass: nothing to fix"
            yield Finished("green", 0, message, seconds=budget.at, at=budget.at)
            return
        check_runnable(run, self.sources, self.workspace.python)
        if self.rejected:
            text = f"{len(self.rejected)} candidates failed in earlier runs of this code: they are passed over"
            yield Note(text, at=budget.at)
        red = run.failing
        if self.stub is not None:
            yield from self._write(runner, reader, run, self.stub)
            return
        patch = PatchedFiles()
        for _ in range(ROUNDS):
            failing = [test for test in run.failing if test not in set(run.flaky)]
            if not failing and not run.collection_errors:
                names = ", ".join(run.flaky[:3])
                yield self._gave_up(
                    f"flaky, not broken: {names} failed and then passed on the same code",
                    'make the test deterministic; a flaky test is never "fixed" here',
                )
                return
            causes = [] if run.collection_errors else locate.causes(run, failing)
            several = len(causes) > 1
            look = self._prepared(runner, reader, run, patch, failing)
            outcome = None
            if not (several and patch.files):  # else they were taken apart already
                outcome = yield from look(TOGETHER if several else math.inf)
            if several and not (outcome and outcome.done) and not budget.over():
                # also where a part is repaired: the search for that cause alone sees what else repairs it
                shared = locate.one_edit_may_do(run, failing, self.sources)
                apart = yield from self._apart(runner, reader, run, patch, causes, look, shared)
                outcome = apart or outcome
            if outcome is None:
                break
            while outcome is not None and outcome.done:
                if (yield from self._verified(runner, outcome, red)):
                    return
                outcome = None if budget.over() else (yield from look(math.inf))
            if outcome is None:
                break
            patch = outcome.patch
            if budget.over():
                break
            run = yield from self._rebase(runner, run, patch)
            if not run.failing and not run.collection_errors:
                if not (yield from self._verified(runner, outcome, red)):
                    break
                return
        if patch.files and not run.collection_errors:
            partly = yield from self._partly(runner, patch, run, red)
            if partly:
                return
        yield from self._ended("no fix found", "the likeliest lines are listed")

    def _write(self, runner: Runner, reader: Reader, run: SuiteRun, stub: Stub) -> Iterator[Event]:
        """Grow the body of a stub until the failing tests that run it pass. What else is red may stay so."""
        tests = tests_of(stub, run)
        left = [test for test in run.failing if test not in set(tests)]
        ran = "1 failing test runs" if len(tests) == 1 else f"{len(tests)} failing tests run"
        yield Note(f"{ran} {stub.name}", at=self.budget.at)
        growth = Growth(
            runner, reader, run, self.sources, stub, tests, self.budget, self.request.patience
        )
        while (found := (yield from growth.search_on())) is not None:
            if (yield from self._verified(runner, found, tests, left)):
                return
        best = growth.best
        if best is not None and best.green:
            said = f"the nearest body, with which {best.green} of {len(best.results)} tests pass:"
            yield Note(f"{said}\n{body_text(stub, best.source)}", at=self.budget.at)
        yield from self._ended(f"{stub.name} is not written", "a shorter task, or more tests")

    def _ended(self, what: str, hint: str) -> Iterator[Event]:
        """The end of a search that did not find what it looked for."""
        budget = self.budget
        over = budget.over()
        reason = over or "the edit space is used up"
        yield budget.stamp(decide.stop(reason))
        if over:
            hint += (
                "; --max-candidates allows more"
                if budget.left
                else "; --max-seconds gives it longer"
            )
        if self.refused:
            reason += f"; a patch passed here, but not a plain pytest run ({self.refused})"
        if self.turned_down:
            reason += f"; {self.turned_down} patch{'es' * (self.turned_down != 1)} turned down"
        yield self._gave_up(f"{what}: {reason}", hint)

    def _prepared(
        self, runner: Runner, reader: Reader, run: SuiteRun, patch: PatchedFiles, failing: Sequence[str]
    ) -> Callable[[float], Iterator[Event]]:  # fmt: skip
        """A search for one edit on top of `patch` after which no test of `run` fails.

        It is called with seconds, as often as wanted; each time it goes on for as long, and returns Found or None.
        """
        broken = [error for error in run.collection_errors if self.sources.get(error.path)]
        uncollected = dict.fromkeys(error.collecting or error.path for error in broken)
        tests = Tests.of(run, list(uncollected) or failing)
        found: list[locate.Suspect] | None = None
        stream, asked = CostAware(), False

        def search_on(seconds: float) -> Iterator[Event]:
            nonlocal found, asked
            if found is None:  # not before its turn: there may be many searches
                found = locate.suspects(run, self.sources)
            self.found = found
            if not found:
                return None
            if not asked:
                yield from show_suspects(found, self.budget)
            while True:
                if not asked:
                    candidates = yield from reader.candidates(
                        run, self.sources, found, bool(broken)
                    )
                    stream.follow(candidates)
                    asked = True
                began = time.monotonic()
                repaired = yield from search(
                    runner, run, stream, tests, patch, self.budget, self.request.patience, self.rejected, seconds
                )  # fmt: skip
                if repaired is not None or not reader.provisional or self.budget.over():
                    return repaired
                seconds -= time.monotonic() - began
                if seconds <= 0:
                    return None
                asked = False  # the model is there now

        return search_on

    def _apart(
        self, runner: Runner, reader: Reader, run: SuiteRun, patch: PatchedFiles, causes: Sequence[Sequence[str]],
        together: Callable[[float], Iterator[Event]], shared: bool,
    ) -> Iterator[Event]:  # fmt: skip
        """Search for one edit that repairs one of several groups of failing tests, and go on with `together`, in turns.

        shared: one edit may do, so `together` has every second turn. Returns Found or None; what repairs a group is not done.
        """
        yield Note(f"{len(causes)} things seem to be wrong: one at a time", at=self.budget.at)
        searches = [
            self._prepared(runner, reader, locate.only(run, tests), patch, tests)
            for tests in causes
        ]
        turns = [*searches, together]
        if shared:
            turns = [turn for search_on in searches for turn in (search_on, together)]
        seconds = SLICE
        while not self.budget.over():
            before = self.budget.tried
            for search_on in turns:
                found = yield from search_on(seconds)
                if found is not None and search_on is not together:
                    return dataclasses.replace(found, done=False)
                if found is not None and found.done:
                    return found
                if self.budget.over():
                    return None
            if self.budget.tried == before:
                return None
            seconds *= 2
        return None

    def _rebase(self, runner: Runner, run: SuiteRun, patch: PatchedFiles) -> Iterator[Event]:
        """The suite with the partial repair in place, as the base of the next round.

        Traces are those of the first run: they still name the right lines unless the repair added or removed some.
        """
        self.sources = locate.Sources(self.workspace.root)
        for path, (_, new) in patch.files.items():
            self.sources.files[path] = locate.SourceFile(path, Module(new))
        tests = [result.nodeid for result in run.results]
        verdict = runner.validate(patch.contents(), tests, stop_at_first=False)
        now = {result.nodeid: result for result in verdict.results}
        results = [now.get(result.nodeid, result) for result in run.results]
        run = dataclasses.replace(run, results=results)
        run.failures = [failure for failure in run.failures if failure.nodeid in set(run.failing)]
        run.spectrum = dataclasses.replace(run.spectrum, failed=set(run.failing))
        yield Note(
            f"still failing with the partial repair in place: {len(run.failing)}",
            at=self.budget.at,
        )
        return run

    def _verified(
        self, runner: Runner, found: Found, red: Sequence[str], left: Sequence[str] = ()
    ) -> Iterator[Event]:
        """The last check: the user's own pytest command, as a plain process. Returns whether it is green; then the run ends.

        left: tests that may fail as before.
        """
        budget, final = self.budget, runner.confirm(found.patch.contents())
        for note in final.notes:
            yield Note(note, at=budget.at)
        if not (final.green or (left and _red_as_before(final, left))):
            names = ", ".join(final.failing[:3]) or "; ".join(final.notes[:2])
            yield budget.stamp(decide.accept(False, f"the plain pytest run disagrees: {names}"))
            self.refused = names
            return False
        return (yield from self._shown(found, final, red))

    def _shown(self, found: Found, final: SuiteRun, red: Sequence[str]) -> Iterator[Event]:
        """Tells of a patch that a plain run agrees with. Returns whether the user wants it; then the run ends."""
        budget, patch = self.budget, found.patch
        diff = make_diff(self.workspace.root, patch.files)
        turned = tuple(red) or tuple(result.nodeid for result in final.results)
        command = " ".join(["pytest", *self.arguments])
        shown = PatchFound(
            diff, tuple(sorted(patch.files)), turned, found.number, budget.searched, command, at=budget.at
        )  # fmt: skip
        seconds, tried = budget.searched, budget.tried
        yield shown
        if self.request.rejected is not None:
            rejected = self.request.rejected(shown)
            budget.idle += budget.searched - seconds
            if rejected:
                self.turned_down += 1
                yield PatchRejected(at=budget.at)
                return False
        plural = "" if len(turned) == 1 else "s"
        message = (
            f"{'written' if self.stub else 'fixed'}: {len(turned)} failing test{plural} turned green, "
            f"{tried} candidates in {seconds:.1f} s"
        )
        yield Finished("fixed", 0, message, "", diff, tried, seconds, at=budget.at)
        return True

    def _partly(
        self, runner: Runner, patch: PatchedFiles, run: SuiteRun, red: Sequence[str]
    ) -> Iterator[Event]:  # fmt: skip
        """Tells of a patch that repairs some of the failing tests and breaks none. Returns whether there is one.

        Where a test that still fails runs what the patch changed, the patch is more often a lucky one: it is not told of.
        """
        budget, final = self.budget, runner.confirm(patch.contents())
        still = set(final.failing)
        turned = tuple(test for test in red if test not in still)
        if final.green:  # what failed here passes in a process of its own
            return (yield from self._shown(Found(patch, True, budget.tried), final, red))
        if not turned or not still <= set(red) or final.collection_errors:
            return False
        if any(
            not lines.isdisjoint(run.spectrum.lines_of(test).get(path, ()))
            for path, lines in locate.changed_lines(patch.files).items()
            for test in still
        ):
            return False
        diff = make_diff(self.workspace.root, patch.files)
        command = " ".join(["pytest", *self.arguments])
        left = tuple(test for test in red if test in still)
        yield PatchFound(
            diff, tuple(sorted(patch.files)), turned, budget.tried, budget.searched, command, still_red=left, at=budget.at
        )  # fmt: skip
        message = f"{len(turned)} of {len(red)} failing tests turned green; {left[0]}"
        message += f" and {len(left) - 1} more still fail" if len(left) > 1 else " still fails"
        hint = (
            "tests that fail for want of a program or rights are not the code's fault: leave them out after --; "
            "--allow-network is for those that need a network"
        )
        yield Finished(
            "partly_fixed", 1, message, hint, diff, budget.tried, budget.searched, locate.ranked_lines(self.found), at=budget.at
        )  # fmt: skip
        return True

    def _gave_up(self, message: str, hint: str) -> Finished:
        lines = locate.ranked_lines(self.found)
        budget = self.budget
        return Finished("not_fixed", 1, message, hint, "", budget.tried, budget.searched, lines, at=budget.at)  # fmt: skip


def _red_as_before(final: SuiteRun, left: Sequence[str]) -> bool:
    return bool(final.results) and set(final.failing) <= set(left) and not final.collection_errors


__all__ = ["FixRequest", "fix"]
