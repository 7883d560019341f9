"""The repair loop: from a red suite to a verified patch, as a stream of events that ends in exactly one `Finished`.

Search goes round by round. Candidates come from the suspect units, likeliest first, and meet the cheapest failing test, then
the other failing ones, then the whole suite. A candidate that repairs some tests and breaks none can become the base
of the next round. Nothing here writes to the user's tree.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from agent import decide, locate, suggest
from agent.diffs import make_diff
from agent.errors import AgentError, CheckpointError, TestsCannotRun, UsageError
from agent.events import (
    SCHEMA,
    CandidateTried,
    Event,
    FailingTest,
    Finished,
    Interval,
    Note,
    PatchFound,
    RecursionStep,  # fmt: skip
    SearchProgress,
    Started,
    SuiteProgress,
    SuiteRan,
    Suspect,
)
from agent.propose import Candidate, CostAware, ModelStream, by_tier, merged, suggested
from tools.interpreter import WorkspaceError
from tools.runner import Runner
from tools.verdicts import Limits, Outcome, RunnerError, SuiteRun
from tools.workspace import Workspace, find_workspace

SHOWN_SUSPECTS = 5
READ_UNITS = 12  # suspect units that the model reads at first
LONGEST_UNIT = 480  # leaves; longer units are enumerated but not read
PARTIAL_PATIENCE = 400  # candidates tried after a partial repair before building on it
_PROGRESS_EVERY = 0.25  # seconds


@dataclass(frozen=True)
class FixRequest:
    """What to repair and within which bounds. max_candidates None: no bound; jobs 0: the machine's cores, at most 4."""

    path: Path
    python: str | None = None
    pytest_args: tuple[str, ...] = ()
    max_seconds: float = 600.0
    max_candidates: int | None = None
    rank: str = "trm"
    checkpoint: Path | str | None = None
    seed: int = 0
    jobs: int = 0


@dataclass
class _Patch:
    """Files as changed so far: path -> (original bytes, current bytes)."""

    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    def with_candidate(self, candidate: Candidate) -> _Patch:
        original = self.files.get(candidate.path, (candidate.suspect.file.module.source, b""))[0]
        return _Patch({**self.files, candidate.path: (original, candidate.source())})

    def contents(self) -> dict[str, bytes]:
        return {path: new for path, (_, new) in self.files.items()}


class _Model(threading.Thread):
    """Loads the predictor while the suite runs for the first time."""

    def __init__(self, request: FixRequest) -> None:
        super().__init__(daemon=True)
        self.request = request
        self.predictor: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            from trm.predict import Predictor

            folder = Path(self.request.checkpoint) if self.request.checkpoint else None
            untrained = self.request.rank == "untrained"
            self.predictor = Predictor(folder, untrained=untrained, seed=self.request.seed)
            self.predictor.warm((64, 128))
        except BaseException as error:  # raised in the loop, where it belongs
            self.error = error

    def result(self) -> Any:
        self.join()
        if self.error is not None:
            raise CheckpointError(
                str(self.error), "omit --checkpoint to use the shipped weights"
            ) from self.error
        return self.predictor


