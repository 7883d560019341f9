"""From leaves to arrays: what the network sees of a unit, of its execution and of the failure.

The sequence is [CLS] code leaves [SEP] context: CLS stands for "no bug", SEP for "after the last leaf"; the context
segments hold the failing test's line, actual and expected value, the exception, and names in reach. Of a part of a unit the
code begins with the unit's header, which is shown and not repaired.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.source import syntax
from tools.source.leaves import DEDENT, INDENT, NEWLINE, Leaf, Module
from trm.config import MAX_CONTENT, MAX_SPAN
from trm.vocab import CLS, END, SEP, Vocab

PIECES = 4
LENGTHS = (64, 128, 256, 512)  # padded lengths; one compilation each

# Columns of `features`; each has values 0..15, 0 is "unknown".
SEGMENT, COVER_FAIL, COVER_PASS, SUSPICION, FRAME, VALUE_TYPE, VALUE_MATCH, EVIDENCE, DEPTH = range(
    9
)
FEATURES = 9
FEATURE_VALUES = 16

SEGMENTS = ("code", "marker", "test", "actual", "expected", "exception", "names")
SEGMENT_LIMITS = {"test": 28, "actual": 12, "expected": 12, "exception": 12, "names": 40}
VALUE_TYPES = ("NoneType", "bool", "int", "float", "str", "list", "tuple", "dict", "set",
               "function", "module", "type", "object")  # fmt: skip


@dataclass(frozen=True)
class Execution:
    """What running the tests showed, a line (keys are 1-based lines of the module).

    cover_fail and cover_pass: number of failing and passing tests that ran the line; `failing` and `passing` the totals;
    frames: 1 for lines on the stack of the failure, 2 for the deepest; values: name -> (type name, repr);
    evidence: of the best edit that was tried on the line, as agent.evidence has it: 1 broke it otherwise, 2 changed nothing,
    3 changed the failure, 4 repaired the test and broke something else.
    """

    failing: int
    passing: int
    cover_fail: dict[int, int]
    cover_pass: dict[int, int]
    frames: Mapping[int, int] = field(default_factory=dict)
    values: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    evidence: Mapping[int, int] = field(default_factory=dict)
    actual: str = ""
    expected: str = ""


@dataclass(frozen=True)
class FailureText:
    """The failure in words: the test's failing line, actual and expected reprs, exception and message."""

    test: str = ""
    actual: str = ""
    expected: str = ""
    exception: str = ""


@dataclass(frozen=True)
class Encoded:
    """One unit as arrays of length L = 2 + code + context.

    pieces (L, PIECES) uint16; kind (L,) uint8; role (L,) uint16; text (L,) int16, equal for equal texts; line (L,)
    int16; features (L, FEATURES) uint8; last_use and last_def (L,) int16, -1 for none. `code` is the number of code
    leaves, at positions 1..code, of which the first `header` are not to be repaired; SEP is at code + 1. `texts` are the leaf
    texts by text id.
    """

    pieces: np.ndarray
    kind: np.ndarray
    role: np.ndarray
    text: np.ndarray
    line: np.ndarray
    features: np.ndarray
    last_use: np.ndarray
    last_def: np.ndarray
    code: int
    texts: tuple[str, ...] = ()
    header: int = 0

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """Text ids by leaf text."""
        return {text: index for index, text in enumerate(self.texts) if index}

    @functools.cached_property
    def spelled(self) -> dict[str, tuple[tuple, tuple, tuple]]:
        """What `target_of` found for a token: the pieces and text ids of its slots, and what each shows to the next."""
        return {}

    @property
    def length(self) -> int:
        """Positions, markers and context included."""
        return int(self.kind.shape[0])


_STORES = frozenset({"assignment.left", "augmented_assignment.left", "for_statement.left",
                     "for_in_clause.left", "parameters", "default_parameter.name",
                     "named_expression.name", "pattern_list", "as_pattern_target", "typed_parameter",
                     "lambda_parameters"})  # fmt: skip
_NAMED = frozenset({"identifier", "integer", "float", "string"})


def suspicion_bin(score: float) -> int:
    """Ochiai in [0, 1] to 1..8."""
    return 1 + min(7, int(score * 8))


def _cover_bin(count: int, total: int) -> int:
    """0 unknown (no such tests), 1 none, 2 some, 3 most, 4 all."""
    if total <= 0:
        return 0
    if count <= 0:
        return 1
    if count >= total:
        return 4
    return 3 if 2 * count >= total else 2


