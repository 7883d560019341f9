"""Edits that the failures and the latest changes suggest, in one stream: agent.values, .wording, .guards, .raised and .recent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent import guards, raised, recent, values, wording
from agent.candidates import Candidate, Unit, valid
from agent.locate import Suspect
from agent.propose import biases
from tools.source.edits import Edit
from tools.source.operators.view import Change, view_of
from tools.verdicts import SuiteRun

_UNITS, _CHANGED = 5, 60  # suspects in which failures are looked at, and changes
_LEAST = 0.3  # suspicion of a line against the unit's most suspect one


class HintStream:
    """The edits that the failures of a run and recent changes suggest, likeliest first; scores are log-probabilities, about."""

    def __init__(
        self, run: SuiteRun, root: Path, found: Sequence[Suspect], changes: recent.Recent
    ) -> None:
        self._run, self._root, self._found = run, root, found[:_CHANGED]
        self._recent = changes
        pairs = values.compared(run)
        self._ideas = values.ideas(pairs)
        self._pairs = [*pairs, *itertools.chain(*(values.parts(*pair) for pair in pairs))]
        self._lost = any(f.operator == "==" and f.actual == "None" != f.expected for f in run.failures)  # fmt: skip

    @property
    def bound(self) -> float:
        """What no candidate's score exceeds."""
        least = guards.DOUBT, raised.DOUBT, recent.DOUBT, values.RETURN, wording.DOUBT
        return -min(*least, *(doubt for _, doubt in self._ideas))

    def steps(self) -> Iterator[Candidate]:
        """The candidates."""
        self._recent.look({suspect.file.path: suspect.file for suspect in self._found}.values())
        made: dict[tuple[str, Edit], Candidate] = {}
        for rank, (suspect, bias) in enumerate(zip(self._found, biases(self._found), strict=True)):
            for candidate in self._of(suspect, bias, rank < _UNITS):
                place = suspect.file.path, candidate.edit
                if place not in made or made[place].score < candidate.score:
                    made[place] = candidate
        order = sorted(made.values(), key=lambda candidate: -candidate.score)
        return (candidate for candidate in order if valid(candidate))

    def _of(self, suspect: Suspect, bias: float, likely: bool) -> Iterator[Candidate]:
        unit = Unit(suspect, (), ())
        most = max(suspect.scores.values(), default=1.0)
        base = suspect.unit.start
        of_failures = self._of_failures(suspect) if likely else ()
        # a lost line's place may be one that did not run: no line is ruled out where something changed
        of_changes = self._recent.taken_back(suspect)
        for least, changes in ((_LEAST, of_failures), (0.0, of_changes)):
            for (start, end, tokens), name, doubt in changes:
                share = unit.suspicion(start - base) / most
                key = unit.canonical(start - base, end - base, tokens) if share >= least else None
                if key is not None:
                    yield unit.candidate(key, name, 0, bias + math.log(max(share, _LEAST)) - doubt)

    def _of_failures(self, suspect: Suspect) -> Iterator[tuple[Change, str, float]]:
        view = view_of(suspect.file.module, suspect.unit)
        return itertools.chain(
            values.changes(view, self._ideas),
            values.returns(view) if self._lost else (),
            wording.wordings(view, self._pairs),
            guards.guards(self._run, self._root, suspect, view),
            raised.raised(self._run, suspect, view),
        )