def fix(request: FixRequest) -> Iterator[Event]:
    """Run a repair. Closing the generator stops everything it started.

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
    yield from _Run(request, workspace).events()


class _Run:
    """State of one run."""

    def __init__(self, request: FixRequest, workspace: Workspace) -> None:
        self.request, self.workspace = request, workspace
        self.began = time.monotonic()
        self.deadline = self.began + request.max_seconds
        self.tried = 0
        self.sources = locate.Sources(workspace.root)
        self.found: list[locate.Suspect] = []
        self.turned: list[str] = []
        self.analyses: dict[tuple[str, str, int], Any] = {}

    @property
    def at(self) -> float:
        return round(time.monotonic() - self.began, 4)

    def over(self) -> str:
        """Why the search must end now, or ""."""
        if time.monotonic() > self.deadline:
            return f"{self.request.max_seconds:g} s are over"
        if self.request.max_candidates is not None and self.tried >= self.request.max_candidates:
            return f"{self.request.max_candidates} candidates were tried"
        return ""

    def events(self) -> Iterator[Event]:
        request, workspace = self.request, self.workspace
        arguments = workspace.pytest_args(request.pytest_args)
        yield Started(
            SCHEMA,
            uuid.uuid4().hex[:12],
            str(workspace.root),
            workspace.python,
            workspace.python_reason,
            workspace.python_version,
            arguments,
            request.rank,
            str(request.checkpoint or "shipped"),
            at=self.at,
        )
        model = _Model(request) if request.rank in ("trm", "untrained") else None
        if model:
            model.start()
        jobs = request.jobs or min(4, os.cpu_count() or 1)
        limits = Limits(baseline_seconds=min(30.0, max(2.0, request.max_seconds / 10)))
        runner = Runner(workspace.root, workspace.python, arguments, limits, jobs=jobs)
        try:
            yield from self._repair(runner, model)
        except RunnerError as error:
            raise TestsCannotRun(str(error), error.hint) from error
        finally:
            runner.close()

    def _repair(self, runner: Runner, model: _Model | None) -> Iterator[Event]:
        run = yield from self._baseline(runner)
        yield from _told(run, self.at)
        if run.green:
            yield Finished("green", 0, f"all {len(run.results)} tests pass: nothing to fix",
                           seconds=self.at, at=self.at)  # fmt: skip
            return
        self._check_runnable(run)
        failing = [test for test in run.failing if test not in set(run.flaky)]
        if not failing and not run.collection_errors:
            names = ", ".join(run.flaky[:3])
            yield self._gave_up(f"flaky, not broken: {names} failed and then passed on the same code",
                                "make the test deterministic; a flaky test is never \"fixed\" here")  # fmt: skip
            return
        patch = _Patch()
        for round_number in itertools.count(1):
            outcome = yield from self._round(runner, model, run, patch, failing)
            if outcome is None:
                reason = self.over() or "the edit space is used up"
                yield replace_at(decide.stop(reason), self.at)
                yield self._gave_up(
                    f"no fix found: {reason}",
                    "the likeliest lines are listed; --max-seconds gives it longer",
                )
                return
            patch, done = outcome
            if done:
                yield from self._verified(runner, run, patch)
                return
            # a partial repair: look at the suite again with it in place
            run = yield from self._rebase(runner, run, patch)
            failing = [test for test in run.failing if test not in set(run.flaky)]
            if not failing or round_number > 6:
                yield self._gave_up("a partial repair did not hold", "")
                return

    def _baseline(self, runner: Runner) -> Iterator[Event]:
        """The first run, in a thread so that its progress can be told."""
        return (
            yield from _in_thread(
                lambda progress: runner.baseline(progress=progress), self, "suite"
            )
        )

    def _check_runnable(self, run: SuiteRun) -> None:
        for error in run.collection_errors:
            if error.missing_module and not self._is_ours(error.missing_module):
                python = self.workspace.python
                top = error.missing_module.partition(".")[0]
                raise TestsCannotRun(
                    f"the module {error.missing_module!r} is not installed for {python}",
                    f"{python} -m pip install {top}, or choose another interpreter with --python",
                )
        if not run.results and not run.collection_errors:
            raise TestsCannotRun(
                "pytest collected no tests", "name the tests after --, for example: -- tests/unit"
            )
        if run.collection_errors and not any(
            self.sources.get(e.path) for e in run.collection_errors if e.path
        ):
            error = run.collection_errors[0]
            where = f"{error.path}:{error.line or 1}"
            said = error.message.splitlines()[0] if error.message else ""
            raise TestsCannotRun(
                f"collection fails in {where}: {error.exception}: {said}",
                "test files, conftest.py and configuration are never edited: repair this by hand",
            )

    def _is_ours(self, module: str) -> bool:
        top = module.partition(".")[0]
        root = self.workspace.root
        return any(
            (base / top).is_dir() or (base / f"{top}.py").is_file() for base in (root, root / "src")
        )

    def _round(
        self,
        runner: Runner,
        model: _Model | None,
        run: SuiteRun,
        patch: _Patch,
        failing: Sequence[str],
    ) -> Iterator[Event]:
        """Search for one edit on top of `patch`. Returns (patch, whether all tests pass), or None."""
        broken = [error for error in run.collection_errors if self.sources.get(error.path)]
        if broken:
            tests = list(dict.fromkeys(e.collecting or e.path for e in broken)) or list(failing)
            ordered = tests
        else:
            ordered = _by_focus(run, failing)
        everything = [
            *ordered,
            *(
                r.nodeid
                for r in run.results
                if r.nodeid not in set(ordered) and r.outcome is Outcome.PASSED
            ),
        ]
        self.found = locate.suspects(run, self.sources)
        if not self.found:
            return None
        yield from self._show_suspects()
        stream = self._stream(model, run, bool(broken))
        candidates = CostAware((yield from stream))
        return (yield from self._validate(runner, candidates, ordered, everything, patch, run))

    def _show_suspects(self) -> Iterator[Event]:
        for rank, suspect in enumerate(self.found[:SHOWN_SUSPECTS]):
            unit, module = suspect.unit, suspect.file.module
            lines = module.source.decode("utf-8", "replace").splitlines()[
                unit.first_line - 1 : unit.last_line
            ]
            scores = tuple(
                round(suspect.scores.get(n, 0.0), 4)
                for n in range(unit.first_line, unit.last_line + 1)
            )
            yield Suspect(
                rank,
                suspect.file.path,
                unit.name,
                unit.first_line,
                "\n".join(lines),
                scores,
                at=self.at,
            )

    def _stream(self, model: _Model | None, run: SuiteRun, broken: bool) -> Iterator[Event]:
        """Tell how the suspects are read; returns the candidates."""
        literals = _test_literals(run)
        cheap = suggested(suggest.suggestions(run, self.sources), self.found)
        if model is None or broken:
            rank = self.request.rank if model is None else "ochiai"
            return itertools.chain(
                cheap, by_tier(self.found[:40], rank, self.request.seed, literals)
            )
        predictor = model.result()
        streams: list[ModelStream] = []
        best = self.found[0].prior
        readable = [s for s in self.found if s.unit.end - s.unit.start <= LONGEST_UNIT]
        for rank, suspect in enumerate(readable[:READ_UNITS]):
            if self.over():
                break
            analysis = self._read(predictor, suspect, run)
            if rank < SHOWN_SUSPECTS:
                yield from self._show_recursion(suspect, analysis)
            streams.append(ModelStream(suspect, analysis, predictor, best, literals))
        if streams:
            yield from self._show_interval(streams[0])
        rest = [s for s in self.found if s not in readable[:READ_UNITS]]
        return itertools.chain(
            cheap, merged(streams), by_tier(rest[:60], "ochiai", self.request.seed, literals)
        )

    def _read(self, predictor: Any, suspect: locate.Suspect, run: SuiteRun) -> Any:
        from trm.data.functions import names_in_reach, reach_of
        from trm.encode import encode

        module, unit = suspect.file.module, suspect.unit
        key = (suspect.file.path, unit.name, hash(module.source[: module.leaves[unit.end - 1].end]))
        if key not in self.analyses:
            leaves = module.leaves[unit.start : unit.end]
            text = " ".join(leaf.text for leaf in leaves)
            own = unit.name.rpartition(".")[2]
            names = reach_of(text, (n for n in names_in_reach(module) if n != own), 16)
            encoded = encode(
                predictor.vocab, leaves, names=names, execution=locate.execution_of(suspect, run)
            )
            self.analyses[key] = predictor.analyse(encoded)
        return self.analyses[key]

    def _show_recursion(self, suspect: locate.Suspect, analysis: Any) -> Iterator[Event]:
        leaves = suspect.file.module.leaves
        base = suspect.unit.start
        total = len(analysis.steps)
        for number, step in enumerate(analysis.steps, 1):
            heat = []
            for index in step.start[1:-1].argsort()[::-1][:24]:
                leaf = leaves[base + int(index)]
                if not leaf.is_layout and step.start[index + 1] > 0.004:
                    column = leaf.start - suspect.file.module.line_start(leaf.line)
                    heat.append(
                        (leaf.line, column, len(leaf.text), round(float(step.start[index + 1]), 4))
                    )
            best = step.best
            text, line, probability = "no bug here", 0, float(step.start[0])
            if best is not None:
                removed = " ".join(
                    leaf.text for leaf in leaves[base + best.start : base + best.end]
                )
                text = f"- {removed}\n+ {' '.join(best.tokens)}"
                line = suspect.line_of(base + best.start)
                probability = float(2.718281828459045**best.log_probability)
            rows = step.bits[:: max(1, len(step.bits) // 16)][:16]
            bits = tuple(int(b) for b in rows.ravel())
            halted = decide.halt(step.halt, number, total)
            yield RecursionStep(suspect.name, number, total, bits, round(step.halt, 4), bool(halted.bit), text, line,
                                round(probability, 5), tuple(heat), at=self.at)  # fmt: skip
            yield replace_at(halted, self.at)

    def _show_interval(self, stream: ModelStream) -> Iterator[Event]:
        suspect = stream.suspect
        unit = suspect.unit
        mass = [0.0] * (unit.last_line - unit.first_line + 1)
        leaves = suspect.file.module.leaves
        for index, value in enumerate(stream.analysis.leaf_mass):
            line = leaves[unit.start + index].line
            mass[line - unit.first_line] += float(value) * suspect.scores.get(line, 0.02)
        total = sum(mass) or 1.0
        yield Interval(suspect.file.path, unit.first_line, unit.last_line, 1.0, at=self.at)
        for first, last, kept, bit, margin in locate.halve([m / total for m in mass]):
            low, high = unit.first_line + first, unit.first_line + last
            yield replace_at(decide.side(bit, margin, low, high), self.at)
            yield Interval(suspect.file.path, low, high, round(kept, 4), at=self.at)

    def _validate(
        self, runner: Runner, candidates: Iterator[Candidate], failing: Sequence[str], everything: Sequence[str],
        patch: _Patch, run: SuiteRun,
    ) -> Iterator[Event]:  # fmt: skip
        """Try candidates in order until one passes everything. Returns (patch, done) or None."""
        flying: dict[int, Candidate] = {}
        waiting: list[Candidate] = []
        partial: tuple[int, _Patch, str] | None = None
        since_partial = 0
        numbers = itertools.count(1)
        last_progress = 0.0
        search_began = time.monotonic()
        tried_before = self.tried

        def feed() -> Iterator[tuple[int, dict[str, bytes]]]:
            while not self.over():
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
                    self.tried += 1
                    if "ran during" in verdict.reason:
                        candidates.slow(candidate.suspect)
                    since_partial += partial is not None
                    improves = verdict.passed or (verdict.failing_test not in (None, failing[0]) and len(failing) > 1
                                                  and verdict.outcome in (Outcome.FAILED, Outcome.ERROR))  # fmt: skip
                    yield CandidateTried(self.tried, candidate.path, candidate.line, candidate.before, candidate.after,
                                         candidate.operator, round(candidate.score, 4), str(verdict.outcome),
                                         verdict.failing_test or "", round(verdict.wall, 4), at=self.at)  # fmt: skip
                    now = time.monotonic()
                    if now - last_progress > _PROGRESS_EVERY:
                        last_progress = now
                        rate = (self.tried - tried_before) / max(1e-6, now - search_began)
                        yield SearchProgress(self.tried, len(flying) + len(waiting), round(rate, 1),
                                             round(max(0.0, self.deadline - now), 1), at=self.at)  # fmt: skip
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
                        yield replace_at(
                            decide.accept(True, f"all {len(everything)} tests pass"), self.at
                        )
                        return attempt, True
                    yield replace_at(decide.accept(False, f"breaks {whole.failing_test}"), self.at)
                    continue
                full = runner.validate(attempt.contents(), everything, stop_at_first=False)
                bad = {
                    r.nodeid
                    for r in full.results
                    if r.outcome not in (Outcome.PASSED, Outcome.SKIPPED)
                }
                turned = len(set(failing) - bad)
                if turned and bad <= set(failing) and (partial is None or turned > partial[0]):
                    partial = (turned, attempt, candidate.suspect.name)
                    yield replace_at(decide.combine(turned, len(failing) - turned), self.at)
                    if not _touched(run, set(failing) & bad, candidate):
                        return attempt, False
                continue
            if partial is not None:
                return partial[1], False
            return None

    def _rebase(self, runner: Runner, run: SuiteRun, patch: _Patch) -> Iterator[Event]:
        """The suite with the partial repair in place, as the base of the next round.

        Traces are those of the first run: they still name the right lines unless the repair added or removed some.
        """
        self.sources = locate.Sources(self.workspace.root)
        for path, (_, new) in patch.files.items():
            self.sources.files[path] = locate.SourceFile(path, locate.Module(new))
        tests = [result.nodeid for result in run.results]
        verdict = runner.validate(patch.contents(), tests, stop_at_first=False)
        now = {result.nodeid: result for result in verdict.results}
        results = [now.get(result.nodeid, result) for result in run.results]
        run = dataclasses.replace(run, results=results)
        run.failures = [failure for failure in run.failures if failure.nodeid in set(run.failing)]
        run.spectrum = dataclasses.replace(run.spectrum, failed=set(run.failing))
        yield Note(
            f"{len(run.failing)} tests still fail with the partial repair in place", at=self.at
        )
        return run

    def _verified(self, runner: Runner, run: SuiteRun, patch: _Patch) -> Iterator[Event]:
        """The last check: the user's own pytest command, as a plain process."""
        final = runner.confirm(patch.contents())
        for note in final.notes:
            yield Note(note, at=self.at)
        if not final.green:
            names = ", ".join(final.failing[:3]) or "; ".join(final.notes[:2])
            yield replace_at(
                decide.accept(False, f"the plain pytest run disagrees: {names}"), self.at
            )
            yield self._gave_up(f"a patch passed the worker but not a plain pytest run ({names})",
                                "please report this: the two should agree")  # fmt: skip
            return
        diff = make_diff(self.workspace.root, patch.files)
        red = set(run.failing)
        turned = tuple(sorted(self.turned or red))
        command = " ".join(["pytest", *self.workspace.pytest_args(self.request.pytest_args)])
        yield PatchFound(
            diff, tuple(sorted(patch.files)), turned, self.tried, self.at, command, at=self.at
        )
        yield Finished("fixed", 0, f"fixed: {len(turned)} failing test{'s' if len(turned) != 1 else ''} turned green, "
                       f"{self.tried} candidates in {self.at:.1f} s", "", diff, self.tried, self.at, at=self.at)  # fmt: skip

    def _gave_up(self, message: str, hint: str) -> Finished:
        return Finished(
            "not_fixed",
            1,
            message,
            hint,
            "",
            self.tried,
            self.at,
            locate.ranked_lines(self.found),
            at=self.at,
        )