@functools.lru_cache(maxsize=4096)
def _leaves_of_text(text: str) -> tuple[Leaf, ...]:
    return tuple(leaf for leaf in Module(text.encode("utf-8", "replace").replace(b"\0", b"")).leaves
                 if not leaf.is_layout)  # fmt: skip


def encode(
    vocab: Vocab, leaves: Sequence[Leaf], *, names: Sequence[str] = (),
    execution: Execution | None = None, failure: FailureText | None = None, header: int = 0,
) -> Encoded:  # fmt: skip
    """Encode the leaves of a unit, or of its header and a part of it. `names` are identifiers in reach, the most useful first.

    header: how many of the leaves are not to be repaired; edits count from the first after them.
    """
    length = 2 + len(leaves)
    segments: list[tuple[str, Sequence[Any]]] = []
    if failure is not None:
        for name, text in (("test", failure.test), ("actual", failure.actual),
                           ("expected", failure.expected), ("exception", failure.exception)):  # fmt: skip
            if text:
                segments.append((name, _leaves_of_text(text[:400])[: SEGMENT_LIMITS[name]]))
    # those that the code or the failure shows can be copied from there
    shown = {leaf.text for part in (leaves, *(part for _, part in segments)) for leaf in part}
    fresh = [name for name in names if name not in shown]
    length += sum(len(content) for _, content in segments)
    told = fresh[: max(0, min(SEGMENT_LIMITS["names"], LENGTHS[-1] - length))]
    if told:
        segments.append(("names", told))
        length += len(told)
    pieces = np.zeros((length, PIECES), np.uint16)
    kind = np.zeros(length, np.uint8)
    role = np.zeros(length, np.uint16)
    text_id = np.zeros(length, np.int16)
    line = np.zeros(length, np.int16)
    features = np.zeros((length, FEATURES), np.uint8)
    last_use = np.full(length, -1, np.int16)
    last_def = np.full(length, -1, np.int16)
    pieces[0, 0], pieces[1 + len(leaves), 0] = CLS, SEP
    features[0, SEGMENT] = features[1 + len(leaves), SEGMENT] = 1
    ids: dict[str, int] = {"": 0}
    uses: dict[str, int] = {}
    stores: dict[str, int] = {}
    first_line = leaves[0].line if leaves else 0
    base = len(leaves[0].indents) if leaves else 0
    by_line: dict[int, np.ndarray] = {}

    def put(at: int, text: str, leaf_kind: int, leaf_role: int) -> None:
        spelled = vocab.token_pieces(text)[:PIECES]
        pieces[at, : len(spelled)] = spelled
        kind[at] = leaf_kind
        role[at] = leaf_role
        text_id[at] = ids.setdefault(text, len(ids))

    for index, leaf in enumerate(leaves):
        at = index + 1
        put(at, leaf.text, vocab.kind(leaf.kind), vocab.role(leaf.parent, leaf.field))
        line[at] = leaf.line - first_line + 1
        features[at, DEPTH] = min(15, max(1, len(leaf.indents) - base + 1))
        if leaf.kind in _NAMED:
            last_use[at] = uses.get(leaf.text, -1)
            last_def[at] = stores.get(leaf.text, -1)
            uses[leaf.text] = at
            if leaf.kind == "identifier":
                key = f"{leaf.parent}.{leaf.field}" if leaf.field else leaf.parent
                if key in _STORES:
                    stores[leaf.text] = at
        if execution is not None:
            row = by_line.get(leaf.line)
            if row is None:
                row = by_line[leaf.line] = _line_features(execution, leaf.line)
            features[at, COVER_FAIL : FRAME + 1] = row[:4]
            features[at, EVIDENCE] = row[4]
            value = execution.values.get(leaf.text) if leaf.kind == "identifier" else None
            if value is not None and leaf.field != "attribute":
                features[at, VALUE_TYPE] = value_type(value[0])
                features[at, VALUE_MATCH] = value_match(value[1], execution)
    at = 2 + len(leaves)
    line[at - 1] = line[at - 2] + 1 if leaves else 0
    for name, content in segments:
        segment = SEGMENTS.index(name)
        for item in content:
            if isinstance(item, str):
                put(at, item, vocab.kind("identifier"), 0)
            else:
                put(at, item.text, vocab.kind(item.kind), vocab.role(item.parent, item.field))
            last_use[at] = uses.get(item if isinstance(item, str) else item.text, -1)
            features[at, SEGMENT] = segment
            line[at] = -segment
            at += 1
    return Encoded(pieces, kind, role, text_id, line, features, last_use, last_def,
                   len(leaves), tuple(ids), header)  # fmt: skip


