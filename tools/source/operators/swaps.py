"""Tier 1 and 2 changes of single tokens: operators, constants, keywords."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import ATOM, Change, Item, View

_ORDER = ("<", "<=", ">", ">=", "==", "!=")
# How much oftener people take the one (right) for the other (wrong) than any other pair: of 75 comparisons with another operator
# after a mined fix, 47 had a boundary moved and 10 were negated; `is` became `==` 18 times, `/` became `//` as often as all other
# operators of arithmetic changed.
HABITS = {
    **dict.fromkeys([("<", "<="), ("<=", "<"), (">", ">="), (">=", ">")], 12.0),
    **dict.fromkeys([("==", "!="), ("!=", "==")], 7.0),
    **dict.fromkeys([("==", "is"), ("!=", "is not"), ("//", "/"), ("//=", "/=")], 5.0),
}
_MEMBER = {"in": "not in", "not in": "in", "is": "is not", "is not": "is"}
_ARITHMETIC = ("+", "-", "*", "//", "/", "%")
_BITS = ("&", "|", "^", "<<", ">>")
_JUMPS = ("break_statement", "continue_statement", "pass_statement")
_SPELLED_ALIKE = 0.7  # of matching characters
_NUMBER = re.compile(r"\d+")


@operator(
    "comparison",
    "operator",
    1,
    "comparison_operator",
    ("a < b", "a <= b"),
    ("a in b", "a not in b"),
    ("a is b", "a is not b"),
)
def comparison(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for child in item.children[:-1]:
        at = child.end
        text = view.texts[at]
        if text in _ORDER:
            for other in _ORDER:
                yield at, at + 1, (other,)
        elif text in _MEMBER:
            yield at, at + 1, (_MEMBER[text],)


@operator(
    "comparison_kind",
    "operator",
    2,
    "comparison_operator",
    ("a == b", "a in b"),
    ("a is b", "a == b"),
)
def comparison_kind(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for child in item.children[:-1]:
        at = child.end
        text = view.texts[at]
        others = (
            ("in", "is", "not in", "is not")
            if text in _ORDER
            else ("==", "!=", "<", ">", "is", "in")
        )
        for other in others:
            if _MEMBER.get(text) != other:
                yield at, at + 1, (other,)


@operator("boolean_swap", "operator", 1, "boolean_operator", ("a and b", "a or b"))
def boolean_swap(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    at = item.children[0].end
    yield at, at + 1, ("or" if view.texts[at] == "and" else "and",)


@operator(
    "arithmetic",
    "operator",
    1,
    "binary_operator",
    ("a + b", "a - b"),
    ("a / b", "a // b"),
    ("a & b", "a | b"),
)
def arithmetic(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.operator(item)
    at = item.children[0].end
    group = _ARITHMETIC if text in _ARITHMETIC else _BITS if text in _BITS else ("*", "@", "/")
    for other in group:
        yield at, at + 1, (other,)


@operator(
    "arithmetic_kind", "operator", 2, "binary_operator", ("a * b", "a ** b"), ("a & b", "a and b")
)
def arithmetic_kind(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.operator(item)
    at = item.children[0].end
    if text in _ARITHMETIC:
        others = ("**",) if text == "*" else ("|", "&", "^", "<<", ">>")
    elif text in _BITS:
        others = ("and", "or", "+", "-", "*", "//")
    else:
        others = ("+", "-")
    for other in others:
        yield at, at + 1, (other,)


@operator(
    "augmented", "operator", 1, "augmented_assignment", ("a += b", "a -= b"), ("a ^= b", "a &= b")
)
def augmented(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.operator(item)
    at = item.children[0].end
    group = _BITS if text[:-1] in _BITS else (*_ARITHMETIC, "**")
    for other in group:
        yield at, at + 1, (other + "=",)


@operator(
    "constant",
    "constant",
    1,
    "integer float",
    ("f(2)", "f(3)"),
    ("f(2)", "f(0)"),
    ("x[-1]", "x[-2]"),
    ("f(1)", "f(-1)"),
    ("f(0.5)", "f(1.5)"),
)
def constant(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.texts[item.start]
    span = item.start, item.end
    if item.kind == "float":
        try:
            value = float(text)
        except ValueError:  # imaginary, or with underscores that float refuses
            return
        values = [repr(other) for other in (value + 1, value - 1, 0.0, 1.0, value * 10, value / 10)]
        yield from ((*span, (other,)) for other in values if other[0] not in "-in")
        return
    if not _NUMBER.fullmatch(text):
        return
    number = int(text)
    for other in dict.fromkeys((number + 1, number - 1, 0, 1)):
        if other >= 0:
            yield *span, (str(other),)
    signed = item.parent is not None and item.parent.kind == "unary_operator"
    if number < 2 and not signed:
        yield view.put(item, ("-", "1"), 13)


@operator(
    "sign",
    "constant",
    2,
    "integer float unary_operator identifier call",
    ("x[1]", "x[-1]"),
    ("f(-x)", "f(x)"),
    ("f(x)", "f(-x)"),
)
def sign(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind == "unary_operator":
        yield item.start, item.start + 1, ()
    elif (
        item.load
        and (item.parent is None or item.parent.kind not in ("unary_operator", "call", "attribute"))
    ) or (item.load and item.field not in ("function", "object", "argument")):
        yield view.put(item, ("-", *view.tokens(item)), 13)


@operator("truth", "constant", 1, "true false", ("f(True)", "f(False)"))
def truth(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    yield item.start, item.end, ("False" if item.kind == "true" else "True",)


@operator(
    "constant_kind",
    "constant",
    2,
    "true false none integer string list tuple dictionary",
    ("f(None)", "f(False)"),
    ("f([])", "f(None)"),
    ("f(0)", "f(None)"),
)
def constant_kind(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if not item.load or item.end - item.start > 2:
        return
    for other in (
        ("None",),
        ("True",),
        ("False",),
        ("0",),
        ("1",),
        ('""',),
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
    ):
        if item.kind != "integer" or other[0] not in "01":
            yield item.start, item.end, other


@operator(
    "literal",
    "constant",
    2,
    "integer float string",
    ("f(2); g('a'); h('b')", "f(2); g('b'); h('b')"),
)
def literal(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Another literal of the unit, of the same kind."""
    if not item.load or item.end - item.start != 1:
        return
    quoted = item.kind == "string"
    for other in scope.literals[:24]:
        if (other[-1] in "'\"") == quoted:
            yield item.start, item.end, (other,)