def replace_at(event: Event, at: float) -> Event:
    """The event with its time."""
    return dataclasses.replace(event, at=at)


def _told(run: SuiteRun, at: float) -> Iterator[Event]:
    """What the first run showed."""
    for note in run.notes:
        yield Note(note, at=at)
    counts = {outcome: sum(r.outcome is outcome for r in run.results) for outcome in Outcome}
    bad = sum(
        counts[o]
        for o in (Outcome.ERROR, Outcome.TIMEOUT, Outcome.CRASHED, Outcome.BLOCKED, Outcome.INVALID)
    )
    yield SuiteRan(counts[Outcome.PASSED], counts[Outcome.FAILED], bad + len(run.collection_errors),
                   counts[Outcome.SKIPPED], round(run.seconds, 3), at=at)  # fmt: skip
    known = {failure.nodeid: failure for failure in run.failures}
    for test in run.failing:
        failure = known.get(test)
        if failure is None:
            result = next(r for r in run.results if r.nodeid == test)
            yield FailingTest(test, result.exception or str(result.outcome), result.message or "", result.path,
                              result.line or 0, at=at)  # fmt: skip
            continue
        frame = failure.frames[-1] if failure.frames else None
        yield FailingTest(test, failure.exception, failure.message, frame.path if frame else "", frame.line if frame else 0,
                          failure.actual or "", failure.expected or "", at=at)  # fmt: skip
    for error in run.collection_errors:
        yield FailingTest(
            error.collecting or error.path,
            error.exception,
            error.message,
            error.path,
            error.line or 0,
            at=at,
        )
    for test in run.flaky:
        yield Note(
            f"flaky: {test} failed and then passed on the same code; it is left alone",
            "warning",
            at=at,
        )


