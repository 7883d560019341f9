"""Changes of names: variables, functions, attributes and methods by others in scope or by their relatives."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, View

_BUILTIN_GROUPS = (
    ("min", "max", "sum", "len", "abs", "any", "all", "sorted", "reversed"),
    ("int", "float", "str", "bool", "repr", "bytes", "round", "abs", "ord", "chr"),
    ("list", "tuple", "set", "dict", "frozenset", "sorted", "iter", "reversed"),
    ("range", "enumerate", "zip", "map", "filter", "len"),
    ("floor", "ceil", "round", "int", "trunc"),
    ("isinstance", "issubclass", "hasattr", "callable", "getattr"),
)
EXCEPTIONS = ("ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "RuntimeError",
               "Exception", "StopIteration", "NotImplementedError", "OSError", "LookupError")  # fmt: skip
_METHOD_GROUPS = (
    ("append", "extend", "insert", "add", "remove", "pop", "discard", "update", "appendleft", "clear"),
    ("keys", "values", "items", "get", "copy", "setdefault", "pop"),
    ("strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "casefold", "swapcase"),
    ("startswith", "endswith", "find", "rfind", "index", "rindex", "count"),
    ("split", "rsplit", "splitlines", "partition", "rpartition", "join", "replace"),
    ("isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isnumeric", "isdecimal",
     "isidentifier", "istitle"),
    ("union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset"),
    ("pop", "popleft", "sort", "reverse", "index", "count"),
    ("read", "readline", "readlines", "write", "writelines"),
    ("match", "search", "fullmatch", "findall", "finditer", "sub", "split"),
    ("format", "encode", "decode", "join"),
    ("floor", "ceil", "trunc", "sqrt", "isqrt", "fabs"),
    ("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
)  # fmt: skip


def _related(name: str, groups: tuple[tuple[str, ...], ...]) -> dict[str, None]:
    return {other: None for group in groups if name in group for other in group if other != name}


def _called(item: Item) -> bool:
    return item.field == "function" and item.parent is not None and item.parent.kind == "call"


@operator("name", "name", 1, "identifier", ("f(a, b)", "f(b, b)"), ("f(g(a), b)", "f(g(b), b)"))
def name(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Another variable of the unit; for a callee, another function called in it."""
    if item.load:
        here = view.texts[item.start]
        if not _called(item):
            for other in scope.locals:
                if other != here:
                    yield item.start, item.end, (other,)


@operator("function", "name", 1, "identifier", ("f(a); g(a)", "g(a); g(a)"))
def function(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A callee by another function of the unit or file."""
    if item.load and _called(item):
        for other in scope.functions[:16]:
            yield item.start, item.end, (other,)


@operator("name_far", "name", 3, "identifier", ("f(a)\nb = 1", "f(f)\nb = 1"))
def name_far(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A variable by a name of the file or of the caller's list, a callee by a variable."""
    if item.load:
        known = scope.functions[:16] if _called(item) else scope.locals
        for other in scope.names:
            if other not in known:
                yield item.start, item.end, (other,)


@operator("target", "name", 2, "identifier", ("a = f(b)", "b = f(b)"), ("a += b", "b += b"))
def target(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The variable that an assignment binds."""
    parent = item.parent
    if item.load or parent is None:
        return
    bound = item.field == "left" and parent.kind in ("assignment", "augmented_assignment")
    if bound or (parent.kind == "pattern_list" and parent.field == "left"):
        for other in scope.locals:
            yield item.start, item.end, (other,)


@operator(
    "builtin",
    "call",
    2,
    "identifier",
    ("min(x)", "max(x)"),
    ("any(x)", "all(x)"),
    ("set(x)", "list(x)"),
)
def builtin(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.load:
        for other in _related(view.texts[item.start], _BUILTIN_GROUPS):
            yield item.start, item.end, (other,)


@operator("exception", "name", 2, "identifier", ("raise ValueError(x)", "raise TypeError(x)"))
def exception(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.load and view.texts[item.start] in EXCEPTIONS:
        for other in EXCEPTIONS:
            yield item.start, item.end, (other,)


@operator(
    "attribute",
    "attribute",
    2,
    "attribute",
    ("x.a.b", "x.b.b"),
    ("self.a + self.b", "self.b + self.b"),
)
def attribute(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Another attribute or method seen in the file, those seen on self where the object is self."""
    at = item.end - 1
    here = view.texts[at]
    called = item.field == "function" and item.parent is not None and item.parent.kind == "call"
    others: tuple[str, ...] = scope.methods if called else scope.attributes
    if view.texts[item.start] in ("self", "cls") and item.end - item.start == 3 and scope.own:
        others = (*scope.own, *scope.methods[:4], *scope.attributes[:4])
    for other in dict.fromkeys(others[:24]):
        if other != here:
            yield at, item.end, (other,)


@operator(
    "method",
    "attribute",
    2,
    "attribute",
    ("x.append(y)", "x.extend(y)"),
    ("x.lower()", "x.upper()"),
    ("x.keys()", "x.values()"),
)
def method(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A common method by its relatives."""
    for other in _related(view.texts[item.end - 1], _METHOD_GROUPS):
        yield item.end - 1, item.end, (other,)


@operator("keyword_name", "call", 2, "keyword_argument", ("f(a=1); g(b=2)", "f(b=1); g(b=2)"))
def keyword_name(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for other in scope.keywords[:8]:
        yield item.start, item.start + 1, (other,)
