"""Candidate edits of suspects: what operators enumerate, tier by tier (the controls), what exceptions suggest, what is put off.

`ochiai` orders by tier, then suspicion, then place (the control of edits.md); `random` by tier, then chance.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.locate import Suspect
from agent.suggest import Suggestion
from tools.source.edits import Edit, EditError, apply_edit, parses
from tools.source.leaves import DEDENT, NEWLINE
from tools.source.operators import Scope, canonical, raw_changes

TIERS = (1, 2, 3, 4)
_HINTS_BEFORE = {1: -3.5, 3: -6.5}  # tier -> score of the hints that come before it
DOUBT = 2.0  # nats
LOOKED_AT = 3.0  # nats
_LINE_IN_VAIN = 2  # edits of a line that left the failure as it was, where none changed it
_UNIT_IN_VAIN = 5  # the same of a unit
Key = tuple[int, int, tuple[str, ...]]  # start, end and tokens in the leaves of a unit


@dataclass(frozen=True)
class Candidate:
    """An edit of a file with where it came from. `score` orders the stream, higher first."""

    suspect: Suspect
    edit: Edit  # leaf indices of the file
    operator: str
    tier: int
    score: float
    line: int

    @property
    def path(self) -> str:
        """The file, relative to the root."""
        return self.suspect.file.path

    def source(self) -> bytes:
        """The whole file after the edit."""
        return apply_edit(self.suspect.file.module, self.edit)

    @property
    def before(self) -> str:
        """The replaced tokens."""
        leaves = self.suspect.file.module.leaves
        return " ".join(leaf.text for leaf in leaves[self.edit.start : self.edit.end])

    @property
    def size(self) -> int:
        """Tokens that are replaced or written, whichever are more: an operator for another is as small as a further sign."""
        return max(self.edit.end - self.edit.start, len(self.edit.tokens))

    @property
    def after(self) -> str:
        """The written tokens."""
        return " ".join(self.edit.tokens)


def valid(candidate: Candidate) -> bool:
    """Whether the unit still parses: what does not is never run, nor a statement before a docstring, which then is none."""
    suspect, edit = candidate.suspect, candidate.edit
    leaves = suspect.file.module.leaves
    writes_statement = edit.tokens and edit.tokens[-1] in (NEWLINE, DEDENT)
    if writes_statement and edit.start == edit.end < len(leaves) and leaves[edit.start].is_text:
        return False
    try:
        return parses(suspect.file.module, suspect.unit, edit)
    except EditError:
        return False


class Unit:
    """A suspect's candidates in canonical form, without duplicates; of a part those that lie within it."""

    def __init__(self, suspect: Suspect, literals: Sequence[str], names: Sequence[str]) -> None:
        self.suspect = suspect
        module, unit = suspect.file.module, suspect.unit
        self.texts = [leaf.text for leaf in module.leaves[suspect.start : suspect.end]]
        self.scope = Scope.of(
            module, unit, extra_literals=tuple(literals), extra_names=tuple(names)
        )
        self.seen: set[Key] = set()

    def canonical(self, start: int, end: int, tokens: tuple[str, ...]) -> Key | None:
        """A change of the unit's leaves in canonical form; None for a no-op, or what is not within the unit."""
        if start < 0 or end > len(self.texts):
            return None
        if tokens and start < end and self.texts[start] != tokens[0]:
            return start, end, tokens  # nothing to shift, as in most cases
        key = canonical(self.texts, Edit(start, end, tokens))
        return None if key[0] == key[1] and not key[2] else key

    def candidate(
        self, key: tuple[int, int, tuple[str, ...]], operator: str, tier: int, score: float
    ) -> Candidate:
        base = self.suspect.start
        edit = Edit(key[0] + base, key[1] + base, key[2], self.suspect.file.path)
        return Candidate(
            self.suspect, edit, operator, tier, score, self.suspect.line_of(edit.start)
        )

    def suspicion(self, start: int) -> float:
        """Suspicion of the line at unit leaf `start`."""
        suspect = self.suspect
        return suspect.scores.get(suspect.line_of(suspect.start + start), 0.02)

    def enumerated(
        self, tiers: Sequence[int]
    ) -> Iterator[tuple[tuple[int, int, tuple[str, ...]], str, int]]:
        suspect = self.suspect
        base = suspect.start
        within = None if suspect.part is None else range(*suspect.part)
        changes = raw_changes(suspect.file.module, suspect.unit, self.scope, tiers, within)
        for found, (start, end, tokens) in changes:
            key = self.canonical(start - base, end - base, tokens)
            if key is not None and key not in self.seen:
                self.seen.add(key)
                yield key, found.name, found.tier


