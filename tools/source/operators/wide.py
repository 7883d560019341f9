"""Changes that real fixes need now and then: exchanged branches, wrappers of two values, other arguments, other forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from tools.source.leaves import DEDENT, INDENT, NEWLINE
from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.values import is_value
from tools.source.operators.view import Change, Item, Tokens, View

_PAIRED = {"(": ")", ")": "(", "[": "]", "]": "[", "{": "}", "}": "{", "<": ">", ">": "<"}
_BRACKETS = ("(", "[", "{", "<", ")", "]", "}", ">")
_COMMON_STRINGS = ("", " ", ",", ", ", ".", "-", "_", "/", ":", "\\n", "\\t", "0", "1")
_STRING = re.compile(r"([rRbBuU]{0,2})(['\"])([^'\"\\]*)\2")


def _exchanged(view: View, first: tuple[int, int], second: tuple[int, int]) -> Change:
    """Two disjoint ranges of leaves exchanged."""
    texts = view.texts
    middle = texts[first[1] : second[0]]
    swapped = (*texts[second[0] : second[1]], *middle, *texts[first[0] : first[1]])
    return first[0], second[1], tuple(swapped)


@operator(
    "swap_branches",
    "order",
    2,
    "if_statement",
    ("if a:\n    b\nelse:\n    c", "if a:\n    c\nelse:\n    b"),
    ("if a:\n    b\nelif d:\n    e\nelse:\n    c", "if a:\n    e\nelif d:\n    b\nelse:\n    c"),
)
def swap_branches(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The bodies of two neighbouring branches exchanged."""
    bodies: list[Item] = []
    for holder in (item, *item.children):
        if holder is item or holder.kind in ("elif_clause", "else_clause"):
            bodies += [child for child in holder.children if child.kind == "block"][:1]
    for first, second in pairwise(bodies):
        spans = [(block.start, block.end) for block in (first, second)]
        if not any(
            text in (INDENT, DEDENT) for start, end in spans for text in view.texts[start:end]
        ):
            yield _exchanged(view, *spans)


