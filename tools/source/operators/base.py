"""The operator: a named family of changes to a syntax item, with the examples that are its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tools.source.edits import Edit
from tools.source.leaves import Module, Unit
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, Tokens, View, view_of

Make = Callable[[View, Scope, Item], Iterator[Change]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An edit with where it comes from."""

    edit: Edit
    operator: str
    family: str
    tier: int


@dataclass(frozen=True, eq=False, slots=True)
class Operator:
    """One kind of edit.

    tiers 1..4 are enumerated by repair in that order; tier 5 is only sampled, to break correct code.
    `anchors` are the buckets of View whose items it changes; `examples` are (before, after) sources.
    """

    name: str
    family: str
    tier: int
    anchors: tuple[str, ...]
    make: Make
    examples: tuple[tuple[str, str], ...]

    def changes(self, view: View, scope: Scope, item: Item) -> Iterator[Change]:
        """The changes of one item, without those that change nothing."""
        texts = view.texts
        for start, end, tokens in self.make(view, scope, item):
            change = trimmed(texts, start, end, tokens)
            if change is not None:
                yield change

    def edits_at(self, module: Module, unit: Unit, scope: Scope, index: int) -> Iterator[Edit]:
        """All edits of the syntax items that start at leaf `index` (an edit itself may start a few leaves on)."""
        view = view_of(module, unit)
        for anchor in self.anchors:
            for item in view.at(anchor, index):
                for change in self.changes(view, scope, item):
                    yield Edit(*change)


REGISTRY: list[Operator] = []


def operator(
    name: str, family: str, tier: int, anchors: str, *examples: tuple[str, str]
) -> Callable[[Make], Make]:
    """Register a generator of changes as an operator. `anchors` are separated by blanks."""

    def register(make: Make) -> Make:
        REGISTRY.append(Operator(name, family, tier, tuple(anchors.split()), make, examples))
        return make

    return register


def trimmed(texts: list[str], start: int, end: int, tokens: Tokens) -> Change | None:
    """The change without the tokens that it shares with the span at either side; None if nothing is left."""
    first, last = 0, len(tokens)
    while first < last and start < end and texts[start] == tokens[first]:
        start += 1
        first += 1
    while last > first and end > start and texts[end - 1] == tokens[last - 1]:
        end -= 1
        last -= 1
    if start == end and first == last:
        return None
    return start, end, tokens[first:last]


def canonical(texts: list[str], edit: Edit) -> Change:
    """The same result written in one way: the longest common prefix, then the longest common suffix."""
    start, end, tokens = edit.start, edit.end, edit.tokens
    removed, added = end - start, len(tokens)
    size = len(texts)
    shift = 0
    while start + shift < size:
        old = texts[start + shift]
        if shift < added:
            new = tokens[shift]
        elif end + shift - added < size:
            new = texts[end + shift - added]
        else:
            break
        if old != new:
            break
        shift += 1
    if shift == 0:
        return start, end, tokens
    grown = tuple(texts[end : end + max(0, shift - added, shift - removed)])
    whole = tokens + grown
    begin = start + shift
    stop = end + len(grown)
    rest = whole[shift:]
    last = len(rest)
    while last and stop > begin and texts[stop - 1] == rest[last - 1]:
        last -= 1
        stop -= 1
    return begin, stop, rest[:last]
