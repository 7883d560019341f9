"""Executed mutants of a project: its covered functions are broken, its tests run on each, and what `fix` would see is kept.

The same runner, spectrum and failures as in a repair, so that what the model learns from is what it will read.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent import locate
from agent.environments import InstallError
from agent.evidence import searched
from agent.projects import Project, RefusedError, Task, project_of
from tools.runner import Runner
from tools.source.edits import Edit, EditError, splice
from tools.source.leaves import Module, SourceError, Unit
from tools.verdicts import Limits, RunnerError, SuiteRun
from tools.workspace import WorkspaceError
from trm.data.build import in_processes
from trm.data.corrupt import WEIGHTS, Broken, break_function
from trm.data.decontaminate import Blocklist
from trm.data.functions import MAX_LEAVES, MIN_LEAVES, Surroundings, held_out, reach_of, unit_text
from trm.data.mutants import Mutant, write
from trm.data.sources import is_excluded, is_excluded_text, is_test_path
from trm.encode import Execution, FailureText

MOST_TESTS = 1500  # of a project: its first run is not what the time is for
_EVERY = 200  # tests that run on a mutant at most
_TESTS = (1, 2, 3, 5, 8, 12)  # tests that run on a mutant, of those that cover its unit
_SLOWEST = 0.3  # CPU seconds of a test that is used
_LEAST, _MOST = 0.2, 2.0  # CPU seconds that a test may take on a mutant
_MULTIPLE = 0.4  # share of mutants with two or three faults
_INNOCENT = 0.12  # innocent units a killed mutant: their tests fail, the fault is elsewhere
_TRIED = (4, 8, 16, 32)  # edits of such a search
_HOPELESS = 0.6  # share left out of the mutants on which no test gets through


def mutate_all(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, str, bool]]:
    """Write the part of every task; yields (task, what came of it in a line, whether that is nothing) as they are done."""
    yield from in_processes(mutate_one, tasks, jobs)


def mutate_one(task: Task) -> tuple[Task, str, bool]:
    """Write the part of a task; the task, what came of it in a line, whether that is nothing."""
    tally = Tally()
    try:
        project = project_of(task)
        made = mutants(
            project, tally, per_unit=task.per_unit, seconds=task.seconds, seed=task.seed, evidence=task.evidence
        )  # fmt: skip
        write(task.part, made)
    except (RunnerError, WorkspaceError, InstallError, RefusedError) as error:
        return task, f"left out: {error}", True
    size = task.part.stat().st_size / 1e6
    return task, (
        f"{tally.killed} mutants killed of {tally.tried} ({tally.inexact} not exchangeable), {tally.innocent} innocent units; "
        f"{tally.units} functions, {tally.tests} tests; {tally.seconds:.0f} s, {size:.1f} MB"
    ), not tally.killed  # fmt: skip


@dataclass
class Tally:
    """What came of a project so far. tried: mutants that ran; killed: those that a test told from the original."""

    tests: int = 0
    units: int = 0
    tried: int = 0
    killed: int = 0
    innocent: int = 0
    inexact: int = 0  # the code could not be exchanged in memory
    baseline_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """A unit that tests cover: its file, its place there, its text alone, names for operators and for the reader, its tests."""

    path: str
    unit: Unit
    file: Module
    alone: Module
    names: tuple[str, ...]
    near: tuple[str, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A broken unit. data: its whole file; lines: that this is longer than before."""

    target: Target
    broken: Broken
    data: bytes
    lines: int


@dataclass(frozen=True)
class Killed:
    """A trial that tests tell from the original: what they saw of it. targets, whole: of the project as it is.

    runner: still at work, so that edits of the trial can be run before the next one is asked for.
    """

    trial: Trial
    run: SuiteRun
    targets: Sequence[Target]
    whole: SuiteRun
    runner: Runner


class _OutOfTime(Exception):
    pass


def mutants(
    project: Project, tally: Tally, *, per_unit: int = 8, seconds: float = 0.0, seed: int = 0, evidence: float = 0.0
) -> Iterator[Mutant]:  # fmt: skip
    """Break the covered functions of a project, in random order, up to `per_unit` times each, and yield what tests kill.

    seconds: wall time of the mutants, 0 for no limit; the first run may take as long. evidence: share of mutants with what a
    search in vain has shown, which is as much work as all the rest. Packages that are held out get one fault a mutant.
    Raises RunnerError where the suite does not run, or not in that time.
    """
    breaking = random.Random(f"{seed} {project.package}")
    # Its own: how far ahead of their results mutants are made depends on time.
    rng = random.Random(f"{seed} {project.package} kept")
    for found in killed(project, tally, breaking, per_unit=per_unit, seconds=seconds):
        if _hopeless(found.run) and rng.random() < _HOPELESS:
            continue
        tried: dict[int, int] = {}
        suspect = suspect_of(found) if rng.random() < evidence else None
        if suspect is not None:
            names = found.trial.target.names
            tried = searched(suspect, names, found.run, found.runner, rng.choice(_TRIED), rng)
        mutant = _seen(project, found.trial, found.run, tried)
        if mutant is not None:
            tally.killed += 1
            yield mutant
        if rng.random() < _INNOCENT:
            innocent = _innocent(project, found.trial, found.run, found.targets, rng)
            if innocent is not None:
                tally.innocent += 1
                yield innocent


