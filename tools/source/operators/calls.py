"""Changes of calls and displays: order and number of arguments, wrappers, splats, brackets."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, Tokens, View

_LISTS = "argument_list list tuple set dictionary expression_list pattern_list"
_WRAPPERS = ("len", "abs", "int", "str", "list", "sorted", "set", "sum", "max", "min", "tuple", "reversed",
             "float", "range", "dict", "enumerate", "iter", "any", "all", "bool", "round")  # fmt: skip
_BOTH_SIDES = ("len", "abs", "set", "sorted", "str", "int", "list", "tuple", "sum")
_KEYS: tuple[Tokens, ...] = (
    ("key", "=", "len"),
    ("reverse", "=", "True"),
    ("key", "=", "str"),
    ("key", "=", "lambda", "x", ":", "x", "[", "0", "]"),
    ("key", "=", "lambda", "x", ":", "x", "[", "1", "]"),
    ("key", "=", "lambda", "x", ":", "-", "x"),
    ("key", "=", "lambda", "x", ":", "(", "len", "(", "x", ")", ",", "x", ")"),
    ("key", "=", "str", ".", "lower"),
    ("key", "=", "abs"),
)
_PASSED_ON = {"*": "list_splat_pattern", "**": "dictionary_splat_pattern"}
_POSITIONAL = ("keyword_argument", "list_splat", "dictionary_splat")


def _arguments(view: View, call: Item) -> Item | None:
    """The argument list of a call, None where the argument is a bare generator."""
    last = call.children[-1]
    return last if last.kind == "argument_list" else None


@operator(
    "swap_arguments",
    "order",
    2,
    _LISTS,
    ("f(a, b)", "f(b, a)"),
    ("x, y = y, x", "x, y = x, y"),
    ("f(a, b=c, d=e)", "f(a, b=e, d=c)"),
)
def swap_arguments(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Exchange two elements; of keyword arguments only the values."""
    children = item.children[:8]
    for first in range(len(children)):
        for second in range(first + 1, len(children)):
            left, right = children[first], children[second]
            if left.kind == right.kind == "keyword_argument":
                left, right = left.children[-1], right.children[-1]
            elif left.kind == "keyword_argument" or right.kind == "keyword_argument":
                continue
            middle = tuple(view.texts[left.end : right.start])
            yield left.start, right.end, (*view.tokens(right), *middle, *view.tokens(left))


@operator(
    "argument_delete",
    "deletion",
    2,
    _LISTS,
    ("f(a, b)", "f(a)"),
    ("f(a, b=1)", "f(a)"),
    ("f(a)", "f()"),
    ("[a, b]", "[b]"),
    ("return_ = a, b", "return_ = a"),
)
def argument_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind == "pattern_list":
        return
    single = len(item.children) == 1
    for child in item.children:
        if child.kind not in ("comment", "for_in_clause"):
            if item.kind in ("tuple", "expression_list") and single:
                continue
            start, end, tokens = view.drop_element(item, child)
            if (
                len(item.children) == 2
                and item.kind == "expression_list"
                and child.number == 1
                and end == item.end
            ):
                yield start, end, tokens
            elif item.kind == "tuple" and len(item.children) == 2:
                other = item.children[1 - child.number]
                yield item.start, item.end, ("(", *view.tokens(other), ")")
                yield item.start, item.end, ("(", *view.tokens(other), ",", ")")
            else:
                yield start, end, tokens


