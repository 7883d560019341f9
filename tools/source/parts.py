"""Parts of a unit that is too long to be read at once: runs of whole lines that overlap, each after the function's header."""

from __future__ import annotations

from tools.source.leaves import INDENT, Module, Unit

LONGEST = 430  # leaves that are read at once, so that context fits too
_PART = 220  # leaves of a part of a longer one: training has seen few that are longer
_OVERLAP = 60  # leaves that two parts share, at most
_HEADER = 60  # leaves of a header that is shown before a part, at most


def parts_of(module: Module, unit: Unit) -> list[tuple[int, int]]:
    """(first leaf, leaf after the last) of each part; the whole unit where it can be read at once."""
    leaves = module.leaves
    if unit.end - unit.start <= LONGEST:
        return [(unit.start, unit.end)]
    lines = [
        at for at in range(unit.start + 1, unit.end)
        if leaves[at - 1].is_layout and not leaves[at].is_layout
    ]  # fmt: skip
    found: list[tuple[int, int]] = []
    begin = end = unit.start
    while end < unit.end:
        furthest = begin + _PART
        ends = [at for at in lines if max(begin + _PART // 2, end) < at <= furthest]
        end = unit.end if unit.end <= furthest else ends[-1] if ends else furthest
        found.append((begin, end))
        begin = next((at for at in lines if max(begin + 1, end - _OVERLAP) <= at < end), end)
    return found


def header_of(module: Module, unit: Unit, begin: int) -> tuple[int, int]:
    """The leaves of a function's `def` line and of the indentation after it, where all of them come before leaf `begin`.

    An empty span for another unit, and for a header that is too long to be shown with every part.
    """
    leaves, none = module.leaves, (begin, begin)
    if unit.kind != "function" or begin == unit.start:
        return none
    block = next((at for at in range(unit.start, begin) if leaves[at].kind == INDENT), None)
    if block is None:
        return none
    first = next(at for at in range(block, unit.start - 1, -1) if at == unit.start or leaves[at].text == "def")  # fmt: skip
    return (first, block + 1) if block - first < _HEADER else none
