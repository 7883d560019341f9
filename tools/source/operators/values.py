"""Changes of expressions: offsets, operands, order, subscripts, attributes, and one subexpression for another."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import BINARY_LEVEL, Change, Item, Tokens, View

_VALUES = "identifier call subscript attribute binary_operator integer parenthesized_expression"
_SUFFIX_METHODS = (
    "lower",
    "upper",
    "strip",
    "copy",
    "keys",
    "values",
    "items",
    "split",
    "pop",
    "title",
    "swapcase",
    "encode",
)


def is_value(item: Item) -> bool:
    """A read expression that is not the callee of a call nor the object of a method call."""
    parent = item.parent
    if not item.load or parent is None:
        return item.load
    if parent.kind == "call" and item.field == "function":
        return False
    return not (parent.kind == "attribute" and parent.field == "function")


def _binary(view: View, item: Item, symbol: str, other: Tokens, front: bool = False) -> Change:
    """The change of e into `e symbol other`, or `other symbol e`."""
    level = BINARY_LEVEL[symbol]
    if front:
        tokens = (*other, symbol, *view.as_operand(item, level + 1))
    else:
        tokens = (*view.as_operand(item, level), symbol, *other)
    return view.put(item, tokens, level)


@operator(
    "offset_insert",
    "boundary",
    2,
    _VALUES,
    ("f(n)", "f(n + 1)"),
    ("f(n)", "f(n - 1)"),
    ("range(len(x))", "range(len(x) - 1)"),
    ("a * n", "a * (n + 1)"),
)
def offset_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if not is_value(item) or (item.parent is not None and item.parent.kind == "attribute"):
        return
    if item.kind == "binary_operator" and view.texts[item.end - 1] == "1":
        return
    for symbol in ("+", "-"):
        yield _binary(view, item, symbol, ("1",))


@operator(
    "offset_delete",
    "boundary",
    2,
    "binary_operator",
    ("f(n + 1)", "f(n)"),
    ("a * (n - 1)", "a * n"),
)
def offset_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Drop a literal operand, with the parentheses that it needed."""
    if item.children[-1].kind in ("integer", "float") and len(item.children) == 2:
        place = item
        if item.parent is not None and item.parent.kind == "parenthesized_expression":
            place = item.parent
        yield view.put(place, view.tokens(item.children[0]), view.level(item.children[0]))


@operator(
    "operand_delete",
    "deletion",
    2,
    "binary_operator unary_operator conditional_expression",
    ("a + b", "a"),
    ("a + b", "b"),
    ("-a", "a"),
    ("a if b else c", "c"),
)
def operand_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    kept = item.children
    if item.kind == "conditional_expression":
        kept = [item.children[0], item.children[-1]]
    for child in kept:
        yield view.put(item, view.tokens(child), view.level(child))


@operator(
    "middle_delete",
    "deletion",
    2,
    "binary_operator",
    ("a ** b * c", "a ** c"),
    ("a - b + c", "a - c"),
    ("a + b * c", "a * c"),
)
def middle_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The middle operand of three, with the operator that `operand_delete` would keep."""
    left, right = item.children[0], item.children[-1]
    if left.kind == "binary_operator":
        yield left.children[-1].start, right.start, ()
    if right.kind == "binary_operator":
        yield left.end, right.children[0].end, ()


@operator(
    "swap_operands",
    "order",
    2,
    "binary_operator comparison_operator boolean_operator conditional_expression",
    ("a - b", "b - a"),
    ("a < b", "b < a"),
    ("a if b else c", "c if b else a"),
)
def swap_operands(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    left, right = item.children[0], item.children[-1]
    if item.kind != "conditional_expression" and len(item.children) != 2:
        return
    middle = tuple(view.texts[left.end : right.start])
    first = view.fit(view.tokens(right), view.level(right), left)
    second = view.fit(view.tokens(left), view.level(left), right)
    yield item.start, item.end, (*first, *middle, *second)


@operator(
    "regroup",
    "order",
    2,
    "binary_operator boolean_operator parenthesized_expression",
    ("a - b - c", "a - (b - c)"),
    ("a + b * c", "(a + b) * c"),
    ("(a + b) * c", "a + b * c"),
    ("a or b and c", "(a or b) and c"),
)
def regroup(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Move, add or drop parentheses."""
    if item.kind == "parenthesized_expression":
        if item.load and item.parent is not None and len(item.children) == 1:
            yield item.start, item.end, view.tokens(item.children[0])
        return
    left, right = item.children[0], item.children[-1]
    symbol = tuple(view.texts[left.end : right.start])
    if left.kind == item.kind and len(left.children) == 2:
        first, second = left.children
        inner = tuple(view.texts[first.end : second.start])
        yield item.start, item.end, (
            *view.tokens(first), *inner, "(", *view.tokens(second), *symbol, *view.tokens(right), ")")  # fmt: skip
    if right.kind == item.kind and len(right.children) == 2:
        first, second = right.children
        inner = tuple(view.texts[first.end : second.start])
        yield item.start, item.end, (
            "(", *view.tokens(left), *symbol, *view.tokens(first), ")", *inner, *view.tokens(second))  # fmt: skip