@operator(
    "swap_values",
    "order",
    2,
    "return_statement assignment augmented_assignment",
    (
        "def f():\n    if a:\n        return b\n    return c",
        "def f():\n    if a:\n        return c\n    return b",
    ),
    ("if a:\n    b = c\nelse:\n    b = d", "if a:\n    b = d\nelse:\n    b = c"),
)
def swap_values(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The value of a `return` or assignment exchanged with that of the next of its kind."""
    same = view.all(item.kind)
    after = same.index(item) + 1
    for other in same[after : after + 2]:
        if item.children and other.children and other.start >= item.end:
            first, second = item.children[-1], other.children[-1]
            yield _exchanged(view, (first.start, first.end), (second.start, second.end))


@operator(
    "swap_calls", "order", 2, "call", ("f(g(a))", "g(f(a))"), ("a.f(g(b), c)", "g(a.f(b), c)")
)
def swap_calls(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Exchange two functions of which one is called with what the other returns."""
    arguments = item.children[-1]
    inner = next(iter(arguments.children), None) if arguments.kind == "argument_list" else None
    if inner is None or inner.kind != "call" or inner.children[-1].kind != "argument_list":
        return
    outer, called = item.children[0], inner.children[0]
    if view.tokens(outer) != view.tokens(called):
        yield _exchanged(view, (outer.start, outer.end), (called.start, called.end))


@operator("hoist", "deletion", 2, "load", ("f(g(h(a)))", "f(a)"), ("a + b * c - d", "a"))
def hoist(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An expression by one far inside it."""
    if item.field == "function" or item.end - item.start > 60:
        return
    waiting = [grandchild for child in item.children for grandchild in child.children]
    while waiting:
        inner = waiting.pop()
        waiting += inner.children
        if inner.load and inner.kind not in ("integer", "none", "true", "false"):
            yield view.put(item, view.tokens(inner), view.level(inner))


@operator(
    "elements_delete",
    "deletion",
    2,
    "argument_list list tuple set",
    ("f(a, b, c)", "f(a)"),
    ("x = [a, b, c]", "x = [c]"),
)
def elements_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Several elements at once, at either end."""
    children = item.children
    if item.kind == "tuple":
        children = children[:-1]
    for number in range(1, len(children) - 1):
        yield children[number - 1].end, item.children[-1].end, ()
        if item.kind != "tuple":
            yield children[0].start, children[number + 1].start, ()


@operator(
    "constant_more",
    "constant",
    2,
    "integer",
    ("f(3)", "f(5)"),
    ("f(3)", "f(6)"),
    ("f(10)", "f(100)"),
)
def constant_more(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.texts[item.start]
    if text.isdigit():
        number = int(text)
        for other in dict.fromkeys(
            (number + 2, number - 2, number * 2, number // 2, number * 10, number // 10, 2)
        ):
            if other >= 0:
                yield item.start, item.end, (str(other),)


@operator(
    "string_more",
    "constant",
    2,
    "string",
    ("f('(')", "f(')')"),
    ("f('(')", "f('[')"),
    ("f(' I')", "f('I ')"),
    ("f('ab')", "f('abAB')"),
    ("f(',')", "f(' ')"),
)
def string_more(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Brackets by their partners, common separators, characters rotated, both cases."""
    match = _STRING.fullmatch(view.texts[item.start])
    if not item.load or item.end - item.start != 1 or match is None:
        return
    prefix, quote, body = match.groups()
    others: list[str] = []
    if body in _PAIRED:
        others += [_PAIRED[body], *_BRACKETS]
    if 2 <= len(body) <= 24:
        others += [
            body[1:] + body[0],
            body[-1] + body[:-1],
            body + body.upper(),
            body + body.lower(),
            body[::-1],
        ]
        others += [body.capitalize(), body.swapcase()]
    if len(body) <= 2:
        others += _COMMON_STRINGS
    for other in dict.fromkeys(others):
        yield item.start, item.end, (f"{prefix}{quote}{other}{quote}",)


@operator(
    "wrap_two",
    "call",
    3,
    "identifier call attribute subscript binary_operator list_comprehension list integer",
    ("a = b", "a = max(a, b)"),
    ("x = a + b", "x = max(0, a + b)"),
    ("x = y", "x = min(y, x)"),
    ("x = y", "x = list(set(y))"),
)
def wrap_two(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`max`, `min` with a second value; `sorted` with a key; two wrappers."""
    parent = item.parent
    if not item.load or item.field in ("function", "object") or item.end - item.start > 30:
        return
    if item.kind == "integer" or (
        parent is not None and parent.kind in ("binary_operator", "comparison_operator")
    ):
        return
    here = view.tokens(item)
    for function in ("max", "min"):
        for other in (("0",), ("1",), *((name,) for name in scope.locals[:6])):
            if other != here:
                yield item.start, item.end, (function, "(", *other, ",", *here, ")")
                yield item.start, item.end, (function, "(", *here, ",", *other, ")")
    for outer, inner in (
        ("list", "set"),
        ("sorted", "set"),
        ("list", "reversed"),
        ("len", "set"),
        ("int", "round"),
    ):
        yield item.start, item.end, (outer, "(", inner, "(", *here, ")", ")")
    for key in (("key", "=", "len"), ("reverse", "=", "True")):
        yield item.start, item.end, ("sorted", "(", *here, ",", *key, ")")


@operator(
    "argument_values",
    "call",
    4,
    "argument_list",
    ("f(a); g(b)", "f(a); g(b, a)"),
    ("f(a, b)", "f(b, a)"),
    ("f(a, b, c)", "f(b)"),
)
def argument_values(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """All arguments by one or two variables."""
    names = scope.locals[:7]
    if item.end - item.start > 12 or any(
        child.kind == "keyword_argument" for child in item.children
    ):
        return
    yield item.start, item.end, ("(", ")")
    for first in names:
        yield item.start, item.end, ("(", first, ")")
        for second in names:
            yield item.start, item.end, ("(", first, ",", second, ")")


@operator(
    "conditional_insert",
    "insertion",
    4,
    "identifier call attribute subscript",
    ("f(a, b)", "f(a if a else b, b)"),
)
def conditional_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`e` by `e if e else y` and `e if test else y`, with tests of the unit."""
    if not is_value(item) or item.end - item.start > 6:
        return
    here = view.tokens(item)
    others: list[Tokens] = [("None",), ("0",), *((name,) for name in scope.locals[:4])]
    for other in others:
        if other != here:
            yield view.put(item, (*here, "if", *here, "else", *other), 2)
            for test, level in view.tests[:4]:
                if level >= 3:
                    yield view.put(item, (*here, "if", *test, "else", *other), 2)


@operator(
    "statement_form",
    "statement",
    2,
    "expression_statement",
    ("a.update(b)", "a = b"),
    ("a.append(b)", "a += b"),
    ("a = b", "a.append(b)"),
    ("a[i].extend(b)", "a[i] = b"),
    ("a += b", "a.append(b)"),
)
def statement_form(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A method call with one argument by an assignment to its object, and the other way round."""
    if len(item.children) != 1:
        return
    inner = item.children[0]
    if inner.kind == "call" and inner.children[0].kind == "attribute":
        place, arguments = inner.children[0].children[0], inner.children[-1]
        if place.kind in ("identifier", "attribute", "subscript") and len(arguments.children) == 1:
            value = view.tokens(arguments.children[0])
            for symbol in ("=", "+=", "-=", "|="):
                yield item.start, item.end, (*view.tokens(place), symbol, *value)
    elif inner.kind in ("assignment", "augmented_assignment") and len(inner.children) == 2:
        left, right = inner.children
        if left.kind in ("identifier", "attribute", "subscript") and right.load:
            for method in ("append", "extend", "add", "update", "remove"):
                yield (
                    item.start,
                    item.end,
                    (*view.tokens(left), ".", method, "(", *view.tokens(right), ")"),
                )


@operator(
    "boolean_value",
    "condition",
    4,
    "true false identifier",
    ("x = True", "x = x == 0"),
    ("def f(a, b):\n    return a", "def f(a, b):\n    return a < b"),
)
def boolean_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A truth value or variable by a comparison."""
    parent = item.parent
    if (
        not item.load
        or parent is None
        or parent.kind not in ("return_statement", "assignment", "while_statement", "if_statement")
    ):
        return
    names = scope.locals[:6]
    for first in names:
        for value in ("0", "1", *names):
            if value != first:
                for symbol in ("==", "!=", "<", ">", "<=", ">="):
                    yield view.put(item, (first, symbol, value), 6)


@operator(
    "subscript_value",
    "copy",
    4,
    "identifier",
    ("f(a); b[c]", "f(b[c]); b[c]"),
    ("a; b[c]", "b[a]; b[c]"),
)
def subscript_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A variable by an item of a container that the unit indexes."""
    if not item.load or item.field in ("function", "value"):
        return
    bases = dict.fromkeys(view.tokens(other.children[0]) for other in view.all("subscript"))
    for base in list(bases)[:4]:
        for name in scope.locals[:8]:
            yield item.start, item.end, (*base, "[", name, "]")


@operator(
    "else_statement",
    "insertion",
    4,
    "if_statement for_statement",
    ("if a:\n    f(a)", "if a:\n    f(a)\nelse:\n    f(a)"),
    ("if a:\n    b += 1", "if a:\n    b += 1\nelse:\n    a += 1"),
)
def else_statement(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An `else` with a short statement, made after those of the unit."""
    span = view.span(item)
    if span is None or item.children[-1].kind == "else_clause":
        return
    made: dict[Tokens, None] = {}
    for name in scope.locals[:6]:
        made[(name, "+=", "1")] = made[(name, "-=", "1")] = made[(name, "=", "0")] = None
    for other in view.all("statement"):
        tokens = view.tokens(other)
        if (
            len(tokens) <= 10
            and NEWLINE not in tokens
            and other.kind in ("expression_statement", "return_statement")
        ):
            made.setdefault(tokens)
    made[("break",)] = made[("continue",)] = None
    for tokens in list(made)[:32]:
        yield span[1], span[1], ("else", ":", NEWLINE, INDENT, *tokens, NEWLINE, DEDENT)


@operator("index_order", "order", 2, "subscript", ("x[a, b]", "x[b, a]"), ("x[a][b]", "x[b][a]"))
def index_order(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Two indices exchanged."""
    indices = item.children[1:]
    base = item.children[0]
    if len(indices) >= 2:
        yield _exchanged(
            view, (indices[0].start, indices[0].end), (indices[1].start, indices[1].end)
        )
    elif base.kind == "subscript" and len(base.children) == 2 and len(indices) == 1:
        first = base.children[1]
        yield _exchanged(view, (first.start, first.end), (indices[0].start, indices[0].end))


@operator(
    "call_test",
    "condition",
    4,
    "condition",
    ("if a:\n    f(a)", "if a and f(a):\n    f(a)"),
)
def call_test(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further operand that calls a function of the file."""
    parent = item.parent
    if item.kind == "parenthesized_expression" or (
        parent is not None and parent.kind in ("boolean_operator", "not_operator")
    ):
        return
    for function in scope.functions[:4]:
        if 1 not in scope.calls.get(function, (1,)):
            continue
        for name in scope.locals[:6]:
            if name != function:
                for test in ((function, "(", name, ")"), ("not", function, "(", name, ")")):
                    yield view.put(item, (*view.as_operand(item, 4), "and", *test), 4)
                    yield view.put(item, (*view.as_operand(item, 3), "or", *test), 3)
