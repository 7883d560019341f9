"""Where to look: suspect units from the spectrum and the failures, and what the model is told about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from tools.source.leaves import NEWLINE, Module, SourceError, Unit
from tools.source.parts import parts_of
from tools.verdicts import Failure, Outcome, SuiteRun
from tools.workspace import is_test_name

if TYPE_CHECKING:
    from trm.encode import Execution, FailureText

_UNCOVERED = 0.02  # suspicion of a line that no failing test is known to have run
_MOST = 0.75  # of the suspicion of an interval, which a cut keeps where it can
_CARRIED = 0.7  # a line without a trace of its own (continuations, `else:`) takes this share of its neighbour's


@dataclass(frozen=True)
class SourceFile:
    """A file that may be repaired: never a test, a conftest or pytest's configuration."""

    path: str  # relative to the root, POSIX
    module: Module


@dataclass(frozen=True)
class Suspect:
    """A unit under suspicion, or a part of it. scores: line -> suspicion in (0, 1], for every line of the unit.

    part: first leaf, and the one after the last, of what is read of a unit that is too long to be read at once, see `parts`.
    """

    file: SourceFile
    unit: Unit
    scores: Mapping[int, float]
    prior: float
    part: tuple[int, int] | None = None

    @property
    def start(self) -> int:
        """The first leaf of what is read."""
        return self.part[0] if self.part else self.unit.start

    @property
    def end(self) -> int:
        """The leaf after the last of what is read."""
        return self.part[1] if self.part else self.unit.end

    @property
    def name(self) -> str:
        """ "path::unit"."""
        return f"{self.file.path}::{self.unit.name}"

    def line_of(self, leaf: int) -> int:
        """The line whose suspicion an edit at `leaf` has: of two neighbours the likelier."""
        leaves = self.file.module.leaves
        here = leaves[min(leaf, len(leaves) - 1)].line
        before = leaves[max(0, leaf - 1)].line
        return max(here, before, key=lambda line: self.scores.get(line, 0.0))


@dataclass
class Sources:
    """Files below the root, parsed once."""

    root: Path
    files: dict[str, SourceFile | None] = field(default_factory=dict)

    def get(self, path: str) -> SourceFile | None:
        """The file, or None if it must not or cannot be repaired."""
        if path not in self.files:
            self.files[path] = self._load(path)
        return self.files[path]

    def _load(self, path: str) -> SourceFile | None:
        full = self.root / path
        parts = Path(path).parts
        if is_test_name(parts[-1]) or parts[-1] == "conftest.py" or not path.endswith(".py"):
            return None
        if {"tests", "test", "site-packages", ".venv", "venv"} & set(parts[:-1]):
            return None
        try:
            resolved = full.resolve()
            if not resolved.is_relative_to(self.root.resolve()):
                return None
            return SourceFile(path, Module(full.read_bytes()))
        except (OSError, SourceError):
            return None


def suspects(run: SuiteRun, sources: Sources) -> list[Suspect]:
    """Units ranked by the suspicion of their most suspect line.

    The spectrum gives Ochiai; lines in the failures' own frames get a floor; statements outside functions, which
    ran at import and so are in no test's trace, get a small prior where their file is involved.
    """
    scores: dict[str, dict[int, float]] = {}
    for (path, line), score in run.spectrum.ochiai().items():
        scores.setdefault(path, {})[line] = score
    for failure in run.failures:
        for frame in failure.frames:
            lines = scores.setdefault(frame.path, {})
            lines[frame.line] = max(lines.get(frame.line, 0.0), 0.5)
    for error in run.collection_errors:
        if error.path:
            lines = scores.setdefault(error.path, {})
            lines[error.line or 1] = 1.0
    found: list[Suspect] = []
    for path, lines in scores.items():
        file = sources.get(path)
        if file is None:
            continue
        for unit in file.module.units:
            inside = {
                line: lines[line]
                for line in range(unit.first_line, unit.last_line + 1)
                if lines.get(line)
            }
            if unit.kind == "function" and not inside:
                continue
            spread = _spread(inside, unit)
            prior = max(spread.values(), default=0.0)
            if unit.kind == "statements" and not inside:
                # constants, class attributes and defaults: possible, seldom
                prior = 0.1 * max(lines.values())
                spread = dict.fromkeys(range(unit.first_line, unit.last_line + 1), prior)
            found.append(Suspect(file, unit, spread, prior))
    found.sort(key=lambda s: (-s.prior, s.unit.kind != "function", s.unit.end - s.unit.start))
    return found