@operator(
    "element_bracket",
    "order",
    2,
    "expression_list tuple",
    ("return_ = a, b", "return_ = [a, b]"),
    ("f((a, b))", "f([a, b])"),
)
def element_bracket(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    inner = view.tokens(item)
    if item.kind == "tuple":
        yield item.start, item.end, ("[", *inner[1:-1], "]")
        if len(item.children) == 1 and inner[-2] == ",":
            yield item.start, item.end, inner[1:-2]
    else:
        yield item.start, item.end, ("[", *inner, "]")


@operator(
    "unwrap_call",
    "deletion",
    2,
    "call",
    ("f(x)", "x"),
    ("f(x, y)", "y"),
    ("x.m(y)", "x"),
    ("x.m(y)", "y"),
)
def unwrap_call(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    callee, inner = item.children[0], _arguments(view, item)
    if callee.kind == "attribute":
        value = callee.children[0]
        yield view.put(item, view.tokens(value), view.level(value))
        if inner is not None and inner.children:
            yield item.start, inner.start, ()
    if inner is None:
        last = item.children[-1]
        yield item.start, item.end, view.tokens(last)
        return
    for child in inner.children:
        if child.kind not in _POSITIONAL:
            yield view.put(item, view.tokens(child), view.level(child))
    if item.field != "function" and not (
        item.parent is not None and item.parent.kind == "decorator"
    ):
        yield inner.start, item.end, ()


@operator(
    "wrap_call",
    "call",
    3,
    "load",
    ("f(x)", "f(len(x))"),
    ("f(x)", "f(abs(x))"),
    ("return_ = x", "return_ = list(x)"),
    ("f(x)", "f(f(x))"),
)
def wrap_call(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind == "identifier" and item.field == "function":
        return
    if item.kind in (
        "true",
        "false",
        "none",
        "string",
        "float",
        "lambda",
        "parenthesized_expression",
    ):
        return
    if item.end - item.start > 24 or (
        item.kind == "integer" and item.parent and item.parent.kind == "binary_operator"
    ):
        return
    tokens = view.tokens(item)
    own = [name for name in scope.functions[:8] if 1 in scope.calls.get(name, (1,))]
    for function in dict.fromkeys((*own, *_WRAPPERS)):
        yield item.start, item.end, (function, "(", *tokens, ")")


@operator(
    "argument_insert",
    "insertion",
    3,
    "argument_list",
    ("f(a, b); g(b)", "f(a, b); g(b, a)"),
    ("sorted(a)", "sorted(a, key=len)"),
    ("f(a)", "f(a, 1)"),
    ("f(a)", "f(a, -1)"),
    ("def g(a, **k): f(a)", "def g(a, **k): f(a, **k)"),
    ("def g(a, b): f(a, c=1)", "def g(a, b): f(a, c=1, b=b)"),
)
def argument_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    children = item.children
    if len(children) > 6 or item.end - item.start < 2:
        return
    values: list[Tokens] = [(name,) for name in scope.locals[:12]]
    values += [("0",), ("1",), ("None",), ("True",), ("False",), ("-", "1"), ("2",), ('""',)]
    values += [(text,) for text in scope.mined[:6]]
    named = any(child.kind in ("keyword_argument", "dictionary_splat") for child in children)
    texts = view.texts
    close = item.end - 1
    trailing = texts[close - 1] == ","
    lead: Tokens = (",",) if children and not trailing else ()
    for child in children:
        if child.kind in _POSITIONAL:
            break
        for value in values:
            yield child.start, child.start, (*value, ",")
    if not named:
        for value in values:
            yield close, close, (*lead, *value)
    callee = texts[item.start - 1]
    given = {texts[child.start] for child in item.children if child.kind == "keyword_argument"}
    if callee in ("sorted", "sort", "max", "min"):
        if "key" not in given:
            for name in scope.locals[:6]:
                yield close, close, (*lead, "key", "=", "lambda", "x", ":", name, "[", "x", "]")
        for key in _KEYS:
            if key[0] not in given:
                yield close, close, (*lead, *key)
    for keyword in scope.keywords[:6]:
        if keyword in given:
            continue
        for value in (
            *((name,) for name in scope.locals[:6]),
            ("True",),
            ("False",),
            ("None",),
            ("1",),
            ("0",),
        ):
            yield close, close, (*lead, keyword, "=", *value)
    # what the function itself takes is passed on
    for star, kind in _PASSED_ON.items():
        given_so = any(texts[child.start] == star for child in children)
        for pattern in () if given_so else view.all(kind):
            yield close, close, (*lead, star, *texts[pattern.start + 1 : pattern.end])
    for name in scope.locals[:6]:
        if name not in given:
            yield close, close, (*lead, name, "=", name)


@operator(
    "element_insert",
    "insertion",
    2,
    "list tuple expression_list set",
    ("f([a], b)", "f([a, b], b)"),
    ("f([], a)", "f([a], a)"),
)
def element_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if not (item.load or item.kind == "expression_list") or len(item.children) > 6:
        return
    bare = item.kind == "expression_list"
    close = item.end if bare else item.end - 1
    values: list[Tokens] = [(name,) for name in scope.locals[:10]]
    values += [("0",), ("1",), ("None",), ("[", "]")]
    lead: Tokens = (",",) if item.children and view.texts[close - 1] != "," else ()
    for value in values:
        yield close, close, (*lead, *value)
        if item.children:
            yield item.children[0].start, item.children[0].start, (*value, ",")


@operator(
    "splat",
    "call",
    2,
    "argument_list list_splat dictionary_splat",
    ("f(x)", "f(*x)"),
    ("f(*x)", "f(x)"),
    ("f(**x)", "f(x)"),
)
def splat(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind != "argument_list":
        yield item.start, item.start + 1, ()
        yield item.start, item.start + 1, ("**" if item.kind == "list_splat" else "*",)
        return
    for child in item.children:
        if child.kind in ("identifier", "attribute", "call"):
            yield child.start, child.start, ("*",)


@operator("bracket_call", "call", 2, "call subscript", ("x(i)", "x[i]"), ("x[i]", "x(i)"))
def bracket_call(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    start = item.children[0].end
    inner = tuple(view.texts[start + 1 : item.end - 1])
    if not inner or not item.load:
        return
    if item.kind == "call":
        yield start, item.end, ("[", *inner, "]")
    elif ":" not in inner:
        yield start, item.end, ("(", *inner, ")")


@operator(
    "qualify",
    "attribute",
    2,
    "identifier attribute",
    ("self.x + x", "self.x + self.x"),
    ("f(self.x)", "f(x)"),
)
def qualify(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Add or drop `self.`."""
    if item.kind == "identifier":
        name = view.texts[item.start]
        if (
            item.load
            and name in scope.own
            and "self" in view.texts[view.unit.start : view.unit.end]
        ):
            yield item.start, item.start, ("self", ".")
    elif view.texts[item.start] in ("self", "cls") and item.end - item.start == 3:
        yield item.start, item.start + 2, ()


@operator(
    "call_value",
    "call",
    4,
    "load",
    ("f(a, b); g(a)", "f(g(a), b); g(a)"),
    ("f(a, b)", "f(a, f(a, b))"),
    ("f(a + b)", "f(f(a))"),
)
def call_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """An expression by a call of a function of the unit or file with one or two variables, or by `x()`."""
    if item.kind == "identifier" and item.field == "function":
        return
    if item.end - item.start > 12:
        return
    if item.kind in ("identifier", "attribute") and item.field != "function":
        yield item.end, item.end, ("(", ")")
    simple = item.end - item.start == 1
    for function in scope.functions[:4]:
        arities = scope.calls.get(function, (1, 2))
        for first in scope.locals[:6]:
            if first == function:
                continue
            if 1 in arities:
                yield item.start, item.end, (function, "(", first, ")")
            if 2 in arities and simple:
                for second in scope.locals[:6]:
                    if second not in (first, function):
                        yield item.start, item.end, (function, "(", first, ",", second, ")")


@operator(
    "wrap_both",
    "call",
    2,
    "comparison_operator",
    ("a == b", "len(a) == len(b)"),
    ("a == b", "a.lower() == b.lower()"),
)
def wrap_both(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The same call around both sides of a comparison."""
    if len(item.children) != 2:
        return
    left, right = item.children
    middle = tuple(view.texts[left.end : right.start])
    first, second = view.tokens(left), view.tokens(right)
    for function in _BOTH_SIDES:
        yield (
            item.start,
            item.end,
            (function, "(", *first, ")", *middle, function, "(", *second, ")"),
        )
    for method in ("lower", "upper", "strip"):
        call = (".", method, "(", ")")
        yield item.start, item.end, (
            *view.as_operand(left, 16), *call, *middle, *view.as_operand(right, 16), *call)  # fmt: skip


@operator(
    "unwrap_both",
    "deletion",
    2,
    "comparison_operator",
    ("len(a) == len(b)", "a == b"),
    ("a.lower() == b.lower()", "a == b"),
)
def unwrap_both(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if len(item.children) != 2 or any(child.kind != "call" for child in item.children):
        return
    kept: list[Tokens] = []
    for call in item.children:
        callee, inner = call.children[0], _arguments(view, call)
        if callee.kind == "attribute":
            kept.append(view.tokens(callee.children[0]))
        elif inner is not None and len(inner.children) == 1:
            kept.append(view.tokens(inner.children[0]))
        else:
            return
    left, right = item.children
    yield item.start, item.end, (*kept[0], *view.texts[left.end : right.start], *kept[1])
