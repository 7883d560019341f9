"""The difference of two versions as an ordered list of pieces, coarse or fine, any prefix of which can be applied.

Piece by piece a bisection walks from the good version to the bad one: hunks first, then single lines, then tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff

from tools.source.leaves import Module, SourceError

LEVELS = ("hunk", "line", "token")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, end) of the old version of `path` become `text`."""

    path: str
    start: int
    end: int
    text: bytes


def split(old: Mapping[str, bytes], new: Mapping[str, bytes], level: str) -> list[Piece]:
    """Pieces that lead from `old` to `new`, by path, then by place. Files missing on one side count as empty.

    level: "hunk" for runs of changed lines, "line" for pairs of an old and a new line, "token" for runs of changed leaves
    (hunks where a version is no Python). Raises ValueError for another level.
    """
    if level not in LEVELS:
        raise ValueError(f"level {level!r}: one of {', '.join(LEVELS)}")
    pieces: list[Piece] = []
    for path in sorted({*old, *new}):
        before, after = old.get(path, b""), new.get(path, b"")
        if before != after:
            ranges = _tokens(before, after) if level == "token" and path.endswith(".py") else None
            pieces.extend(
                Piece(path, *part) for part in ranges or _lines(before, after, level == "line")
            )
    return pieces


def apply(old: Mapping[str, bytes], pieces: Sequence[Piece]) -> dict[str, bytes]:
    """`old` with `pieces` in place; they must come from one `split` of it."""
    files = dict(old)
    # the last first, so that offsets stay true; pieces at the same place keep their order
    ordered = sorted(pieces, key=lambda p: (p.path, p.start, p.end))
    for piece in ordered[::-1]:
        data = files.get(piece.path, b"")
        files[piece.path] = data[: piece.start] + piece.text + data[piece.end :]
    return files


def _lines(before: bytes, after: bytes, single: bool) -> Iterator[tuple[int, int, bytes]]:
    left, right = before.splitlines(keepends=True), after.splitlines(keepends=True)
    offsets = [0]
    for line in left:
        offsets.append(offsets[-1] + len(line))
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        pairs = max(1, min(i2 - i1, j2 - j1)) if single else 1
        if single and tag != "replace":
            pairs = max(i2 - i1, j2 - j1)
        for number in range(pairs):
            last = number == pairs - 1
            a, b = min(i1 + number, i2), min(j1 + number, j2)
            a_end = i2 if last else min(a + 1, i2)
            b_end = j2 if last else min(b + 1, j2)
            yield offsets[a], offsets[a_end], b"".join(right[b:b_end])


def _tokens(before: bytes, after: bytes) -> list[tuple[int, int, bytes]] | None:
    """Runs of changed leaves, each with the blanks and comments before it; None where a version cannot be read as Python."""
    try:
        old, new = Module(before), Module(after)
    except SourceError:
        return None
    if old.has_error or new.has_error:
        return None
    left, right = _units(old), _units(new)
    offsets = [0]
    for unit in left:
        offsets.append(offsets[-1] + len(unit))
    parts: list[tuple[int, int, bytes]] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal" and left[i1:i2] != right[j1:j2]:
            parts.append((offsets[i1], offsets[i2], b"".join(right[j1:j2])))
    return parts


def _units(module: Module) -> list[bytes]:
    """The file cut after each leaf; layout leaves without bytes are left out."""
    cuts = sorted({0, *(leaf.end for leaf in module.leaves), len(module.source)})
    return [module.source[a:b] for a, b in itertools.pairwise(cuts)]


def changed_lines(
    old: Mapping[str, bytes], new: Mapping[str, bytes], now: Mapping[str, bytes]
) -> tuple[str, tuple[int, int]]:
    """The first changed file and its first and last changed line (1-based), numbered as in its version `now`."""
    path = next(p for p in sorted({*old, *new}) if old.get(p, b"") != new.get(p, b""))
    before, after = old.get(path, b"").splitlines(), new.get(path, b"").splitlines()
    codes = [
        c
        for c in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if c[0] != "equal"
    ]
    first, last = codes[0][3] + 1, max(codes[-1][4], codes[0][3] + 1)
    today = now.get(path, b"").splitlines()
    mapped: dict[int, int] = {}
    for block in SequenceMatcher(None, after, today, autojunk=False).get_matching_blocks():
        mapped.update((block.a + i + 1, block.b + i + 1) for i in range(block.size))
    size = max(1, len(today))
    low = mapped.get(first, min(first, size))
    return path, (low, max(low, min(mapped.get(last, last), size)))


def unified(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    """The difference as a unified diff."""
    parts: list[str] = []
    for path in sorted({*old, *new}):
        before, after = (
            side.get(path, b"").decode("utf-8", "surrogateescape") for side in (old, new)
        )
        if before != after:
            lines = unified_diff(
                before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}"
            )
            parts.extend(
                line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
                for line in lines
            )
    return "".join(parts)
