"""Cases that code leaves out: a further type or value, a default, a look that may be in vain.

Of 1,500 mined fixes of one edit, seen with their files, a third was within the reach of the other operators; these are the
commonest forms among the rest that need no new words (docs/experiments.md, session 21).
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator

from tools.source.leaves import Module
from tools.source.operators.base import operator
from tools.source.operators.names import EXCEPTIONS
from tools.source.operators.scope import Scope, known_names
from tools.source.operators.values import is_value
from tools.source.operators.view import ATOM, Change, Item, Tokens, View

_TYPES = ("str", "bytes", "int", "float", "list", "tuple", "dict", "set", "bool")
_RAISED = re.compile(r".*(Error|Exception|Exit|Interrupt)")
_EMPTY: tuple[Tokens, ...] = (
    ("None",),
    ('""',),
    ("0",),
    ("[", "]"),
    ("{", "}"),
    ("(", ")"),
    ("False",),
)
_MOST = 40  # types or literals of the file


@functools.lru_cache(maxsize=8)
def _classes(module: Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(exceptions, other classes) that the names of the file look like."""
    named = sorted(name for name in known_names(module) if name[:1].isupper())
    raised = [name for name in named if _RAISED.fullmatch(name) and name in _own(module)]
    others = [
        name for name in named if not name.isupper() and name in _own(module) and name not in raised
    ]
    return tuple(raised[:_MOST]), tuple(others[:_MOST])


@functools.lru_cache(maxsize=8)
def _own(module: Module) -> frozenset[str]:
    return frozenset(leaf.text for leaf in module.leaves if leaf.kind == "identifier")


@operator(
    "type_insert",
    "insertion",
    2,
    "except_clause call",
    ("try:\n    a\nexcept KeyError:\n    b", "try:\n    a\nexcept (KeyError, TypeError):\n    b"),
    (
        "try:\n    a\nexcept (KeyError, OSError) as e:\n    b",
        "try:\n    a\nexcept (KeyError, OSError, ValueError) as e:\n    b",
    ),
    ("f(isinstance(a, str))", "f(isinstance(a, (str, bytes)))"),
)
def type_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """One more type that is caught, or that a value may be of."""
    raised, classes = _classes(view.module)
    if item.kind == "except_clause":
        place = item.children[0] if item.children else None
        if place is not None and place.kind == "as_pattern":
            place = place.children[0]
        others = (*EXCEPTIONS, *raised)
    else:
        called, arguments = item.children[0], item.children[-1]
        if (
            view.tokens(called) not in (("isinstance",), ("issubclass",))
            or len(arguments.children) != 2
        ):
            return
        place, others = arguments.children[1], (*_TYPES, *classes)
    if place is None or place.kind not in ("identifier", "attribute", "tuple"):
        return
    known = set(view.tokens(place))
    for other in dict.fromkeys(others):
        if other in known:
            continue
        if place.kind == "tuple":
            comma: Tokens = () if view.texts[place.end - 2] == "," else (",",)
            yield place.end - 1, place.end - 1, (*comma, other)
        else:
            yield place.start, place.end, ("(", *view.tokens(place), ",", other, ")")