@operator(
    "index_delete",
    "deletion",
    2,
    "subscript attribute",
    ("x[0]", "x"),
    ("x.y", "x"),
    ("x.y", "y"),
)
def index_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    value = item.children[0]
    yield item.start, item.end, view.tokens(value)
    if item.kind == "attribute" and item.field != "function":
        yield item.start, item.end, (view.texts[item.end - 1],)


@operator(
    "slice_bound",
    "boundary",
    2,
    "slice",
    ("x[a:b]", "x[a:]"),
    ("x[1:]", "x[:1]"),
    ("x[:]", "x[1:]"),
    ("x[a:b]", "x[a]"),
)
def slice_bound(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Drop, add or swap the bounds of a slice."""
    texts = view.texts
    for child in item.children:
        yield child.start, child.end, ()
        yield item.start, item.end, view.tokens(child)
    inside = list(texts[item.start : item.end])
    if len(item.children) == 1 and inside.count(":") == 1:
        bound = view.tokens(item.children[0])
        front = item.children[0].start == item.start
        yield item.start, item.end, (":", *bound) if front else (*bound, ":")
        for other in ("1", "0", "-1") if not front else ("-1",):
            extra = ("-", "1") if other == "-1" else (other,)
            yield (item.end, item.end, extra) if front else (item.start, item.start, extra)
        if front:
            yield item.end, item.end, (":", "-", "1")
    elif not item.children and inside == [":"]:
        for tokens in (("1", ":"), (":", "-", "1"), (":", "1"), (":", ":", "-", "1")):
            yield item.start, item.end, tokens
    elif len(item.children) == 2 and inside.count(":") == 1:
        first, second = item.children
        yield item.start, item.end, (*view.tokens(second), ":", *view.tokens(first))


@operator(
    "index_insert",
    "insertion",
    2,
    "identifier call attribute subscript",
    ("f(x)", "f(x[0])"),
    ("f(x)", "f(x[-1])"),
    ("f(x)", "f(x[1:])"),
)
def index_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if is_value(item):
        for index in (
            ("0",),
            ("-", "1"),
            ("1",),
            ("1", ":"),
            (":", "-", "1"),
            (":", ":", "-", "1"),
            (":",),
        ):
            yield item.end, item.end, ("[", *index, "]")


@operator(
    "suffix_insert",
    "insertion",
    3,
    "identifier call attribute subscript",
    ("f(x)", "f(x.lower())"),
    ("f(x) + y.z", "f(x.z) + y.z"),
    ("f(x, i)", "f(x[i], i)"),
    ("f(x, k)", "f(x[:k], k)"),
    ("f(x, k)", "f(x[k:], k)"),
    ("f(x, k)", "f(x[k - 1], k)"),
)
def suffix_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An index or slice by a variable, an attribute of the file, a common method."""
    if not is_value(item):
        return
    at = item.end
    for attr in scope.attributes[:12]:
        yield at, at, (".", attr)
    for called in dict.fromkeys((*scope.methods[:8], *_SUFFIX_METHODS)):
        yield at, at, (".", called, "(", ")")
    for other in scope.locals[:10]:
        yield at, at, ("[", other, "]")
        yield at, at, ("[", ":", other, "]")
        yield at, at, ("[", other, ":", "]")
        yield at, at, ("[", other, "-", "1", "]")
        yield at, at, ("[", other, "+", "1", "]")


@operator(
    "operand_insert",
    "insertion",
    3,
    _VALUES,
    ("f(e, q)", "f(q + e, q)"),
    ("f(e, q)", "f(e - q, q)"),
    ("f(n)", "f(n // 2)"),
    ("f(n)", "f(n / 2)"),
)
def operand_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if not is_value(item) or (item.parent is not None and item.parent.kind == "attribute"):
        return
    for symbol, number in (
        ("//", "2"),
        ("/", "2"),
        ("*", "2"),
        ("%", "2"),
        ("+", "2"),
        ("-", "2"),
        ("**", "2"),
    ):
        yield _binary(view, item, symbol, (number,))
    for number in scope.literals[:8]:
        if number[-1] in "'\"":
            yield _binary(view, item, "+", (number,))
            yield _binary(view, item, "+", (number,), front=True)
        elif number != "2":
            for symbol in ("+", "-", "*", "%", "**"):
                yield _binary(view, item, symbol, (number,))
    for number in ("1", "2"):
        yield _binary(view, item, "-", (number,), front=True)
    for other in scope.locals[:10]:
        for symbol in ("+", "-", "*", "//", "/", "%"):
            yield _binary(view, item, symbol, (other,))
        for symbol in ("+", "-"):
            yield _binary(view, item, symbol, (other,), front=True)


@operator(
    "operator_operand",
    "operator",
    3,
    "comparison_operator binary_operator",
    ("a < b", "a <= a"),
    ("n % 2 == 1", "n % 2 != 0"),
)
def operator_operand(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Operator and right operand at once: two neighbouring tokens."""
    if len(item.children) != 2:
        return
    left, right = item.children
    text = view.operator(item)
    if right.end - right.start > 3:
        return
    if item.kind == "comparison_operator":
        symbols = ("<", "<=", ">", ">=", "==", "!=", "in", "not in", "is", "is not")
        values: list[Tokens] = [("0",), ("1",), ("None",), ("-", "1"), ('""',)]
    else:
        symbols = ("+", "-", "*", "//", "/", "%")
        values = [("1",), ("2",)]
    values += [(other,) for other in scope.locals[:8]]
    for symbol in symbols:
        if symbol == text:
            continue
        for value in values:
            fits = item.kind == "comparison_operator" or BINARY_LEVEL[symbol] >= view.required(item)
            if fits and (symbol not in ("is", "is not") or value == ("None",)):
                yield left.end, right.end, (symbol, *value)


@operator(
    "subexpression",
    "copy",
    3,
    "load",
    ("f(a.b, c[d])", "f(c[d], c[d])"),
    ("f(a - b, c + 1)", "f(a - b, a - b)"),
)
def subexpression(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An expression by another expression of the unit."""
    size = item.end - item.start
    if size > 24 or (item.field == "function" and item.kind == "identifier"):
        return
    here = view.tokens(item)
    required = view.required(item)
    single = size == 1
    for tokens, level in view.expressions:
        if tokens == here or (single and len(tokens) == 1 and item.kind == "identifier"):
            continue
        yield item.start, item.end, tokens if level >= required else ("(", *tokens, ")")


@operator(
    "literal_value",
    "constant",
    3,
    "identifier call attribute subscript",
    ("f(x)", "f(0)"),
    ("f(x)", "f(None)"),
    ("f(x)", "f([])"),
)
def literal_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An expression by a constant."""
    if not is_value(item) or item.end - item.start > 12:
        return
    for value in (
        ("0",),
        ("1",),
        ("None",),
        ("True",),
        ("False",),
        ("[", "]"),
        ('""',),
        ("{", "}"),
        ("2",),
    ):
        yield view.put(item, value)
    yield view.put(item, ("-", "1"), 13)
    for value in (*scope.literals[:8], *scope.mined[:16]):
        yield view.put(item, (value,))