def by_tier(
    found: Sequence[Suspect],
    rank: str,
    seed: int,
    literals: Sequence[str] = (),
    names: Sequence[str] = (),
    hints: Iterable[Candidate] = (),
) -> Iterator[Candidate]:
    """The controls: tier by tier over all suspects, by suspicion (`ochiai`) or by chance (`random`).

    hints: what the failures suggest (agent.hints), likeliest first; they come between the tiers.
    """
    rng, hint = random.Random(seed), iter(hints)
    coming = next(hint, None)
    units = [Unit(suspect, literals, names) for suspect in found]
    for tier in TIERS:
        while coming is not None and coming.score >= _HINTS_BEFORE.get(tier, 0.0):
            yield coming
            coming = next(hint, None)
        rows: list[tuple[tuple[float, ...], int, Key, str, Unit]] = []
        for order, unit in enumerate(units):
            for key, operator, _ in unit.enumerated((tier,)):
                weight = rng.random() if rank == "random" else -unit.suspicion(key[0])
                rows.append(((weight, order, key[0]), len(rows), key, operator, unit))
        rows.sort(key=lambda row: row[:2])
        for (weight, *_), _, key, operator, unit in rows:
            candidate = unit.candidate(key, operator, tier, -weight)
            if valid(candidate):
                yield candidate
    if coming is not None:
        yield coming
        yield from hint


class CostAware:
    """A stream that puts off what turned out to be slow to validate, or to be of no matter.

    A candidate that has the project imported anew (its unit ran during import, say, or it changes a class body) costs some fifty
    times as much: it waits until the others' scores have fallen by `penalty` nats. And where every edit of a line, or of a
    unit, left the failure as it was, that code has little to do with it (mutation-based fault localization: Papadakis and
    Le Traon, STVR 2015): further ones wait until the others' scores have fallen by DOUBT.
    """

    def __init__(self, candidates: Iterable[Candidate] = (), penalty: float = 3.0) -> None:
        self._candidates, self._penalty = iter(candidates), penalty
        self._postponed: set[tuple[str, Edit]] = set()
        self._waiting: list[tuple[float, int, Candidate]] = []
        self._numbers = itertools.count()
        self._next: Candidate | None = None
        # a line or the lines of a unit -> edits that left the failure as it was; -inf after one that did not
        self._in_vain: dict[tuple[str, int | tuple[int, int]], float] = {}

    def follow(self, candidates: Iterator[Candidate]) -> None:
        """Go on with these, once those so far are used up; what waits goes on waiting."""
        self._candidates = candidates

    def answered(self, candidate: Candidate, same: bool) -> None:
        """It was judged. same: the failing test failed just as without it."""
        for place in _places(candidate):
            known = self._in_vain.get(place, 0)
            self._in_vain[place] = known + 1 if same else -math.inf

    def _doubt(self, candidate: Candidate) -> float:
        line, unit = (self._in_vain.get(place, 0) for place in _places(candidate))
        return DOUBT * ((line >= _LINE_IN_VAIN) + (unit >= _UNIT_IN_VAIN))

    def postpone(self, candidate: Candidate, in_vain: bool = False) -> None:
        """It is slow to validate: it comes once more, later. in_vain: a quick look has shown another failure."""
        self._postponed.add((candidate.path, candidate.edit))
        self._wait(candidate, self._penalty + in_vain * LOOKED_AT)

    def put_back(self, candidate: Candidate) -> None:
        """It was taken and is not decided on: it comes once more, in its place."""
        self._wait(candidate, 0.0)

    def _wait(self, candidate: Candidate, nats: float) -> None:
        """Until the others' scores have fallen by so much."""
        heapq.heappush(self._waiting, (nats - candidate.score, next(self._numbers), candidate))

    def was_postponed(self, candidate: Candidate) -> bool:
        """Whether it has waited already."""
        return (candidate.path, candidate.edit) in self._postponed

    @property
    def waits(self) -> bool:
        """Whether anything was postponed or put back and has not come since."""
        return bool(self._waiting)

    def __iter__(self) -> CostAware:
        return self

    def __next__(self) -> Candidate:
        while True:
            if self._next is None:
                self._next = next(self._candidates, None)
            candidate = self._next
            if self._waiting and (candidate is None or -self._waiting[0][0] >= candidate.score):
                return heapq.heappop(self._waiting)[2]
            if candidate is None:
                raise StopIteration
            self._next = None
            doubt = self._doubt(candidate)
            if not doubt:
                return candidate
            self._wait(candidate, doubt)


def _places(candidate: Candidate) -> tuple[tuple[str, int], tuple[str, tuple[int, int]]]:
    """The line and the unit, as the first run has them."""
    unit = candidate.suspect.unit
    return (candidate.path, candidate.line), (candidate.path, (unit.first_line, unit.last_line))


def suggested(suggestions: Sequence[Suggestion], found: Sequence[Suspect]) -> Iterator[Candidate]:
    """What the exceptions themselves suggest, before anything else."""
    for suggestion in suggestions:
        for suspect in found:
            inside = suspect.unit.start <= suggestion.edit.start <= suspect.unit.end
            if suspect.file.path == suggestion.edit.path and inside:
                candidate = Candidate(suspect, suggestion.edit, suggestion.operator, 0, 0.0,
                                      suspect.line_of(suggestion.edit.start))  # fmt: skip
                if valid(candidate):
                    yield candidate
                break
