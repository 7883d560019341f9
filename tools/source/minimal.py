"""The canonical form of an edit: equal results, equal edits."""

from __future__ import annotations

from collections.abc import Sequence


def minimal(before: Sequence[str], after: Sequence[str]) -> tuple[int, int, tuple[str, ...]] | None:
    """The single edit (start, end, tokens) from `before` to `after`: common prefix first, then common suffix.

    Every edit with the same result has the same canonical form, so that scores and duplicates compare. None if equal.
    """
    start = 0
    shortest = min(len(before), len(after))
    while start < shortest and before[start] == after[start]:
        start += 1
    if start == len(before) == len(after):
        return None
    tail = 0
    while tail < shortest - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return start, len(before) - tail, tuple(after[start : len(after) - tail])