@operator(
    "string_edge",
    "constant",
    2,
    "string",
    ("f(' ')", "f('')"),
    ("f('ab')", "f('a')"),
    ("f('a')", "f('a ')"),
    ("f('Ab')", "f('ab')"),
)
def string_edge(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.texts[item.start]
    match = re.fullmatch(r"([rRbBuU]{0,2})(['\"])([^'\"\\]*)\2", text)
    if not item.load or match is None or item.end - item.start != 1:
        return
    prefix, quote, body = match.groups()
    for other in (body[:-1], body[1:], "", body + " ", " " + body, body.strip(), body.lower(),
                  body.upper(), body.title(), body + "\\n"):  # fmt: skip
        if other != body:
            yield item.start, item.end, (f"{prefix}{quote}{other}{quote}",)


@operator(
    "jump",
    "statement",
    2,
    " ".join(_JUMPS),
    ("for x in y:\n    break", "for x in y:\n    continue"),
    ("for x in y:\n    pass", "for x in y:\n    break"),
)
def jump(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    looping = any(
        parent.kind in ("for_statement", "while_statement") for parent in item.ancestors()
    )
    for other in ("break", "continue", "pass", "return") if looping else ("pass", "return"):
        yield item.start, item.end, (other,)


@operator(
    "branch",
    "statement",
    2,
    "if_statement while_statement elif_clause",
    ("if a:\n    b", "while a:\n    b"),
    ("if a:\n    b\nelif c:\n    d", "if a:\n    b\nif c:\n    d"),
    ("if a:\n    b\nif c:\n    d", "if a:\n    b\nelif c:\n    d"),
)
def branch(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    word = view.texts[item.start]
    at = item.start
    if item.kind == "elif_clause":
        yield at, at + 1, ("if",)
        return
    if word == "if":
        if not any(child.field == "alternative" for child in item.children):
            yield at, at + 1, ("while",)
        for other in view.all("if_statement"):
            span = view.span(other)
            if span is not None and span[1] == at and other.children[-1].kind != "else_clause":
                yield at, at + 1, ("elif",)
    elif not any(child.field == "alternative" for child in item.children):
        yield at, at + 1, ("if",)


@operator(
    "yield_kind",
    "statement",
    2,
    "yield return_statement",
    ("def f():\n    yield x", "def f():\n    return x"),
    ("def f():\n    yield x", "def f():\n    yield from x"),
    ("def f():\n    return x", "def f():\n    yield x"),
)
def yield_kind(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    at = item.start
    if item.kind == "return_statement":
        if item.children:
            yield at, at + 1, ("yield",)
        return
    is_from = at + 1 < item.end and view.texts[at + 1] == "from"
    statement = item.parent is not None and item.parent.kind == "expression_statement"
    yield at, at + 1 + is_from, ("yield",) if is_from else ("yield", "from")
    if statement:
        yield at, at + 1 + is_from, ("return",)


@operator(
    "assignment_operator",
    "statement",
    2,
    "assignment augmented_assignment",
    ("a = b", "a += b"),
    ("a += b", "a = b"),
)
def assignment_operator(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    text = view.operator(item)
    at = item.children[0].end
    if item.kind == "augmented_assignment":
        yield at, at + 1, ("=",)
    elif (
        text == "="
        and item.children[0].kind in ("identifier", "attribute", "subscript")
        and not (item.children[-1].kind == "assignment" or item.field == "right")
    ):
        for other in ("+=", "-=", "*=", "|="):
            yield at, at + 1, (other,)


@operator("mined_literal", "constant", 3, "integer float string", ("f('a')", "f('b')"))
def mined_literal(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A literal mined from the tests (the example is run with 'b' given)."""
    if item.load and item.end - item.start == 1:
        for other in scope.mined[:32]:
            yield view.put(item, (other,), ATOM)


@operator(
    "spelling",
    "constant",
    1,
    "string",
    ("f('Jupyter')", "f('Jupiter')"),
)
def spelling(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A string by one of the tests that is spelled almost the same (the example is run with 'Jupiter' given)."""
    text = view.texts[item.start]
    if not item.load or item.end - item.start != 1 or len(text) < 5:
        return
    for other in scope.mined:
        if other != text and other[-1] in "'\"":
            same = SequenceMatcher(None, text[1:-1], other[1:-1]).ratio()
            if same >= _SPELLED_ALIKE:
                yield view.put(item, (other,), ATOM)