def killed(
    project: Project, tally: Tally, rng: random.Random, *, per_unit: int, seconds: float = 0.0, every_test: bool = False,
    single: bool = False, numbers: Sequence[int] = _TESTS,
) -> Generator[Killed, None, None]:  # fmt: skip
    """Mutants on which some test fails. every_test: run all that cover a mutant, not a few of them; one fault each then.

    single: one fault each in any case. numbers: of tests that run on a mutant, one of which is drawn for each.
    """
    limits = Limits(baseline_seconds=1.0)  # a test that is slower is of no use here
    arguments = (*project.pytest_args, *_ignored(project, rng))
    with Runner(project.root, project.python, arguments, limits) as runner:
        run = _baseline(runner, seconds)
        tally.tests, tally.baseline_seconds = len(run.results), run.seconds
        cpu = {result.nodeid: result.seconds for result in run.results}
        usable = [test for test in runner.plain_tests() if cpu[test] <= _SLOWEST]
        targets = _targets(project, run, set(usable))
        rng.shuffle(targets)
        tally.units = len(targets)
        began = time.monotonic()
        bound = min(_MOST, max(_LEAST, 10 * max((cpu[test] for test in usable), default=0.0)))
        single = single or every_test or held_out(project.package)

        def trials() -> Iterator[tuple[Trial, dict[str, bytes], list[str]]]:
            for target in targets:
                for trial in _break(target, per_unit, single, rng):
                    if seconds and time.monotonic() - began > seconds:
                        return
                    number = _EVERY if every_test else rng.choice(numbers)
                    some = set(rng.sample(target.tests, min(len(target.tests), number)))
                    chosen = [test for test in target.tests if test in some]
                    yield trial, {target.path: trial.data}, chosen

        for trial, ran in runner.traced(trials(), bound):
            tally.seconds = time.monotonic() - began
            if ran is None:
                tally.inexact += 1
                continue
            tally.tried += 1
            if ran.failing:
                yield Killed(trial, ran, targets, run, runner)


def _ignored(project: Project, rng: random.Random) -> list[str]:
    """Options that leave out test files: those that do not collect, beside which code cannot be exchanged in memory, and,
    where there are more than MOST_TESTS tests, some by chance."""
    with Runner(project.root, project.python, project.pytest_args) as runner:
        left_out = {error.collecting for error in runner.collection_errors}
        sizes = Counter(test.partition("::")[0] for test in runner.collected)
    kept = 0
    for name in rng.sample(sorted(sizes), len(sizes)):
        kept += sizes[name]
        if kept > MOST_TESTS and kept > sizes[name]:
            kept -= sizes[name]
            left_out.add(name)
    return [f"--ignore={project.root / name}" for name in sorted(left_out)]


def _baseline(runner: Runner, seconds: float) -> SuiteRun:
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if seconds and time.monotonic() - began > seconds:
            raise _OutOfTime(f"{done} of {total} tests ran in {seconds:.0f} s")

    try:
        run = runner.baseline(progress)
    except _OutOfTime as late:
        raise RunnerError(
            f"the suite is slow: {late}", "give more --seconds, or name fewer tests after --"
        ) from None
    if not run.results:
        raise RunnerError("pytest collected no tests", "name the tests after --")
    return run


def _targets(project: Project, run: SuiteRun, usable: set[str]) -> list[Target]:
    """Functions that usable tests cover, without what may not be trained on."""
    sources, blocklist = locate.Sources(project.root), Blocklist.load()
    covering: dict[str, dict[str, set[int]]] = {}
    for test, files in run.spectrum.lines.items():
        if test in usable:
            for path, lines in files.items():
                covering.setdefault(path, {})[test] = set(lines)
    found: list[Target] = []
    for path in sorted(covering):
        if is_excluded(Path(path)) is not None or is_test_path(Path(path)):
            continue
        file = sources.get(path)
        if file is None or file.module.has_error:
            continue
        module = file.module
        if is_excluded_text(module.source) is not None:
            continue
        surroundings = Surroundings(module)
        for unit in module.units:
            target = _target(path, module, unit, surroundings, covering[path])
            if target is None:
                continue
            name = unit.name.rpartition(".")[2]
            texts = [leaf.text for leaf in target.alone.leaves]
            if blocklist.matches(texts, name) is None:
                found.append(target)
    return found


