"""Guards that failing calls suggest: where `mean([])` is to give 0, or to raise ValueError, `if not numbers: return 0` is lost.

What a function was called with is in its frame, where it broke down, and in the test's call of it, where it did not. A guard's
condition must hold in all failing calls that are known, and they must agree on what is expected.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.locate import Suspect
from agent.values import literal
from tools.source import syntax
from tools.source.leaves import DEDENT, INDENT, NEWLINE
from tools.source.operators.view import Change, Item, Tokens, View
from tools.verdicts import Failure, SuiteRun

DOUBT = 2.0  # nats of the first guard of a function
_LATER = 0.3  # nats: a further condition
_TOKEN = 0.15  # nats: a token of what is returned
_ANSWER = 4.0  # nats: of anything but nothing, which may be just this test's answer
_GIVEN = 2.0  # nats: where a value is given instead, not an exception
_MOST_TOKENS = 8
_FAILURES = 20  # that are looked at
_RAISES = ("raises", "assertRaises")


@dataclass(frozen=True)
class _Call:
    """A failing call of a function: names there and their values, what it is to return (... if unknown) or to raise.

    line: where it broke down, 0 if it did not.
    """

    values: dict[str, Any]
    wanted: Any
    raises: str
    line: int


def guards(
    run: SuiteRun, root: Path, suspect: Suspect, view: View
) -> Iterator[tuple[Change, str, float]]:
    """(change of the file's leaves, what it is, its doubt in nats) of the guards that the failures suggest for a function."""
    block = next((item for item in view.items if item.kind == "block"), None)
    if suspect.unit.kind != "function" or block is None:
        return
    known = [call for failure in run.failures[:_FAILURES] if (call := _call(failure, root, suspect))]  # fmt: skip
    actions = list(_actions(known, view))
    first = next((item for item in block.children if not view.is_text(item)), None)
    if not actions or first is None:
        return
    parameters = _parameters(suspect)
    places = [(first, parameters)]
    lines = {call.line for call in known}
    if len(lines) == 1 and (line := lines.pop()):
        place = _statement_at(view, line)
        if place is not None and place is not first:
            read = view.texts[place.start : place.end]
            places.append((place, [name for name in known[0].values if name in read]))
    for place, names in places:
        met = [test for name in names for test in _conditions(name, known)]
        for number, test in enumerate(met):
            for action, doubt in actions:
                tokens = ("if", *test, ":", NEWLINE, INDENT, *action, NEWLINE, DEDENT)
                yield (place.start, place.start, tokens), "guard", DOUBT + doubt + _LATER * number


def _actions(known: Sequence[_Call], view: View) -> Iterator[tuple[Tokens, float]]:
    """What a guard does, with its doubt: what all known calls are to give."""
    if not known:
        return
    raised, wanted = {call.raises for call in known}, known[0].wanted
    if len(raised) == 1 and (name := raised.pop()):
        head = name.split(".")[0]
        if hasattr(builtins, name) or head in view.texts:
            parts = [part for piece in name.split(".") for part in (piece, ".")][:-1]
            yield ("raise", *parts), 0.0
        return
    same = all(not call.raises and _same(call.wanted, wanted) for call in known)
    if wanted is ... or not same:
        return
    literal = _tokens(wanted)
    if literal:
        given = 0.0 if all(call.line for call in known) else _GIVEN
        yield ("return", *literal), _TOKEN * len(literal) + given + _ANSWER * bool(wanted)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _tokens(value: Any) -> Tokens:
    """A short literal's tokens; none of a long one."""
    read = tokenize.generate_tokens(io.StringIO(repr(value)).readline)
    try:
        tokens = tuple(token.string for token in read if token.string.strip())
    except tokenize.TokenError:
        return ()
    return tokens if len(tokens) <= _MOST_TOKENS else ()


def _conditions(name: str, known: Sequence[_Call]) -> list[Tokens]:
    """Conditions on a name that hold in all known calls."""
    values = [call.values.get(name, ...) for call in known]
    if not values or any(value is ... for value in values):
        return []
    found: list[Tokens] = []
    numbers = all(type(value) in (int, float) for value in values)
    if all(value is None for value in values):
        found.append((name, "is", "None"))
    if not any(values):
        found.append(("not", name))
    if numbers and all(value < 0 for value in values):
        found.append((name, "<", "0"))
    if numbers and all(value == 0 for value in values):
        found.append((name, "==", "0"))
    if numbers and all(value <= 0 for value in values):
        found.append((name, "<=", "0"))
    return found


def _parameters(suspect: Suspect) -> list[str]:
    unit, leaves = suspect.unit, suspect.file.module.leaves
    found = []
    for leaf in leaves[unit.start : unit.end]:
        if leaf.text == INDENT:
            break
        plain = leaf.parent in ("parameters", "typed_parameter")
        if leaf.kind == "identifier" and (
            plain or (leaf.parent.endswith("default_parameter") and leaf.field == "name")
        ):
            found.append(leaf.text)
    return [name for name in found if name not in ("self", "cls")]


def _statement_at(view: View, line: int) -> Item | None:
    """The innermost statement that begins a line and holds this one."""
    leaves = view.module.leaves
    holding = [
        gap.parent
        for gap in view.all("gap")
        if gap.field == "before" and gap.parent is not None
        and leaves[gap.parent.start].line <= line <= leaves[gap.parent.end - 1].line
    ]  # fmt: skip
    return max(holding, key=lambda item: item.start, default=None)


# What a test asked.


def _call(failure: Failure, root: Path, suspect: Suspect) -> _Call | None:
    """How the failing test called the function of a suspect; None where that is not known."""
    unit, name = suspect.unit, suspect.unit.name.rpartition(".")[2]
    statement, names = _asked(failure, root)
    if statement is None:
        return None
    wanted, raises = _wanted(failure, statement, names), _raises(statement)
    for frame in failure.frames:
        inside = unit.first_line <= frame.line <= unit.last_line
        if frame.path == suspect.file.path and frame.function == name and inside:
            values = {each: literal(text) for each, text in frame.names.items()}
            return _Call(values, wanted, raises, frame.line)
    if name == "__init__":
        name = unit.name.split(".")[-2]
    for function, positional, keywords in _calls(statement):
        if function == name:
            bound = [*zip(_parameters(suspect), positional, strict=False), *keywords]
            values = {each: _evaluated(node, names) for each, node in bound}
            return _Call(values, wanted, raises, 0)
    return None


@functools.lru_cache(maxsize=8)
def _tree(path: Path, changed: int) -> ast.Module | None:
    del changed  # when: a screen stays open while its user edits the tests
    try:
        return syntax.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


@functools.lru_cache(maxsize=256)  # each suspect asks for the same
def _statement_of(path: Path, line: int, changed: int) -> ast.stmt | None:
    """The innermost statement at a line of a file, or the `with raises(...)` around it."""
    node: ast.AST | None = _tree(path, changed)
    found: ast.stmt | None = None
    while node is not None:
        if isinstance(node, ast.stmt):
            found = node
            if isinstance(node, ast.With) and _raises(node):
                break
        node = next(
            (
                child
                for child in ast.iter_child_nodes(node)
                if isinstance(child, (ast.stmt, ast.excepthandler))
                and child.lineno <= line <= (child.end_lineno or child.lineno)
            ),
            None,
        )
    return found


def _asked(failure: Failure, root: Path) -> tuple[ast.stmt | None, dict[str, str]]:
    """The test's statement that failed, and what its names stood for."""
    file = failure.nodeid.split("::")[0]
    frame = next((frame for frame in reversed(failure.frames) if frame.path == file), None)
    if frame is not None:
        with contextlib.suppress(OSError):
            changed = (root / file).stat().st_mtime_ns
            if (found := _statement_of(root / file, frame.line, changed)) is not None:
                return found, frame.names
    try:  # a doctest
        parsed = syntax.parse(failure.test_line)
    except (SyntaxError, ValueError):
        return None, {}
    return (parsed.body[0] if parsed.body else None), {}


def _last_name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _raises(statement: ast.stmt) -> str:
    """The exception that a test expects of the statement, "" if none."""
    calls: list[ast.expr] = []
    if isinstance(statement, ast.With):
        calls = [item.context_expr for item in statement.items]
    elif isinstance(statement, ast.Expr):
        calls = [statement.value]
    for call in calls:
        if not isinstance(call, ast.Call) or not _last_name(call.func).startswith(_RAISES):
            continue
        if call.args and isinstance(call.args[0], (ast.Name, ast.Attribute)):
            return ast.unparse(call.args[0])
    return ""


def _calls(
    statement: ast.stmt,
) -> Iterator[tuple[str, list[ast.expr], list[tuple[str, ast.expr]]]]:
    """(function, positional arguments, keyword arguments) of the calls in a statement."""
    for node in ast.walk(statement):
        if not isinstance(node, ast.Call):
            continue
        keywords = [(word.arg, word.value) for word in node.keywords if word.arg]
        if any(isinstance(each, ast.Starred) for each in node.args):
            continue
        yield _last_name(node.func), node.args, keywords
        if _last_name(node.func) in _RAISES and len(node.args) > 1:
            yield _last_name(node.args[1]), node.args[2:], keywords


def _evaluated(node: ast.expr, names: dict[str, str]) -> Any:
    if isinstance(node, ast.Name):
        return literal(names.get(node.id))
    try:
        return syntax.literal(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


def _wanted(failure: Failure, statement: ast.stmt, names: dict[str, str]) -> Any:
    """What the test expects of the call; ... where that is not written down."""
    if failure.operator == "==" and failure.expected:
        return literal(failure.expected)
    if not isinstance(statement, ast.Assert):
        return ...
    test = statement.test
    if isinstance(test, ast.Call):
        return True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return False if isinstance(test.operand, ast.Call) else ...
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Eq, ast.Is)):  # fmt: skip
        for side in (test.comparators[0], test.left):
            value = _evaluated(side, names)
            if value is not ...:
                return value
    return ...
