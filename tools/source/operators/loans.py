"""Statements, arguments, suffixes and tests that stand elsewhere in the file.

Of statements of up to 14 tokens one in seven stands twice in its function, letter for letter, and one in five in another
function of its file only (60 of the training projects): the plastic surgery hypothesis (Barr et al., FSE 2014).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tools.source.leaves import DEDENT, INDENT, NEWLINE, Leaf, Module
from tools.source.operators.base import operator
from tools.source.operators.scope import Scope, known_names
from tools.source.operators.statements import in_function, in_loop
from tools.source.operators.values import is_value
from tools.source.operators.view import Change, Item, Tokens, View

_SIMPLE = frozenset({"expression_statement", "return_statement", "raise_statement", "delete_statement",
                     "continue_statement", "break_statement"})  # fmt: skip
_ENDS = ("return_statement", "raise_statement", "break_statement", "continue_statement")
_COUNTED = {"+=": "-=", "-=": "+="}  # what one function adds, another takes away
_LONGEST = 16  # tokens
_MOST = 60  # statements lent to a unit
_PART = 8  # tokens of an argument or suffix
_SUFFIXES = 24  # lent to a unit
_TEST = 12  # tokens of a test
_TESTS = 40  # lent to a unit
_TESTED = frozenset({"comparison_operator", "not_operator", "call", "attribute", "subscript"})
_OPERANDS = frozenset({"boolean_operator", "not_operator", "if_clause"})


@dataclass(frozen=True, slots=True)
class _Statement:
    """start: its first leaf; word: its first token; names: variables that it reads or binds."""

    start: int
    tokens: Tokens
    names: frozenset[str]
    guard: bool


def _variables(leaves: Sequence[Leaf]) -> frozenset[str]:
    """Names that are read or bound."""
    return frozenset(
        leaf.text for leaf in leaves
        if leaf.kind == "identifier" and leaf.field != "attribute"
        and (leaf.parent, leaf.field) != ("keyword_argument", "name")
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _statements(module: Module) -> list[_Statement]:
    """Simple statements of blocks, and `if` with one of them."""
    found = []
    nodes, leaves = module.nodes, module.leaves
    for node in nodes:
        if not 2 <= node.end - node.start <= _LONGEST or node.parent < 0:
            continue
        if nodes[node.parent].kind != "block" or leaves[node.start].is_text:
            continue
        inside = leaves[node.start : node.end]
        layout = [leaf.text for leaf in inside if leaf.is_layout]
        guard = node.kind == "if_statement" and layout == [NEWLINE, INDENT]
        if not guard and (node.kind not in _SIMPLE or layout):
            continue
        names = _variables(inside)
        end = (NEWLINE, DEDENT) if guard else (NEWLINE,)
        found.append(_Statement(node.start, (*(leaf.text for leaf in inside), *end), names, guard))
    return found


@functools.lru_cache(maxsize=64)
def _lent(view: View) -> list[_Statement]:
    """What the file lends to a unit: names are known there, nearest first."""
    module, unit = view.module, view.unit
    known = known_names(module) | set(view.texts[unit.start : unit.end])
    middle = (unit.start + unit.end) // 2
    found: dict[Tokens, _Statement] = {}
    for statement in sorted(_statements(module), key=lambda s: abs(s.start - middle)):
        if statement.names <= known:
            found.setdefault(statement.tokens, statement)
            counted = tuple(_COUNTED.get(token, token) for token in statement.tokens)
            found.setdefault(counted, replace(statement, tokens=counted))
            if len(found) >= _MOST:
                break
    return list(found.values())


@operator(
    "statement_borrow",
    "insertion",
    4,
    "gap",
    (
        "def f(self, a):\n    self.g(a)\ndef h(self):\n    self.n += 1\n    self.seen.clear()",
        "def f(self, a):\n    self.g(a)\n    self.seen.clear()\ndef h(self):\n    self.n += 1\n    self.seen.clear()",
    ),
    (
        "def f(a):\n    b(a)\ndef g(a):\n    if a is None:\n        return 0\n    b()",
        "def f(a):\n    if a is None:\n        return 0\n    b(a)\ndef g(a):\n    if a is None:\n        return 0\n    b()",
    ),
    (
        "def f(self, a):\n    self.g(a)\ndef h(self):\n    self.n += 1",
        "def f(self, a):\n    self.g(a)\n    self.n -= 1\ndef h(self):\n    self.n += 1",
    ),
)
def statement_borrow(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A short statement or guard of the file, once more, or one that takes back what it adds."""
    place = item.parent
    assert place is not None
    last = item.field == "after"
    if (last and place.kind in _ENDS) or not in_function(view, place):
        return
    loop, at = in_loop(place), item.start
    for statement in _lent(view):
        size = len(statement.tokens)
        beside = tuple(view.texts[at : at + size]), tuple(view.texts[max(0, at - size) : at])
        if statement.tokens in beside:
            continue
        if {"break", "continue"} & set(statement.tokens) and not loop:
            continue
        if last or statement.guard or statement.tokens[0] not in ("return", "raise"):
            yield item.start, item.start, statement.tokens


Part = tuple[int, Tokens, frozenset[str]]  # first leaf, tokens, names