def _target(
    path: str, module: Module, unit: Unit, surroundings: Surroundings, covering: dict[str, set[int]]
) -> Target | None:
    if unit.kind != "function" or not MIN_LEAVES <= unit.end - unit.start <= MAX_LEAVES:
        return None
    inside = range(unit.first_line, unit.last_line + 1)
    tests = tuple(test for test, lines in covering.items() if not lines.isdisjoint(inside))
    if not tests:
        return None
    text = unit_text(module, unit)
    try:
        alone = Module(text.encode())
    except SourceError:
        return None
    mine = [leaf.text for leaf in module.leaves[unit.start : unit.end]]
    if [leaf.text for leaf in alone.leaves] != mine or not alone.units:
        return None
    own = unit.name.rpartition(".")[2]
    names = reach_of(text, [name for name in surroundings.bound if name != own])
    return Target(path, unit, module, alone, names, surroundings.near(unit), tests)


def suspect_of(mutant: Killed) -> locate.Suspect | None:
    """The broken unit in its file; None where it is no longer one unit there with the fix's coordinates."""
    trial = mutant.trial
    try:
        module = Module(trial.data)
    except SourceError:
        return None
    texts = [leaf.text for leaf in trial.broken.module.leaves]
    for unit in module.units:
        if unit.start == trial.target.unit.start:
            if [leaf.text for leaf in module.leaves[unit.start : unit.end]] != texts:
                return None
            return locate.Suspect(locate.SourceFile(trial.target.path, module), unit, {}, 1.0)
    return None


def _break(target: Target, per_unit: int, single: bool, rng: random.Random) -> Iterator[Trial]:
    """Distinct mutants of a unit."""
    known: set[bytes] = set()
    for _ in range(2 * per_unit):
        if len(known) == per_unit:
            return
        several = not single and rng.random() < _MULTIPLE
        broken = break_function(
            target.alone, rng.choice((2, 3)) if several else 1, rng, WEIGHTS, target.names
        )
        if broken is None or broken.module.source in known:
            continue
        data = target.file.source
        try:
            for edit in reversed(broken.edits):
                offset = target.unit.start
                moved = Edit(edit.start + offset, edit.end + offset, edit.tokens)
                data = splice(target.file, moved).apply(data)
        except EditError:
            continue
        known.add(broken.module.source)
        longer = data.count(b"\n") - target.file.source.count(b"\n")
        if longer == broken.module.source.count(b"\n") - target.alone.source.count(b"\n"):
            yield Trial(target, broken, data, longer)


def _hopeless(run: SuiteRun) -> bool:
    """Whether every test fails, with an exception of the code's own: any line finds such a fault."""
    if len(run.failing) < len(run.results) or not run.failures:
        return False
    return all(failure.exception != "AssertionError" for failure in run.failures)


def _seen(project: Project, trial: Trial, run: SuiteRun, tried: dict[int, int]) -> Mutant | None:
    """The mutant as `fix` would see it; None where no failing test entered it."""
    target = trial.target
    first = target.unit.first_line
    last = target.unit.last_line + trial.lines
    broken = trial.broken
    source = broken.module.source.decode()
    return _record(
        project, target, first, last, run, source=source, fixes=broken.fixes, operators=broken.operators, tried=tried
    )  # fmt: skip


def _innocent(
    project: Project, trial: Trial, run: SuiteRun, targets: Sequence[Target], rng: random.Random
) -> Mutant | None:
    """Another unit that the failing tests ran, in which nothing is wrong."""
    guilty = trial.target
    ran: dict[str, set[int]] = {}
    for test in run.failing:
        for path, lines in run.spectrum.lines_of(test).items():
            ran.setdefault(path, set()).update(lines)
    others = [
        target
        for target in targets
        if target.path in ran
        and (target.path != guilty.path or target.unit.last_line < guilty.unit.first_line)
        and not ran[target.path].isdisjoint(
            range(target.unit.first_line + 1, target.unit.last_line + 1)
        )
    ]
    if not others:
        return None
    other = rng.choice(others)
    return _record(
        project, other, other.unit.first_line, other.unit.last_line, run,
        source=other.alone.source.decode(), fixes=(), operators=("none",), tried={},
    )  # fmt: skip


def _record(
    project: Project, target: Target, first: int, last: int, run: SuiteRun, *, source: str, fixes: tuple[Edit, ...],
    operators: tuple[str, ...], tried: dict[int, int],
) -> Mutant | None:  # fmt: skip
    seen = locate.seen_of(target.path, first, last, run)
    if seen is None:
        return None
    text = locate.failure_text(locate.failure_at(target.path, first, last, run))
    return Mutant(
        project.package, project.licence, f"{target.path}:{target.unit.name}", source, fixes, operators,
        target.near, _moved(replace(seen, evidence=tried), first - 1), text or FailureText(),
    )  # fmt: skip


def _moved(seen: Execution, lines: int) -> Execution:
    """With line numbers that count from the unit's first line."""

    def less(table: dict[int, int]) -> dict[int, int]:
        return {line - lines: count for line, count in table.items()}

    return replace(
        seen, cover_fail=less(seen.cover_fail), cover_pass=less(seen.cover_pass), frames=less(dict(seen.frames)),
        evidence=less(dict(seen.evidence)),
    )  # fmt: skip