def _spread(inside: Mapping[int, float], unit: Unit) -> dict[int, float]:
    spread: dict[int, float] = {}
    last = max(inside.values(), default=0.0) * 0.5
    for line in range(unit.first_line, unit.last_line + 1):
        if line in inside:
            last = inside[line]
            spread[line] = max(_UNCOVERED, last)
        else:
            spread[line] = max(_UNCOVERED, last * _CARRIED)
    return spread


def parts(suspect: Suspect) -> list[Suspect]:
    """The unit in parts that can be read, itself if it is short. A part is as suspect as its most suspect line."""
    module, unit = suspect.file.module, suspect.unit
    found = parts_of(module, unit)
    if len(found) == 1:
        return [suspect]
    return [
        replace(suspect, part=part, prior=max(
            suspect.scores.get(leaf.line, 0.0) for leaf in module.leaves[part[0] : part[1]]
        ))
        for part in found
    ]  # fmt: skip


def causes(run: SuiteRun, failing: Sequence[str]) -> list[list[str]]:
    """The failing tests by what seems to be the matter: the exception and where the project's own code raised it.

    Groups with few tests come first: what fails everywhere alike is the machine more often than the code. Tests that were cut
    come last: they may only be slow, and each candidate takes long in them.
    """
    known = {failure.nodeid: failure for failure in run.failures}
    groups: dict[tuple[str, str, str], list[str]] = {}
    for test in failing:
        failure = known.get(test)
        frame = failure.frames[-1] if failure and failure.frames else None
        # a doctest fails in no function of the project's: each is a cause of its own
        elsewhere = test.partition("::")[0], test if failure else ""
        path, name = (frame.path, frame.function) if frame else elsewhere
        groups.setdefault((failure.exception if failure else "", path, name), []).append(test)
    cut = {r.nodeid for r in run.results if r.outcome is Outcome.TIMEOUT}
    return sorted(groups.values(), key=lambda tests: (not cut.isdisjoint(tests), len(tests)))


def one_edit_may_do(run: SuiteRun, failing: Sequence[str], sources: Sources) -> bool:
    """Whether there is a line that may be repaired and that every failing test ran: one edit repairs all only there.

    A test that was cut before its lines were known says nothing.
    """
    traces = [ran for test in failing if (ran := run.spectrum.lines_of(test))]
    paths = [path for path in (traces[0] if traces else ()) if sources.get(path)]
    return not traces or any(
        set.intersection(*(set(ran.get(path, ())) for ran in traces)) for path in paths
    )


def only(run: SuiteRun, failing: Sequence[str]) -> SuiteRun:
    """The run as if no other test than `failing` had failed: the others that fail say nothing."""
    others = set(run.failing) - set(failing)
    lines = {test: ran for test, ran in run.spectrum.lines.items() if test not in others}
    return replace(
        run,
        results=[result for result in run.results if result.nodeid not in others],
        failures=[failure for failure in run.failures if failure.nodeid not in others],
        spectrum=replace(run.spectrum, lines=lines, failed=set(failing)),
    )


def changed_lines(files: Mapping[str, tuple[bytes, bytes]]) -> dict[str, set[int]]:
    """path -> lines, before a patch, of the logical lines that it changes, or between which it inserts.

    files: path -> (bytes before, bytes after). What is no function ran once, when it was imported, for all tests: all its lines.
    """
    changed: dict[str, set[int]] = {}
    for path, (old, new) in files.items():
        module = Module(old)
        spans = _logical_lines(module)
        lines = changed.setdefault(path, set())
        match = SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
        for tag, first, last, _, _ in match.get_opcodes():
            if tag == "equal":
                continue
            touched = [span for span in spans if span[0] <= last and span[1] > first]
            if tag == "insert":
                touched += [span for span in spans if span[0] <= first][-1:]
                touched += [span for span in spans if span[0] > first][:1]
            for begin, end in touched:
                lines.update(range(begin, end + 1))
        for unit in module.units:
            whole = range(unit.first_line, unit.last_line + 1)
            if unit.kind != "function" and not lines.isdisjoint(whole):
                lines.update(whole)
    return changed


def _logical_lines(module: Module) -> list[tuple[int, int]]:
    """First and last line of each: of a simple statement, or of the head of a compound one."""
    found: list[tuple[int, int]] = []
    first = 0
    for leaf in module.leaves:
        if leaf.kind == NEWLINE:
            found.append((first or leaf.line, leaf.line))
            first = 0
        elif not leaf.is_layout:
            first = first or leaf.line
    return found


def execution_of(suspect: Suspect, run: SuiteRun) -> Execution | None:
    """The execution features of a unit's lines: counts of the tests that entered it; None if no failing one did."""
    from trm.encode import carry_to_continuations

    unit = suspect.unit
    seen = seen_of(suspect.file.path, unit.first_line, unit.last_line, run)
    if seen is not None:
        leaves = suspect.file.module.leaves[unit.start : unit.end]
        carry_to_continuations(leaves, seen.cover_fail, seen.cover_pass)
    return seen


