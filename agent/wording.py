"""Literals that the failures correct: where '**a**' was given and '*a*' expected, the code's '**%s**' is to be '*%s*'.

What was given is aligned with what was expected. A piece of a literal, between its placeholders, that occurs in the one is
replaced by what stands in its place in the other.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tools.source import syntax
from tools.source.operators.view import Change, View

DOUBT = 1.5  # nats of the likeliest of them
_SHORT = 0.5  # nats that a piece of one or two signs loses: it may stand in many places
_EMPTY = 2.0  # nats that an empty literal loses
_ANSWER = 2.0  # nats that a number loses, or words that are all that was given: an answer written down, perhaps
_CHANGES = 8  # of a unit, the best
_LONGER = 12  # signs that a piece may gain
_TEXTS = 12  # comparisons that are aligned
_OCCURRENCES = 3  # of a piece in what was given
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]|\{[^{}]*\}")


def wordings(view: View, pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Change, str, float]]:
    """(change of the file's leaves, what it is, its doubt in nats) for the literals of a unit.

    pairs: (given, expected) of failed comparisons.
    """
    both = [pair for pair in pairs if all(isinstance(side, str) for side in pair)]
    texts = [Aligned(*pair) for pair in both[:_TEXTS]]
    seen: dict[tuple[int, str], set[int]] = {}
    doubts: dict[tuple[int, str], float] = {}
    for index in range(view.unit.start, view.unit.end):
        leaf = view.module.leaves[index]
        if leaf.kind in ("integer", "float"):
            made = [_numbers(leaf.text, pair) for pair in pairs]
        elif leaf.kind == "string":
            made = [_literals(leaf.text, aligned) for aligned in texts]
        elif leaf.kind == "string_content":
            made = [_contents(leaf.text, aligned) for aligned in texts]
        else:
            continue
        for number, (text, doubt) in ((n, each) for n, one in enumerate(made) for each in one):
            seen.setdefault((index, text), set()).add(number)
            doubts[index, text] = min(doubt, doubts.get((index, text), math.inf))
    for key, numbers in seen.items():
        doubts[key] -= math.log(min(1.0, len(numbers) / max(1, len(texts))))
    for index, text in sorted(doubts, key=lambda key: doubts[key])[:_CHANGES]:
        yield (index, index + 1, (text,)), text, doubts[index, text]


class Aligned:
    """Two texts, and what of the second stands in the place of a part of the first."""

    def __init__(self, given: str, wanted: str) -> None:
        self.given, self.wanted = given, wanted
        matcher = difflib.SequenceMatcher(None, given, wanted, False)
        self._codes = matcher.get_opcodes()

    def _at(self, place: int) -> set[int]:
        """Where in the second text a place between two signs of the first may be."""
        found: set[int] = set()
        for kind, i, j, k, m in self._codes:
            if kind == "equal" and i <= place <= j:
                found.add(k + place - i)
            if place == i:
                found.add(k)
            if place == j:
                found.add(m)
        return found

    def instead(self, piece: str) -> Iterator[str]:
        """What the second text has where the first has this piece, if it is another one."""
        start = self.given.find(piece)
        for _ in range(_OCCURRENCES):
            if start < 0:
                return
            for left, right in itertools.product(self._at(start), self._at(start + len(piece))):
                new = self.wanted[left:right]
                if left <= right and new != piece and len(new) <= len(piece) + _LONGER:
                    yield new
            start = self.given.find(piece, start + 1)

    def inserted(self) -> Iterator[str]:
        """What the second text has more."""
        for kind, _, _, k, m in self._codes:
            if kind == "insert" and m - k <= _LONGER:
                yield self.wanted[k:m]


def _rewritten(text: str, aligned: Aligned) -> Iterator[tuple[str, float]]:
    """The text with one of its pieces replaced, or all of them that can be."""
    if not text:
        yield from ((new, DOUBT + _EMPTY) for new in aligned.inserted())
        return
    ends = [0, *itertools.chain(*(m.span() for m in _PLACEHOLDER.finditer(text))), len(text)]
    pieces = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if a < b]
    first: dict[tuple[int, int], str] = {}
    for a, b in pieces:
        doubt = DOUBT + _SHORT * (b - a < 3)
        doubt += _ANSWER * (text[a:b] == aligned.given and any(map(str.isalnum, text)))
        for new in dict.fromkeys(aligned.instead(text[a:b])):
            first.setdefault((a, b), new)
            yield text[:a] + new + text[b:], doubt
    if len(first) > 1:
        parts, at = [], 0
        for (a, b), new in first.items():
            parts += [text[at:a], new]
            at = b
        yield "".join([*parts, text[at:]]), DOUBT


def _literals(literal: str, aligned: Aligned) -> Iterator[tuple[str, float]]:
    """A string literal's replacements, quoted as it is."""
    if literal[:1] not in "'\"" or literal.startswith(("'''", '"""')):
        return  # a prefix, or prose
    quote = literal[0]
    for new, doubt in _rewritten(syntax.literal(literal), aligned):
        # repr prefers single quotes, and escapes none of the other kind
        inner = repr(new + "'\"")[1:-4].replace("\\'", "'")
        yield quote + inner.replace(quote, "\\" + quote) + quote, doubt


def _contents(content: str, aligned: Aligned) -> Iterator[tuple[str, float]]:
    """Replacements of the plain part of an f-string."""
    for new, doubt in _rewritten(content, aligned):
        if new and new.isprintable() and not set(new) & set("{}\\'\""):
            yield new, doubt


def _numbers(literal: str, pair: tuple[Any, Any]) -> Iterator[tuple[str, float]]:
    """A number that was given as it stands in the code, by the one that was expected."""
    given, wanted = pair
    if (
        type(given) in (int, float)
        and type(wanted) in (int, float)
        and not wanted < 0
        and literal == repr(given)
    ):
        yield repr(wanted), DOUBT + _ANSWER
