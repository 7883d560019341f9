"""Changes of conditions: negation, more or fewer operands, comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, Tokens, View

_NOT, _COMPARISON = 5, 6


def negated(view: View, item: Item) -> Tokens:
    """`not` before the item, or the item without its `not`."""
    if item.kind == "not_operator":
        return view.tokens(item.children[0])
    return ("not", *view.as_operand(item, _NOT))


@operator(
    "negate",
    "condition",
    1,
    "condition",
    ("if a:\n    b", "if not a:\n    b"),
    ("if not a:\n    b", "if a:\n    b"),
    ("while a or b:\n    c", "while not (a or b):\n    c"),
    ("if a and b:\n    c", "if a and not b:\n    c"),
)
def negate(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind != "parenthesized_expression":
        yield view.put(item, negated(view, item), _NOT)


@operator(
    "negate_value",
    "condition",
    2,
    "return_statement assignment keyword_argument argument_list",
    ("a = b", "a = not b"),
    ("f(a)", "f(not a)"),
    ("a = not b", "a = b"),
)
def negate_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for value in item.children if item.kind == "argument_list" else item.children[-1:]:
        if (
            value.load
            and not value.condition
            and value.kind not in ("integer", "string", "float", "list", "none")
        ):
            yield view.put(value, negated(view, value), _NOT)


@operator(
    "condition_delete",
    "deletion",
    2,
    "boolean_operator",
    ("a and b", "a"),
    ("a or b", "b"),
)
def condition_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for child in item.children:
        yield view.put(item, view.tokens(child), view.level(child))


@operator(
    "comparison_delete",
    "deletion",
    2,
    "comparison_operator",
    ("a == b", "a"),
    ("a < b < c", "a < b"),
    ("a is None", "a"),
)
def comparison_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    first, last = item.children[0], item.children[-1]
    if len(item.children) == 2:
        for child in item.children:
            if child.kind not in ("none", "true", "false", "integer", "string"):
                yield view.put(item, view.tokens(child), view.level(child))
    else:
        yield (
            item.start,
            item.children[-2].end,
            tuple(view.texts[item.start : item.children[-2].end]),
        )
        yield item.children[-2].end, last.end, ()
        yield first.start, item.children[1].start, ()


@operator(
    "condition_constant",
    "condition",
    2,
    "condition",
    ("if a:\n    b", "if True:\n    b"),
    ("if a:\n    b", "if False:\n    b"),
)
def condition_constant(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    parent = item.parent
    if parent is not None and parent.kind not in ("boolean_operator", "not_operator"):
        yield item.start, item.end, ("True",)
        yield item.start, item.end, ("False",)


@operator(
    "none_check",
    "condition",
    2,
    "condition",
    ("if a:\n    b", "if a is not None:\n    b"),
    ("if a:\n    b", "if a is None:\n    b"),
    ("if not a:\n    b", "if a is None:\n    b"),
    ("if a is None:\n    b", "if not a:\n    b"),
)
def none_check(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind == "not_operator" and view.level(item.children[0]) > _COMPARISON:
        inner = view.tokens(item.children[0])
        for symbol, value in (("is", "None"), ("==", "0")):
            yield view.put(item, (*inner, symbol, value), _COMPARISON)
    elif item.kind == "comparison_operator" and view.texts[item.start : item.end][-2:] == [
        "is",
        "None",
    ]:
        yield view.put(item, ("not", *view.tokens(item.children[0])), _NOT)
    if item.kind in ("identifier", "attribute", "subscript", "call"):
        for symbol, value in (
            ("is not", "None"),
            ("is", "None"),
            (">", "0"),
            (">", "1"),
            ("==", "0"),
        ):
            yield view.put(item, (*view.tokens(item), symbol, value), _COMPARISON)


@operator(
    "filter_delete",
    "deletion",
    2,
    "if_clause",
    ("f(a for a in b if a)", "f(a for a in b)"),
)
def filter_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    yield item.start, item.end, ()


@operator(
    "filter_insert",
    "insertion",
    2,
    "for_in_clause",
    ("f(a for a in b)", "f(a for a in b if a)"),
    ("f(a for a in b)", "f(a for a in b if a is not None)"),
)
def filter_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for test in _simple_tests(view, scope, 4):
        yield item.end, item.end, ("if", *test)


@operator(
    "comparison_insert",
    "condition",
    3,
    "condition",
    ("if a:\n    f(b)", "if a == b:\n    f(b)"),
    ("if f(a):\n    b", "if f(a) > 0:\n    b"),
)
def comparison_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind not in ("identifier", "attribute", "subscript", "call", "binary_operator"):
        return
    here = view.tokens(item)
    for symbol in ("==", "!=", "<", "<=", ">", ">="):
        for value in ("0", "1", *scope.locals[:8]):
            if (value,) != here:
                yield view.put(item, (*here, symbol, value), _COMPARISON)
    for symbol in ("in", "not in"):
        for value in scope.locals[:8]:
            if (value,) != here:
                yield view.put(item, (*here, symbol, value), _COMPARISON)


def _simple_tests(view: View, scope: Scope, width: int) -> Iterator[Tokens]:
    """Tests of one or two variables, and those of the unit, as operands of `and`."""
    names = scope.locals[: 2 * width]
    for tokens, level in view.tests[: 2 * width]:
        yield tokens if level >= _NOT else ("(", *tokens, ")")
    for name in names:
        yield (name,)
        yield ("not", name)
        yield (name, "is not", "None")
        yield (name, "is", "None")
        for symbol in ("==", "!=", ">", "<"):
            yield (name, symbol, "0")
        yield (name, ">", "1")
        yield (name, "==", "1")
        yield ("len", "(", name, ")", ">", "1")
    for first in names[:width]:
        for second in names[:width]:
            if first != second:
                for symbol in ("<", "<=", "in", "not in"):
                    yield (first, symbol, second)
                if first < second:
                    yield (first, "==", second)
                    yield (first, "!=", second)


@operator(
    "condition_insert",
    "insertion",
    3,
    "condition",
    ("if a:\n    b", "if a and not b:\n    b"),
    ("if a:\n    b", "if a or b:\n    b"),
    ("if a == b:\n    c", "if a == b and c:\n    c"),
    ("if a:\n    f(b, c)", "if a or b < c:\n    f(b, c)"),
)
def condition_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A further boolean operand: `and` or `or` with a test."""
    parent = item.parent
    if item.kind == "parenthesized_expression" or (
        parent is not None and parent.kind in ("boolean_operator", "not_operator")
    ):
        return
    here = view.tokens(item)
    and_left = here if view.level(item) >= 4 else ("(", *here, ")")
    for test in _simple_tests(view, scope, 4):
        if test == here:
            continue
        for word, left, level in (("and", and_left, 4), ("or", here, 3)):
            yield view.put(item, (*left, word, *test), level)
            if (
                "[" in here or "(" in here or "." in here
            ):  # what guards an access must come before it
                yield view.put(item, (*test, word, *left), level)