@operator(
    "lookup",
    "call",
    2,
    "subscript call comparison_operator",
    ("f(a[b])", "f(a.get(b))"),
    ("f(a[b])", 'f(a.get(b, ""))'),
    ("f(a.get(b))", "f(a[b])"),
    ("f(a.get(b))", "f(a.get(b, []))"),
    ("if a in b:\n    c", "if b.get(a):\n    c"),
)
def lookup(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`d[k]`, `d.get(k)` and `d.get(k, default)` by each other, `k in d` by `d.get(k)`."""
    if not item.load:
        return
    if item.kind == "comparison_operator":
        left, right = item.children[0], item.children[-1]
        if len(item.children) == 2 and view.operator(item) == "in" and view.level(right) == ATOM:
            yield view.put(item, (*view.tokens(right), ".", "get", "(", *view.tokens(left), ")"))
        return
    base, key = item.children[0], item.children[-1]
    if item.kind == "subscript":
        if len(item.children) == 2 and key.kind not in ("slice", "integer", "unary_operator"):
            get = (".", "get", "(", *view.tokens(key))
            for default in ((), *((",", *value) for value in _EMPTY)):
                yield base.end, item.end, (*get, *default, ")")
    elif base.kind == "attribute" and view.texts[base.end - 1] == "get" and len(key.children) == 1:
        yield base.end - 2, item.end, ("[", *view.tokens(key.children[0]), "]")
        for value in _EMPTY[1:]:
            yield item.end - 1, item.end - 1, (",", *value)


@functools.lru_cache(maxsize=8)
def _literals(module: Module) -> tuple[str, ...]:
    """Short strings of the file, the frequent ones first."""
    counts = Counter(
        leaf.text for leaf in module.leaves
        if leaf.kind == "string" and not leaf.is_text and len(leaf.text) <= 16
    )  # fmt: skip
    return tuple(text for text, _ in counts.most_common(_MOST))


@operator(
    "member_insert",
    "insertion",
    2,
    "comparison_operator tuple list set",
    ("if a == 'b':\n    f('c')", "if a in ('b', 'c'):\n    f('c')"),
    ("if a != 'b':\n    f('c')", "if a not in ('c', 'b'):\n    f('c')"),
    ("if a in ('b', 'c'):\n    f('d')", "if a in ('b', 'c', 'd'):\n    f('d')"),
)
def member_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """One more literal that a value is compared with, of the unit, the tests or the file."""
    if not item.load or not item.children:
        return
    last = item.children[-1]
    if last.kind not in ("string", "integer") or last.end - last.start != 1:
        return
    quoted = last.kind == "string"
    found = (*scope.literals, *scope.mined[:16], *(_literals(view.module) if quoted else ()))
    here = set(view.tokens(item))
    others = [
        text for text in dict.fromkeys(found) if (text[-1] in "'\"") == quoted and text not in here
    ]
    if item.kind == "comparison_operator":
        at = item.children[0].end
        word = {"==": "in", "!=": "not in"}.get(view.texts[at])
        if word is None or len(item.children) != 2:
            return
        own = view.texts[last.start]
        for other in others[:_MOST]:
            yield at, item.end, (word, "(", own, ",", other, ")")
            yield at, item.end, (word, "(", other, ",", own, ")")
    elif view.texts[item.end - 2] != ",":
        for other in others[:_MOST]:
            yield item.end - 1, item.end - 1, (",", other)


@operator(
    "default_insert",
    "insertion",
    2,
    "identifier typed_parameter",
    ("def f(a):\n    b", "def f(a=None):\n    b"),
    ("def f(a: b):\n    c", "def f(a: b=False):\n    c"),
)
def default_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A default for the last parameter that has none."""
    parent = item.parent
    if parent is None or parent.kind != "parameters" or view.texts[item.start] in ("self", "cls"):
        return
    following = parent.children[item.number + 1 :]
    if following and following[0].kind in ("identifier", "typed_parameter"):
        return
    for value in (*_EMPTY, ("True",), ("1",)):
        yield item.end, item.end, ("=", *value)


@operator(
    "default_value",
    "insertion",
    3,
    "identifier call attribute subscript",
    ("f(a)", 'f(a or "")'),
    ("a = b.c", "a = b.c or []"),
)
def default_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """`value or` something, where the value may be empty or None."""
    parent = item.parent
    if not is_value(item) or item.condition or parent is None or item.end - item.start > 12:
        return
    if parent.kind not in (
        "argument_list",
        "return_statement",
        "assignment",
        "keyword_argument",
        "list",
        "tuple",
    ):
        return
    here = view.tokens(item)
    for other in (*_EMPTY[1:5], *((name,) for name in scope.locals[:4])):
        if other != here:
            yield view.put(item, (*here, "or", *other), 3)


@operator("length_value", "call", 2, "integer", ("f(a, 1)", "f(a, len(a))"))
def length_value(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A number by the length of a variable."""
    if item.load:
        for name in scope.locals[:8]:
            yield item.start, item.end, ("len", "(", name, ")")