def _line_features(execution: Execution, line: int) -> np.ndarray:
    failed = execution.cover_fail.get(line, 0)
    passed = execution.cover_pass.get(line, 0)
    row = np.zeros(5, np.uint8)
    row[0] = _cover_bin(failed, execution.failing)
    row[1] = _cover_bin(passed, execution.passing)
    if execution.failing:
        score = (
            failed / max(1e-9, (execution.failing * (failed + passed)) ** 0.5) if failed else 0.0
        )
        row[2] = suspicion_bin(score)
    row[3] = execution.frames.get(line, 0)
    row[4] = execution.evidence.get(line, 0)
    return row


def carry_to_continuations(leaves: Sequence[Leaf], *tables: dict[int, int]) -> None:
    """Traces name a statement's first line: give its other lines the same counts."""
    begin = leaves[0].line if leaves else 0
    previous_layout = True
    for leaf in leaves:
        if leaf.is_layout:
            previous_layout = True
            continue
        if previous_layout:
            begin = leaf.line
        previous_layout = False
        for table in tables:
            if leaf.line != begin and begin in table:
                table.setdefault(leaf.line, table[begin])


def type_of_repr(text: str) -> str:
    """A type name guessed from a repr: literals exactly, other objects as "object"."""
    try:
        return type(syntax.literal(text)).__name__
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    opening = {"[": "list", "(": "tuple", "{": "dict", "'": "str", '"': "str"}
    if text[:1] in opening:
        return opening[text[:1]]
    for prefix, name in (
        ("<function", "function"),
        ("<bound", "function"),
        ("<module", "module"),
        ("<class", "type"),
    ):
        if text.startswith(prefix):
            return name
    return "object"


def value_type(name: str) -> int:
    """1.. by VALUE_TYPES; anything else counts as object."""
    return 1 + (VALUE_TYPES.index(name) if name in VALUE_TYPES else len(VALUE_TYPES) - 1)


def value_match(text: str, execution: Execution) -> int:
    """1 neither, 2 equals the actual value, 3 equals the expected one, 4 both."""
    if not execution.actual and not execution.expected:
        return 0
    return 1 + (text == execution.actual) + 2 * (text == execution.expected)


@dataclass(frozen=True)
class Target:
    """An edit as the heads predict it.

    start: position (leaf index + 1, the header counted); length: leaves removed; a row a slot: `piece` and `text` ids that
    are right (-1 for none; either may count), `previous` (slots, PIECES) the pieces of the slot before. The last slot is END.
    """

    start: int
    length: int
    piece: tuple[int, ...]
    text: tuple[int, ...]
    previous: tuple[tuple[int, ...], ...]


def target_of(
    vocab: Vocab, encoded: Encoded, start: int, end: int, tokens: Sequence[str]
) -> Target | None:
    """The target of replacing leaves [start, end) after the header by `tokens`; None if it is longer than the heads reach."""
    if end - start > MAX_SPAN or len(tokens) > MAX_CONTENT:
        return None
    known = encoded.spelled
    piece: list[int] = []
    text: list[int] = []
    previous: list[tuple[int, ...]] = [(CLS,)]
    for token in tokens:
        slots = known.get(token)
        if slots is None:
            slots = known[token] = _slots_of(vocab, encoded, token)
        piece += slots[0]
        text += slots[1]
        previous += slots[2]
    piece.append(END)
    text.append(-1)
    if len(piece) > MAX_CONTENT + 1:
        return None
    return Target(
        start + 1 + encoded.header, end - start, tuple(piece), tuple(text), tuple(previous)
    )


def _slots_of(vocab: Vocab, encoded: Encoded, token: str) -> tuple[tuple, tuple, tuple]:
    spelled = vocab.token_pieces(token)
    copied = encoded.ids.get(token, -1)
    if copied >= 0 or len(spelled) == 1:
        return (spelled[0] if len(spelled) == 1 else -1,), (copied,), (spelled[:PIECES],)
    return spelled, (-1,) * len(spelled), tuple((index,) for index in spelled)


def padded_length(length: int) -> int | None:
    """The smallest bucket that holds `length` positions, None beyond the largest."""
    return next((size for size in LENGTHS if size >= length), None)


__all__ = ["DEDENT", "INDENT", "NEWLINE", "Encoded", "Execution", "FailureText", "Target", "encode",
           "padded_length", "target_of"]  # fmt: skip