@operator(
    "guard_insert",
    "insertion",
    4,
    "gap",
    ("def f(a):\n    return a", "def f(a):\n    if not a:\n        return None\n    return a"),
    (
        "def f(a, b):\n    return a[b]",
        "def f(a, b):\n    if a is None:\n        return b\n    return a[b]",
    ),
    ("for a in b:\n    f(a)", "for a in b:\n    if not a:\n        continue\n    f(a)"),
)
def guard_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`if test: return value`, in a loop also `continue` and `break`, before a statement."""
    from tools.source.operators.statements import in_function, in_loop

    if item.field != "before" or item.parent is None:
        return
    at = item.start
    actions: list[Tokens] = []
    if in_function(view, item.parent):
        returned = dict.fromkeys(view.tokens(found.children[0]) for found in view.all("return_statement")
                                 if found.children and found.end - found.start <= 8)  # fmt: skip
        values = dict.fromkeys([*returned, ("None",), ("True",), ("False",), ("0",), ("1",), ("[", "]"), ('""',),
                                *((name,) for name in scope.locals[:3])])  # fmt: skip
        actions += [("return", *value) for value in list(values)[:10]]
    if in_loop(item.parent):
        actions = [("continue",), ("break",), *actions[:3]]
    for test in _guards(view, scope):
        for action in actions:
            yield (
                at,
                at,
                ("if", *test, ":", "<NEWLINE>", "<INDENT>", *action, "<NEWLINE>", "<DEDENT>"),
            )


def _guards(view: View, scope: Scope) -> Iterator[Tokens]:
    names = scope.locals[:4]
    for name in names:
        yield ("not", name)
        yield (name, "is", "None")
        yield (name, "==", "0")
        yield (name, "<", "0")
        yield ("len", "(", name, ")", "==", "0")
        yield ("len", "(", name, ")", "==", "1")
    for first in names[:3]:
        for second in names[:3]:
            if first != second:
                yield (first, ">", second)
                yield (first, "in", second)
                if first < second:
                    yield (first, "==", second)
    for tokens, _ in view.tests[:4]:
        yield tokens
