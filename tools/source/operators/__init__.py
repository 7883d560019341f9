"""The edit operators: one home, two users. Repair enumerates them, training breaks correct code with them.

    for candidate in enumerate_edits(module, unit, Scope.of(module, unit)): ...
    candidate = sample_edit(module, unit, scope, random.Random(0))

Each operator carries (before, after) examples that are its tests.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from tools.source.edits import Edit
from tools.source.leaves import Module, Unit
from tools.source.operators import (
    calls,
    cases,
    conditions,
    copies,
    loans,
    names,
    patterns,
    statements,
    swaps,
    values,
    wide,
)
from tools.source.operators.base import REGISTRY, Candidate, Operator, canonical
from tools.source.operators.scope import Scope
from tools.source.operators.swaps import HABITS
from tools.source.operators.view import Change, Item, view_of

OPERATORS: tuple[Operator, ...] = tuple(REGISTRY)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(operator.family for operator in OPERATORS))
_TRIES = 4


def raw_changes(
    module: Module, unit: Unit, scope: Scope, tiers: Iterable[int], within: range | None = None
) -> Iterator[tuple[Operator, Change]]:
    """All changes of a unit by tier, then by place, then by operator; several may have the same result. None is a no-op.

    They are meant to parse, but not each does: `edits.parses` decides. within: leaves; what begins elsewhere is left out.
    """
    view = view_of(module, unit)
    for tier in sorted(tiers):
        places: list[tuple[int, int, int, Operator, Item]] = []
        for rank, operator in enumerate(OPERATORS):
            if operator.tier == tier:
                for anchor in operator.anchors:
                    for number, item in enumerate(view.all(anchor)):
                        if within is None or within.start <= item.start <= within.stop:
                            places.append((item.start, rank, number, operator, item))
        places.sort(key=lambda place: place[:3])
        for _, _, _, operator, item in places:
            for change in operator.changes(view, scope, item):
                yield operator, change


def enumerate_edits(
    module: Module, unit: Unit, scope: Scope, tiers: Iterable[int] = (1, 2, 3, 4)
) -> Iterator[Candidate]:
    """The edits of `raw_changes`, of which no two have the same result."""
    texts = view_of(module, unit).texts
    seen: set[tuple[int, int, tuple[str, ...]]] = set()
    for operator, change in raw_changes(module, unit, scope, tiers):
        edit = Edit(*change)
        key = canonical(texts, edit)
        if key not in seen:
            seen.add(key)
            yield Candidate(edit, operator.name, operator.family, operator.tier)


def sample_edit(
    module: Module, unit: Unit, scope: Scope, rng: random.Random,
    weights: Mapping[str, float] | None = None,
) -> Candidate | None:  # fmt: skip
    """One random edit of a unit: an operator by weight, one of the items it applies to, one of its edits there.

    weights: operator name -> weight (operators that are not named have none); None for all alike. Of an item's edits
    those that people have to take back are drawn more often (`HABITS`). Returns None when a few draws met operators that do
    not apply.
    """
    view = view_of(module, unit)
    usable = [
        operator for operator in OPERATORS if any(view.all(anchor) for anchor in operator.anchors)
    ]
    cumulative = list(accumulate(
        1.0 if weights is None else weights.get(operator.name, 0.0) for operator in usable
    ))  # fmt: skip
    if not cumulative or cumulative[-1] <= 0:
        return None
    for _ in range(_TRIES):
        operator = rng.choices(usable, cum_weights=cumulative)[0]
        sizes = [len(view.all(anchor)) for anchor in operator.anchors]
        total = sum(sizes)
        for _ in range(_TRIES):
            at = rng.randrange(total)
            for anchor, size in zip(operator.anchors, sizes, strict=True):
                if at < size:
                    edits = list(operator.changes(view, scope, view.all(anchor)[at]))
                    break
                at -= size
            if edits:
                (edit,) = rng.choices(edits, [_habit(view.texts, *each) for each in edits])
                return Candidate(Edit(*edit), operator.name, operator.family, operator.tier)
    return None


def _habit(texts: Sequence[str], start: int, end: int, tokens: tuple[str, ...]) -> float:
    return HABITS.get((texts[start], tokens[0]), 1.0) if end - start == len(tokens) == 1 else 1.0


__all__ = ["FAMILIES", "OPERATORS", "Candidate", "Operator", "Scope", "calls", "canonical", "cases", "conditions",
           "copies", "enumerate_edits", "loans", "names", "patterns", "raw_changes", "sample_edit", "statements", "swaps",
           "values", "wide"]  # fmt: skip