def _by_focus(run: SuiteRun, failing: Sequence[str]) -> list[str]:
    """Failing tests, the one that is cheapest to fail first."""
    seconds = {result.nodeid: result.seconds for result in run.results}
    hung = {r.nodeid for r in run.results if r.outcome is Outcome.TIMEOUT}
    return sorted(failing, key=lambda test: (test in hung, seconds.get(test, 0.0)))


def _touched(run: SuiteRun, tests: set[str], candidate: Candidate) -> bool:
    """Whether any of `tests` ran the candidate's unit."""
    unit = candidate.suspect.unit
    lines = range(unit.first_line, unit.last_line + 1)
    return any(
        set(run.spectrum.lines_of(test).get(candidate.path, ())) & set(lines) for test in tests
    )


def _test_literals(run: SuiteRun) -> list[str]:
    """Literals of failing assertions: what the code may have to mention."""
    from tools.source.leaves import Module

    found: dict[str, None] = {}
    for failure in run.failures[:8]:
        for text in (failure.test_line, failure.expected or ""):
            try:
                leaves = Module(text[:400].encode("utf-8", "replace").replace(b"\0", b"")).leaves
            except ValueError:
                continue
            for leaf in leaves:
                if leaf.kind in ("integer", "float", "string") and len(leaf.text) <= 24:
                    found.setdefault(leaf.text)
    return list(found)[:12]


def _in_thread(
    work: Callable[[Callable[[int, int], None]], Any], run: _Run, phase: str
) -> Iterator[Event]:
    """Run `work(progress)` in a thread and yield its progress; returns its result, raises its exception."""
    state: dict[str, Any] = {"done": 0, "total": 0}

    def progress(done: int, total: int) -> None:
        state.update(done=done, total=total)

    def body() -> None:
        try:
            state["result"] = work(progress)
        except BaseException as error:  # raised again below
            state["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    told = -1
    while thread.is_alive():
        thread.join(_PROGRESS_EVERY)
        if state["total"] and state["done"] != told:
            told = state["done"]
            yield SuiteProgress(phase, told, state["total"], at=run.at)
    if "error" in state:
        raise state["error"]
    return state["result"]


__all__ = ["AgentError", "FixRequest", "fix"]
