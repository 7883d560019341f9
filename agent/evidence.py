"""Evidence: what edits that were tried in vain show about the lines they changed.

Of a line it says how the failing test answered the edits there, as mutation-based fault localization asks (Metallaxis:
Papadakis and Le Traon, STVR 2015): a line whose edits leave the failure as it was has little to do with it. It is recorded
for mutants, from which the model learns to read it; `fix` does not read again with it (docs/decisions.md).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from agent.locate import Suspect
from agent.search import Tests
from tools.runner import Runner
from tools.source.edits import Edit, apply_edit, parses
from tools.source.operators import Scope, enumerate_edits
from tools.verdicts import Outcome, SuiteRun, TestResult, Verdict, said

# What came of the best edit of a line: codes of trm.encode.EVIDENCE.
BROKE = 1  # only other kinds of failure, hangs and crashes
SAME = 2  # the failure did not change
CHANGED = 3  # the same kind of failure, or a failed assertion, with another message
REPAIRED = 4  # the failing test passed, though something else did not


class Evidence:
    """What came of edits so far, by file and line. failing: the tests they were to repair, in the order of trying."""

    def __init__(self, run: SuiteRun, failing: Sequence[str]) -> None:
        self._first = failing[0]
        self._before = next((r for r in run.results if r.nodeid == self._first), None)
        self._lines: dict[str, dict[int, int]] = {}

    def note(self, path: str, line: int, verdict: Verdict) -> None:
        """Remember what came of an edit that does not repair everything."""
        lines = self._lines.setdefault(path, {})
        lines[line] = max(lines.get(line, 0), self._outcome(verdict))

    def _outcome(self, verdict: Verdict) -> int:
        if verdict.failing_test != self._first:
            return REPAIRED if verdict.failing_test is not None else BROKE
        return answered(self._before, verdict)

    def of(self, path: str, first: int, last: int) -> dict[int, int]:
        """line -> code, of lines `first` to `last` of a file."""
        lines = self._lines.get(path, {})
        return {line: code for line, code in sorted(lines.items()) if first <= line <= last}


def answered(before: TestResult | None, now: TestResult | Verdict) -> int:
    """How a test answered an edit, by what came of it without and with the edit."""
    if now.outcome is Outcome.PASSED:
        return SAME if before and before.outcome is Outcome.PASSED else REPAIRED
    if now.outcome not in (Outcome.FAILED, Outcome.ERROR):
        return BROKE
    then, told = said(before), said(now)
    if told == then:
        return SAME
    return CHANGED if told[0] in (then[0], "AssertionError") else BROKE


def searched(
    suspect: Suspect, names: Sequence[str], run: SuiteRun, runner: Runner, edits: int, rng: random.Random
) -> dict[int, int]:  # fmt: skip
    """What so many of the operators' edits of a unit show, on lines drawn by their suspicion; line of the file -> code.

    names: in reach, beside those of the unit. run: of the file as `suspect` has it.
    """
    path, module, unit = suspect.file.path, suspect.file.module, suspect.unit
    places: dict[int, list[Edit]] = {}
    for found in enumerate_edits(module, unit, Scope.of(module, unit, (), names), (1, 2)):
        places.setdefault(suspect.line_of(found.edit.start), []).append(found.edit)
    suspicion = run.spectrum.ochiai()
    weights = {line: suspicion.get((path, line), 0.0) for line in places}
    if not any(weights.values()):
        return {}
    candidates: dict[tuple[int, bytes], dict[str, bytes]] = {}
    for line in rng.choices(list(weights), list(weights.values()), k=edits):
        edit = rng.choice(places[line])
        if parses(module, unit, edit):
            source = apply_edit(module, edit)
            candidates.setdefault((line, source), {path: source})
    tests = Tests.of(run, run.failing)
    order = dict.fromkeys([*tests.failing, *tests.everything])
    evidence = Evidence(run, tests.failing)
    verdicts = runner.validate_many(candidates.items(), list(order), exact=lambda key: True)
    for (line, _), verdict in verdicts:
        if verdict.outcome not in (Outcome.PASSED, Outcome.POSTPONED):
            evidence.note(path, line, verdict)
    return evidence.of(path, unit.first_line, unit.last_line)