def seen_of(path: str, first: int, last: int, run: SuiteRun) -> Execution | None:
    """`execution_of` for lines `first` to `last` of a file, before what continues a line takes that line's counts."""
    from trm.encode import Execution, type_of_repr

    failing = set(run.failing)
    touched_fail = touched_pass = 0
    cover_fail: dict[int, int] = {}
    cover_pass: dict[int, int] = {}
    for test in run.spectrum.tests_of(path):
        lines = [n for n in run.spectrum.lines_of(test).get(path, ()) if first <= n <= last]
        if not lines:
            continue
        failed = test in failing
        touched_fail, touched_pass = touched_fail + failed, touched_pass + (not failed)
        table = cover_fail if failed else cover_pass
        for line in lines:
            table[line] = table.get(line, 0) + 1
    if not touched_fail:
        return None
    frames: dict[int, int] = {}
    values: dict[str, tuple[str, str]] = {}
    told = failure_at(path, first, last, run)
    for failure in run.failures:
        for depth, frame in enumerate(failure.frames):
            if frame.path == path and first <= frame.line <= last:
                deepest = depth == len(failure.frames) - 1
                frames[frame.line] = max(frames.get(frame.line, 0), 2 if deepest else 1)
                if failure is told:
                    values.update({k: (type_of_repr(v), v) for k, v in frame.names.items()})
    return Execution(touched_fail, touched_pass, cover_fail, cover_pass, frames, values, {},
                     (told.actual or "") if told else "", (told.expected or "") if told else "")  # fmt: skip


def failure_of(suspect: Suspect, run: SuiteRun) -> Failure | None:
    """The first failure whose test ran what is read of the unit, else the first of all."""
    leaves = suspect.file.module.leaves
    first, last = leaves[suspect.start].line, leaves[suspect.end - 1].line
    return failure_at(suspect.file.path, first, last, run)


def failure_at(path: str, first: int, last: int, run: SuiteRun) -> Failure | None:
    """The first failure whose test ran one of the lines `first` to `last` of a file, else the first of all."""
    for failure in run.failures:
        lines = run.spectrum.lines_of(failure.nodeid).get(path, ())
        if any(first <= line <= last for line in lines):
            return failure
    return run.failures[0] if run.failures else None


def failure_text(failure: Failure | None) -> FailureText | None:
    """The failure as the model reads it (trm.encode.FailureText), None without one."""
    from trm.encode import FailureText

    if failure is None:
        return None
    said = failure.exception
    # what pytest adds to a failed assertion is in the values already
    if failure.message and failure.exception != "AssertionError":
        said = f"{failure.exception}: {failure.message.splitlines()[0]}"
    return FailureText(failure.test_line, failure.actual or "", failure.expected or "", said)


def halve(
    mass: Sequence[float], least: float = 0.5
) -> Iterator[tuple[int, int, float, int, float]]:
    """Bisection of suspicion: yields (first, last, mass, bit, margin) of each interval kept.

    The heavier side is kept, bit 1 for the right one; margin is the difference of the sides' shares. Of the cuts that keep
    _MOST of the suspicion the one that drops the longest side is made, else the clearest. It ends at a single element, or before
    the kept side would hold less than `least` of all suspicion.
    """
    total = math.fsum(mass)
    first, last = 0, len(mass) - 1
    while first < last and total > 0:
        inside = math.fsum(mass[first : last + 1])
        cuts: list[tuple[bool, float, int, int, float]] = []  # the best one is the largest
        running = 0.0
        for index in range(first, last):
            running += mass[index]
            kept, bit = max((running, 0), (inside - running, 1))
            if kept >= least * total:
                most = kept >= _MOST * inside
                dropped = index + 1 - first if bit else last - index
                cuts.append((most, dropped if most else kept, -index, bit, kept))
        if not cuts:
            return
        _, _, negative, bit, kept = max(cuts)
        first, last = (1 - negative, last) if bit else (first, -negative)
        yield first, last, kept / total, bit, (2 * kept - inside) / max(inside, 1e-9)


def ranked_lines(found: Sequence[Suspect], limit: int = 5) -> tuple[str, ...]:
    """ "path:line: text" of the most suspect lines, for the report of a search that found nothing."""
    rows = []
    for suspect in found[:20]:
        text = suspect.file.module.source.decode("utf-8", "replace").splitlines()
        for line, score in suspect.scores.items():
            if 0 < line <= len(text) and text[line - 1].strip():
                rows.append((-score, suspect.file.path, line, text[line - 1].strip()))
    rows.sort()
    return tuple(f"{path}:{line}: {text}" for _, path, line, text in rows[:limit])
