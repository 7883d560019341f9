"""Changes of statements and blocks: delete, insert, move, wrap, return."""

from __future__ import annotations

from collections.abc import Iterator

from tools.source.leaves import DEDENT, INDENT, NEWLINE
from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, Tokens, View

_LOOPS = ("for_statement", "while_statement")
_FARTHEST = 3  # statements, or blocks
_COMPOUND = "if_statement for_statement while_statement with_statement try_statement"


def in_function(view: View, item: Item) -> bool:
    """Whether a `return` may stand in the item's place."""
    return any(parent.kind == "function_definition" for parent in item.ancestors())


def in_loop(item: Item) -> bool:
    """Whether `break` may stand in the item's place."""
    for parent in item.ancestors():
        if parent.kind in _LOOPS:
            return True
        if parent.kind == "function_definition":
            return False
    return False


def _siblings(view: View, item: Item) -> list[Item]:
    if item.parent is not None:
        return item.parent.children
    return [other for other in view.all("statement") if other.parent is None]


def _next(view: View, item: Item) -> Item | None:
    """The statement after the item in its block."""
    siblings = _siblings(view, item)
    at = siblings.index(item) + 1
    return siblings[at] if at < len(siblings) else None


def _block(item: Item) -> Item | None:
    """The (first) block of a compound statement."""
    return next((child for child in item.children if child.kind == "block"), None)


def _inside(view: View, block: Item) -> tuple[int, int] | None:
    """The leaves of a block's lines between its INDENT and its DEDENT, None for a one-line suite."""
    if view.texts[block.start - 1] != INDENT:
        return None
    end = block.end
    depth = 1
    texts = view.texts
    end = block.start
    while end < len(texts):
        depth += (texts[end] == INDENT) - (texts[end] == DEDENT)
        if depth == 0:
            return block.start, end
        end += 1
    return None


@operator(
    "statement_delete",
    "deletion",
    2,
    "statement part",
    ("f(a)\ng(a)", "f(a)"),
    ("if a:\n    return_ = b\nc", "if a:\n    pass\nc"),
    ("if a: b", "if a: pass"),
)
def statement_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Delete a statement; the only one of a block becomes `pass`."""
    if item.start == view.unit.start and item.kind in (
        "function_definition",
        "decorated_definition",
    ):
        return
    span = view.span(item)
    alone = len(_siblings(view, item)) == 1 and item.parent is not None
    if span is None or alone:
        if span is not None:
            yield *span, ("pass", NEWLINE)
        elif item.kind != "pass_statement":
            yield item.start, item.end, ("pass",)
    elif len(_siblings(view, item)) > 1:
        yield *span, ()


@operator(
    "pair_delete",
    "deletion",
    2,
    "statement part",
    ("a = f(b)\nd = g(a)\nreturn_ = b", "return_ = b"),
    ("if a:\n    b()\n    c()\nd", "if a:\n    pass\nd"),
)
def pair_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Delete two neighbouring statements; the only ones of a block become `pass`."""
    siblings = _siblings(view, item)
    at = next((i for i, other in enumerate(siblings) if other is item), len(siblings))
    if at + 1 >= len(siblings):
        return
    first, second = view.span(item), view.span(siblings[at + 1])
    if first is not None and second is not None and first[1] == second[0]:
        alone = len(siblings) == 2 and item.parent is not None
        yield first[0], second[1], ("pass", NEWLINE) if alone else ()


