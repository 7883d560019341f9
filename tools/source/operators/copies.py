"""Tier 5: extra code made of the unit's own pieces. Only to break correct code, so that deleting is learned."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.leaves import DEDENT, INDENT, NEWLINE
from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.statements import in_function, in_loop
from tools.source.operators.view import ATOM, BINARY_LEVEL, Change, Item, Tokens, View


def _short_statements(view: View) -> list[Tokens]:
    """Distinct simple statements of the unit, at most 16 tokens."""
    found: dict[Tokens, None] = {}
    for item in view.all("statement"):
        span = view.span(item)
        if (
            span is not None
            and 2 <= span[1] - span[0] <= 16
            and not item.kind.endswith("definition")
        ):
            tokens = tuple(view.texts[span[0] : span[1]])
            if INDENT not in tokens and tokens[0][0] not in "\"'":
                found.setdefault(tokens)
    return list(found)


@operator(
    "extra_statement",
    "extra",
    5,
    "gap",
    ("f(a)\ng(b)", "f(a)\ng(b)\nf(a)"),
    ("f(a, b)", "f(a, b)\nf(b, b)"),
)
def extra_statement(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A copy of a statement, as it is or with a variable changed."""
    place = item.parent
    assert place is not None
    for tokens in _short_statements(view):
        word = tokens[0]
        if word in ("return", "yield", "raise", "break", "continue") and item.field == "before":
            continue
        if (word == "return" and not in_function(view, place)) or (
            word in ("break", "continue") and not in_loop(place)
        ):
            continue
        yield item.start, item.start, tokens
        for index, text in enumerate(tokens):
            if text in scope.locals and (index == 0 or tokens[index - 1] != "."):
                for other in scope.locals[:6]:
                    if other != text:
                        yield item.start, item.start, (*tokens[:index], other, *tokens[index + 1 :])