@functools.lru_cache(maxsize=8)
def _parts(module: Module) -> tuple[dict[str, list[Part]], list[Part]]:
    """({last name of a callee: arguments of its calls}, suffixes `.name(arguments)` of calls with arguments)."""
    nodes, leaves = module.nodes, module.leaves
    arguments: dict[str, list[Part]] = {}
    suffixes: list[Part] = []
    for node in nodes:
        size = node.end - node.start
        if node.parent < 0 or size > _PART:
            continue
        parent = nodes[node.parent]
        is_argument = parent.kind == "argument_list" and leaves[parent.start].text == "("
        is_call = node.kind == "argument_list" and 2 < size <= _PART - 2
        if not (is_argument or (is_call and leaves[node.start - 2].text == ".")):
            continue
        inside = leaves[node.start : node.end]
        tokens, names = tuple(leaf.text for leaf in inside), _variables(inside)
        if is_argument:
            callee = leaves[parent.start - 1].text if parent.start else ""
            arguments.setdefault(callee, []).append((node.start, tokens, names))
        else:
            name = leaves[node.start - 1].text
            suffixes.append((node.start, (".", name, *tokens), names))
    return arguments, suffixes


def _nearest(view: View, parts: Sequence[Part], most: int) -> list[Tokens]:
    """Those whose names the unit knows."""
    module, unit = view.module, view.unit
    known = known_names(module) | set(view.texts[unit.start : unit.end])
    middle = (unit.start + unit.end) // 2
    near = sorted(parts, key=lambda part: abs(part[0] - middle))
    return list(dict.fromkeys(tokens for _, tokens, names in near if names <= known))[:most]


@functools.lru_cache(maxsize=64)
def _suffixes(view: View) -> list[Tokens]:
    return _nearest(view, _parts(view.module)[1], _SUFFIXES)


@operator(
    "argument_borrow",
    "insertion",
    2,
    "argument_list",
    ("f(a)\nx.f(b, c=1)", "f(a, c=1)\nx.f(b, c=1)"),
    ("f(a)\nf(b.c, d)", "f(b.c, a)\nf(b.c, d)"),
)
def argument_borrow(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An argument that another call of a function of this name has."""
    texts = view.texts
    lent = _parts(view.module)[0].get(texts[item.start - 1], ()) if item.start else ()
    own = {view.tokens(child) for child in item.children}
    close = item.end - 1
    comma: Tokens = (",",) if item.children and texts[close - 1] != "," else ()
    for tokens in _nearest(view, lent, _SUFFIXES):
        if tokens in own:
            continue
        yield close, close, (*comma, *tokens)
        if item.children and tokens[1:2] != ("=",) and tokens[0] not in ("*", "**"):
            yield item.children[0].start, item.children[0].start, (*tokens, ",")


@operator(
    "suffix_borrow",
    "insertion",
    3,
    "identifier call attribute subscript string",
    ("f(a)\nb.c(1, 'd')", "f(a.c(1, 'd'))\nb.c(1, 'd')"),
)
def suffix_borrow(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A call with arguments of a method, as it stands elsewhere."""
    if is_value(item):
        for tokens in _suffixes(view):
            if tuple(view.texts[item.end : item.end + len(tokens)]) != tokens:
                yield item.end, item.end, tokens


@functools.lru_cache(maxsize=8)
def _tests(module: Module) -> list[Part]:
    """What conditions of the file test; all of it binds tighter than `and`."""
    nodes, leaves = module.nodes, module.leaves
    found = []
    for node in nodes:
        if node.kind not in _TESTED or node.parent < 0:
            continue
        if not 3 <= node.end - node.start <= _TEST:
            continue
        if node.field != "condition" and nodes[node.parent].kind not in _OPERANDS:
            continue
        inside = leaves[node.start : node.end]
        found.append((node.start, tuple(leaf.text for leaf in inside), _variables(inside)))
    return found


@functools.lru_cache(maxsize=64)
def _lent_tests(view: View) -> list[Tokens]:
    return _nearest(view, _tests(view.module), _TESTS)


@operator(
    "condition_borrow",
    "insertion",
    4,
    "condition return_statement",
    (
        "def f(a):\n    return g(a)\ndef h(a):\n    if a and not isinstance(a, type):\n        b",
        "def f(a):\n    return g(a) and not isinstance(a, type)\ndef h(a):\n    if a and not isinstance(a, type):\n        b",
    ),
    (
        "def f(a):\n    if a:\n        g(a)\ndef h(a):\n    while a.b < 0:\n        d",
        "def f(a):\n    if a.b < 0 and a:\n        g(a)\ndef h(a):\n    while a.b < 0:\n        d",
    ),
)
def condition_borrow(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further boolean operand that is tested elsewhere in the file."""
    if item.kind == "return_statement":
        if not item.children or item.children[0].kind not in (
            "call",
            "not_operator",
            "comparison_operator",
            "identifier",
        ):
            return
        item = item.children[0]
    elif item.kind == "parenthesized_expression" or (
        item.parent is not None and item.parent.kind in ("boolean_operator", "not_operator")
    ):
        return
    here = view.tokens(item)
    for test in _lent_tests(view):
        if test == here:
            continue
        for word, place in (("and", 4), ("or", 3)):
            own = view.as_operand(item, place)
            yield view.put(item, (*own, word, *test), place)
            yield view.put(item, (*test, word, *own), place)