@operator(
    "clause_delete",
    "deletion",
    2,
    "elif_clause else_clause except_clause finally_clause",
    ("if a:\n    b\nelse:\n    c", "if a:\n    b"),
)
def clause_delete(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    span = view.span(item)
    if (
        item.kind in ("except_clause", "finally_clause")
        and item.parent is not None
        and (
            sum(other.kind in ("except_clause", "finally_clause") for other in item.parent.children)
            == 1
        )
    ):
        return
    if span is not None:
        yield *span, ()


@operator(
    "block_unwrap",
    "deletion",
    2,
    _COMPOUND,
    ("if a:\n    b\nc", "b\nc"),
    ("for a in b:\n    c", "c"),
)
def block_unwrap(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The body without its `if`, `for`, `while`, `with` or `try`."""
    span, block = view.span(item), _block(item)
    if span is None or block is None:
        return
    inside = _inside(view, block)
    if inside is not None:
        yield *span, tuple(view.texts[inside[0] : inside[1]])


@operator(
    "else_unwrap", "statement", 2, "else_clause", ("if a:\n    b\nelse:\n    c", "if a:\n    b\nc")
)
def else_unwrap(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The body of an `else` made unconditional."""
    span, block = view.span(item), _block(item)
    inside = _inside(view, block) if block is not None else None
    if span is not None and inside is not None:
        yield *span, tuple(view.texts[inside[0] : inside[1]])


@operator(
    "else_insert", "statement", 2, _COMPOUND, ("if a:\n    b\nc", "if a:\n    b\nelse:\n    c")
)
def else_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """The next statement into an `else`."""
    span, following = view.span(item), _next(view, item)
    if item.kind == "with_statement" or span is None or following is None:
        return
    if item.children[-1].kind in ("else_clause", "finally_clause"):
        return
    after = view.span(following)
    if after is not None and after[0] == span[1]:
        yield *after, ("else", ":", NEWLINE, INDENT, *view.texts[after[0] : after[1]], DEDENT)


@operator(
    "return_change",
    "statement",
    2,
    "expression_statement return_statement",
    ("def f():\n    x", "def f():\n    return x"),
    ("def f():\n    return x", "def f():\n    x"),
    ("def f():\n    return x", "def f():\n    return"),
)
def return_change(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Insert or drop `return`."""
    if item.kind == "return_statement":
        if item.children:
            yield item.start, item.start + 1, ()
            yield item.start + 1, item.end, ()
        return
    if not in_function(view, item) or not item.children:
        return
    value = item.children[0]
    if value.load:
        yield item.start, item.start, ("return",)
    elif (
        value.kind == "assignment"
        and view.operator(value) == "="
        and value.children[-1].kind != "assignment"
    ):
        yield item.start, item.end, ("return", *view.tokens(value.children[-1]))


@operator(
    "return_assign",
    "statement",
    4,
    "return_statement",
    ("def f(a):\n    return b", "def f(a):\n    a = b"),
)
def return_assign(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    for name in scope.locals[:6] if item.children else ():
        yield item.start, item.start + 1, (name, "=")


@operator("swap_sides", "order", 2, "assignment", ("a = b", "b = a"), ("a.b = c[d]", "c[d] = a.b"))
def swap_sides(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    left, right = item.children[0], item.children[-1]
    places = ("identifier", "attribute", "subscript", "pattern_list", "expression_list")
    if view.operator(item) == "=" and right.kind in places:
        yield item.start, item.end, (*view.tokens(right), "=", *view.tokens(left))


@operator(
    "await_change",
    "statement",
    2,
    "await call",
    ("async def f():\n    await g()", "async def f():\n    g()"),
    ("async def f():\n    g()", "async def f():\n    await g()"),
)
def await_change(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    if item.kind == "await":
        yield item.start, item.start + 1, ()
    elif (
        item.load
        and view.texts[view.unit.start] == "async"
        and (item.parent is None or item.parent.kind != "await")
    ):
        yield view.put(item, ("await", *view.tokens(item)), 15)


@operator(
    "decorator_change",
    "statement",
    2,
    "decorator decorated_definition function_definition",
    ("@a\ndef f():\n    b", "def f():\n    b"),
)
def decorator_change(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Drop a decorator, or put one of the common ones first."""
    if item.kind == "decorator":
        if item.end < len(view.texts) and view.texts[item.end] == NEWLINE:
            yield item.start, item.end + 1, ()
    elif (
        view.begins_line(item)
        and (item.parent is None or item.parent.kind != "decorated_definition")
        and "." in view.unit.name
        and item.start == view.unit.start
    ):
        for name in ("property", "staticmethod", "classmethod"):
            yield item.start, item.start, ("@", name, NEWLINE)


@operator(
    "statement_move",
    "statement",
    2,
    "statement",
    ("f(a)\ng(a)", "g(a)\nf(a)"),
    ("for a in b:\n    c\n    d", "for a in b:\n    c\nd"),
    ("for a in b:\n    c\nd", "for a in b:\n    c\n    d"),
    ("if a:\n    b\n    c", "b\nif a:\n    c"),
)
def statement_move(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Past the next statement, out of its block at either end, into the block before it."""
    span = view.span(item)
    if span is None:
        return
    start, end = span
    texts = view.texts
    lines = tuple(texts[start:end])
    following = _next(view, item)
    if following is not None:
        after = view.span(following)
        if after is not None and after[0] == end:
            yield start, after[1], (*texts[end : after[1]], *lines)
            block = _block(following)
            inside = _inside(view, block) if block is not None else None
            if inside is not None:  # into the block that follows, first
                yield start, inside[0], (*texts[end : inside[0]], *lines)
    # into the block that ends just before
    closing = start
    while closing > 0 and texts[closing - 1] == DEDENT and closing - 1 >= view.unit.start:
        closing -= 1
        yield closing, end, (*lines, *texts[closing:start])
    block = item.parent
    if block is None or block.kind != "block" or len(block.children) < 2 or block.parent is None:
        return
    if end < len(texts) and texts[end] == DEDENT and not _continues(view, end + 1):
        yield start, end + 1, (DEDENT, *lines)
    header = block.parent
    if item is block.children[0] and header.kind in _COMPOUND.split() and view.begins_line(header):
        yield header.start, end, (*lines, *texts[header.start : start])


@operator(
    "statement_move_far",
    "statement",
    2,
    "statement",
    ("f(a)\ng(a)\nh(a)", "g(a)\nh(a)\nf(a)"),
    ("f(a)\ng(a)\nh(a)", "h(a)\nf(a)\ng(a)"),
    ("for a in b:\n    if a:\n        c\n        d", "for a in b:\n    if a:\n        c\nd"),
)
def statement_move_far(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """Past the next two or three statements, before the two or three ahead of it, out of two or three blocks at their end."""
    span = view.span(item)
    if span is None:
        return
    start, end = span
    texts = view.texts
    lines = tuple(texts[start:end])
    siblings = _siblings(view, item)
    at = siblings.index(item)
    for other in siblings[at + 2 : at + 1 + _FARTHEST]:
        after = view.span(other)
        if after is not None:
            yield start, after[1], (*texts[end : after[1]], *lines)
    for other in siblings[max(0, at - _FARTHEST) : max(0, at - 1)]:
        if view.begins_line(other) and not view.module.leaves[other.start].is_text:
            yield other.start, end, (*lines, *texts[other.start : start])
    if item.parent is None or len(item.parent.children) < 2:
        return
    for levels in range(2, _FARTHEST + 1):
        out = (DEDENT,) * levels
        stop = end + levels
        if tuple(texts[end:stop]) == out and not _continues(view, stop):
            yield start, stop, (*out, *lines)


def _continues(view: View, index: int) -> bool:
    """Whether an `else`, `elif`, `except` or `finally` stands at the leaf."""
    return index < len(view.texts) and view.texts[index] in ("else", "elif", "except", "finally")


@operator(
    "statement_insert",
    "insertion",
    3,
    "gap",
    ("for a in b:\n    f(a)", "for a in b:\n    f(a)\n    b += 1"),
    ("for a in b:\n    f(a)", "for a in b:\n    f(a)\n    break"),
    ("def f(a, b):\n    a.g(b)", "def f(a, b):\n    a.g(b)\n    return a"),
    ("def f(a, b):\n    a.append(b[0])", "def f(a, b):\n    b.append(a)\n    a.append(b[0])"),
)
def statement_insert(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A statement of a small grammar before or after a statement."""
    at = item.start
    place = item.parent
    assert place is not None
    last = item.field == "after"
    if last and place.kind in (
        "return_statement",
        "break_statement",
        "continue_statement",
        "raise_statement",
    ):
        return
    names = scope.locals[:6]
    methods = [
        name
        for name in ("append", "add", "extend", "remove", "update")
        if name in ("append", *scope.methods)
    ]
    made: list[Tokens] = []
    if last and in_loop(place):
        made += [("break",), ("continue",)]
    if last and in_function(view, place):
        made += [("return", name) for name in names]
        made += [
            ("return",),
            ("return", "None"),
            ("return", "True"),
            ("return", "False"),
            ("return", "[", "]"),
        ]
        made += [("return", "0"), ("return", "1"), ("return", "-", "1")]
    for name in names:
        made += [
            (name, "+=", "1"),
            (name, "-=", "1"),
            (name, "=", "0"),
            (name, "=", "[", "]"),
            (name, "=", "None"),
            (name, "=", "True"),
            (name, "=", "False"),
        ]
        made += [(name, "=", name, "[", "1", ":", "]")]
        for other in names:
            if other != name:
                made += [(name, "=", other), (name, "+=", other)]
                made += [(name, ".", "append", "(", other, "[", "-", "1", "]", ")")]
                made += [(name, ".", method, "(", other, ")") for method in methods]
    for tokens in made:
        yield at, at, (*tokens, NEWLINE)


@operator(
    "statement_wrap",
    "insertion",
    4,
    "statement",
    ("f(a)", "if a:\n    f(a)"),
    ("f(a)", "if not a:\n    f(a)"),
)
def statement_wrap(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A statement put under an `if` with a test of the unit or of one variable."""
    span = view.span(item)
    if span is None or item.kind in (
        "function_definition",
        "decorated_definition",
        "class_definition",
    ):
        return
    lines = tuple(view.texts[span[0] : span[1]])
    if len(lines) > 24:
        return
    tests: list[Tokens] = [tokens for tokens, _ in view.tests[:6]]
    for name in scope.locals[:4]:
        tests += [(name,), ("not", name), (name, "is not", "None"), (name, ">", "0")]
    for test in dict.fromkeys(tests):
        yield *span, ("if", *test, ":", NEWLINE, INDENT, *lines, DEDENT)