@operator(
    "extra_guard",
    "extra",
    5,
    "gap",
    (
        "def f(a):\n    if a:\n        return b\n    g(a)",
        "def f(a):\n    if a:\n        return b\n    if a:\n        return b\n    g(a)",
    ),
)
def extra_guard(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`if test: statement` of a test and a short statement of the unit."""
    place = item.parent
    assert place is not None
    actions = [tokens for tokens in _short_statements(view)
               if (tokens[0] != "return" or in_function(view, place))
               and (tokens[0] not in ("break", "continue") or in_loop(place))]  # fmt: skip
    if in_loop(place):
        actions += [("continue", NEWLINE), ("break", NEWLINE)]
    elif in_function(view, place):
        actions += [("return", NEWLINE), ("return", "None", NEWLINE), ("return", "False", NEWLINE)]
    for test, _ in view.tests[:8]:
        for action in actions[:12]:
            yield item.start, item.start, ("if", *test, ":", NEWLINE, INDENT, *action, DEDENT)


@operator(
    "extra_operand",
    "extra",
    5,
    "load",
    ("f(a, b)", "f(a + b, b)"),
    ("f(a - b, c)", "f(a - b, c - b)"),
)
def extra_operand(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further arithmetic operand, with the operators that the unit uses and short expressions of it."""
    if item.kind in (
        "string",
        "true",
        "false",
        "none",
        "list",
        "dictionary",
        "comparison_operator",
        "lambda",
    ):
        return
    if item.field in ("function", "object") or item.end - item.start > 12 or item.condition:
        return
    used = dict.fromkeys(view.operator(found) for found in view.all("binary_operator")) or {
        "+": None,
        "-": None,
    }
    shorts = [tokens for tokens, level in view.expressions if level == ATOM and len(tokens) <= 4][
        :12
    ]
    for symbol in (*used, "+"):
        if symbol in BINARY_LEVEL:
            level = BINARY_LEVEL[symbol]
            for other in shorts:
                yield view.put(item, (*view.as_operand(item, level), symbol, *other), level)


@operator(
    "extra_condition",
    "extra",
    5,
    "condition",
    ("if a:\n    b\nif c < d:\n    e", "if a and c < d:\n    b\nif c < d:\n    e"),
)
def extra_condition(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further boolean operand that is a test or a short expression of the unit."""
    if item.kind == "parenthesized_expression":
        return
    here = view.tokens(item)
    others = [
        (tokens, level) for tokens, level in (*view.tests, *view.expressions[:12]) if tokens != here
    ]
    for tokens, level in others[:24]:
        right = tokens if level >= 5 else ("(", *tokens, ")")
        for word, place in (("and", 4), ("or", 3)):
            yield view.put(item, (*view.as_operand(item, place), word, *right), place)
            inverse = ("not", *(tokens if level > 6 else ("(", *tokens, ")")))
            yield view.put(item, (*view.as_operand(item, place), word, *inverse), place)
            yield view.put(item, (*right, word, *view.as_operand(item, place)), place)


@operator(
    "extra_argument",
    "extra",
    5,
    "argument_list",
    ("f(a, b=1); g(c)", "f(a, b=1); g(c, b=1)"),
    ("f(a); g(c)", "f(a); g(a, c)"),
)
def extra_argument(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An argument of another call of the unit."""
    found: dict[Tokens, None] = {}
    for other in view.all("argument_list"):
        for child in other.children:
            if child.end - child.start <= 8:
                found.setdefault(view.tokens(child))
    own = {view.tokens(child) for child in item.children}
    close = item.end - 1
    for tokens in list(found)[:24]:
        if tokens in own or not item.children or view.texts[close - 1] == ",":
            continue
        yield close, close, (",", *tokens)
        if "=" not in tokens and tokens[0] not in "**":
            yield item.children[0].start, item.children[0].start, (*tokens, ",")


@operator(
    "extra_suffix",
    "extra",
    5,
    "load",
    ("f(a.b[0], c)", "f(a.b[0], c[0])"),
    ("f(a.g(), c)", "f(a.g(), c.g())"),
)
def extra_suffix(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An attribute, index, slice or method call that another expression of the unit has."""
    if (
        item.kind not in ("identifier", "call", "attribute", "subscript")
        or item.field == "function"
    ):
        return
    found: dict[Tokens, None] = {}
    for other in view.all("load"):
        if other.kind in ("attribute", "subscript", "call") and other is not item:
            base = other.children[0]
            if other.kind == "call":
                if base.kind != "attribute":
                    continue
                base = base.children[0]
            if other.end - base.end <= 6:
                found.setdefault(tuple(view.texts[base.end : other.end]))
    for tokens in list(found)[:24]:
        yield item.end, item.end, tokens


@operator("extra_wrap", "extra", 5, "load", ("f(g(a), b)", "f(g(a), g(b))"))
def extra_wrap(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A call of a function that the unit calls, around an expression."""
    if (
        item.field == "function"
        or item.end - item.start > 12
        or item.kind in ("string", "none", "true", "false")
    ):
        return
    callees: dict[Tokens, None] = {}
    for call in view.all("call"):
        if call.children[0].end - call.children[0].start <= 3:
            callees.setdefault(view.tokens(call.children[0]))
    for callee in list(callees)[:12]:
        yield item.start, item.end, (*callee, "(", *view.tokens(item), ")")


@operator(
    "extra_block",
    "extra",
    5,
    "statement",
    ("f(a)\nif b:\n    c", "if b:\n    f(a)\nif b:\n    c"),
)
def extra_block(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A statement put under a header of the unit."""
    span = view.span(item)
    if span is None or span[1] - span[0] > 30 or item.kind.endswith("definition"):
        return
    headers: dict[Tokens, None] = {}
    for other in (
        *view.all("if_statement"),
        *view.all("for_statement"),
        *view.all("while_statement"),
    ):
        block = next((child for child in other.children if child.kind == "block"), None)
        if block is not None and block.start - other.start <= 16:
            head = tuple(
                text
                for text in view.texts[other.start : block.start]
                if text not in (NEWLINE, INDENT)
            )
            headers.setdefault(head)
    lines = tuple(view.texts[span[0] : span[1]])
    for head in list(headers)[:8]:
        yield *span, (*head, NEWLINE, INDENT, *lines, DEDENT)


@operator(
    "extra_element",
    "extra",
    5,
    "list tuple expression_list set",
    ("f([a, b], c)", "f([a, b, c], c)"),
)
def extra_element(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further element that is a short expression of the unit."""
    if not item.children or not (item.load or item.kind == "expression_list"):
        return
    close = item.end if item.kind == "expression_list" else item.end - 1
    if view.texts[close - 1] == ",":
        return
    for tokens, level in view.expressions[:16]:
        if level == ATOM and len(tokens) <= 4:
            yield close, close, (",", *tokens)
