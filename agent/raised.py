"""What an exception in the code says about the expression that raised it: a `str(...)`, an `or []`, a `.get(...)` that is lost.

Of the innermost own frame of a failure the line is known, of the exception its text; the expressions on that line are changed.
And where it passed through a `try` that catches others, it may be one of those that are to be caught.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.locate import Suspect
from agent.values import is_callee
from tools.source.operators.view import ATOM, Change, Item, Tokens, View
from tools.verdicts import Failure, SuiteRun

DOUBT = 2.0  # nats of the likeliest of them
_NUMBERS = {"int", "float"}
_PRIMARY = frozenset({"identifier", "attribute", "call", "subscript"})


@dataclass(frozen=True)
class _Wrap:
    """Tokens around an expression. operands: only around what an operator joins; ors: it ends in `or` something."""

    before: Tokens
    after: Tokens
    operands: bool = False
    ors: bool = False
    doubt: float = DOUBT


def raised(run: SuiteRun, suspect: Suspect, view: View) -> Iterator[tuple[Change, str, float]]:
    """(change of the file's leaves, what it is, its doubt in nats) that the exceptions in a unit suggest."""
    unit, seen = suspect.unit, set[tuple[str, int]]()
    for failure in run.failures:
        for frame in reversed(failure.frames):  # a comprehension's is on the line of its function's
            inside = unit.first_line <= frame.line <= unit.last_line
            if frame.path != suspect.file.path or not inside:
                continue
            key = f"{failure.exception}: {failure.message}", frame.line
            if key in seen:
                continue
            seen.add(key)
            if frame is failure.frames[-1]:
                yield from _of(failure, frame.line, view)
            yield from _caught(failure.exception, frame.line, view)


def _of(failure: Failure, line: int, view: View) -> Iterator[tuple[Change, str, float]]:
    leaves, name = view.module.leaves, failure.exception
    here = [item for item in view.all("load") if leaves[item.start].line == line and not view.is_layered(item)]  # fmt: skip
    if name == "TypeError":
        for wrap in _wraps(failure.message):
            for item in here:
                joined = item.parent is not None and "operator" in item.parent.kind
                whole = item.kind == "binary_operator" and not wrap.ors and not wrap.operands
                if not whole and (item.kind not in _PRIMARY or is_callee(item)):
                    continue
                if joined or not wrap.operands:
                    level = 3 if wrap.ors else ATOM
                    tokens = (*wrap.before, *view.tokens(item), *wrap.after)
                    yield view.put(item, tokens, level), name, wrap.doubt
        yield from _arguments(failure.message, here, view)
    elif name == "KeyError":
        for item in here:
            # what is stored or deleted stays as it is
            if item.kind == "subscript" and len(item.children) == 2:
                of, key = map(view.tokens, item.children)
                yield (item.start, item.end, (*of, ".", "get", "(", *key, ")")), name, DOUBT
    elif name == "StopIteration":
        for item in here:
            if item.kind == "call" and view.texts[item.start] == "next":
                yield (item.end - 1, item.end - 1, (",", "None")), name, DOUBT


def _caught(name: str, line: int, view: View) -> Iterator[tuple[Change, str, float]]:
    """The exception beside those that a `try` around the line catches, or in their place."""
    leaves = view.module.leaves
    if not isinstance(getattr(builtins, name, None), type) and name not in view.texts:
        return
    for item in view.items:
        body = item.children[0] if item.kind == "try_statement" and item.children else None
        if body is None or not leaves[body.start].line <= line <= leaves[body.end - 1].line:
            continue
        for clause in item.children[1:]:
            types = clause.children[0] if clause.kind == "except_clause" else None
            types = types.children[0] if types is not None and types.kind == "as_pattern" else types
            if types is None or types.kind == "block" or name in view.tokens(types):
                continue
            others = view.tokens(types)
            if types.kind == "tuple":
                others = others[1:-1] if others[-2] != "," else others[1:-2]
            else:
                yield (types.start, types.end, (name,)), name, DOUBT + 1
            yield (types.start, types.end, ("(", *others, ",", name, ")")), name, DOUBT


def _wraps(message: str) -> Iterator[_Wrap]:
    """What may be around the expression that a TypeError is about."""

    def call(name: str, operands: bool = True) -> _Wrap:
        return _Wrap((name, "("), (")",), operands)

    if re.search(r"concatenate str|must be str, not", message):
        yield call("str")
    elif match := re.search(r"for [^:]+: '(\w+)' and '(\w+)'|of '(\w+)' and '(\w+)'$", message):
        kinds = {kind for kind in match.groups() if kind}
        if "str" in kinds and kinds & _NUMBERS:
            yield call("int")
            yield call("str")
            yield call("float")
        elif "NoneType" in kinds:
            yield _Wrap((), ("or", "''" if "str" in kinds else "0"), True, True)
        elif {"list", "tuple"} <= kinds:
            yield call("list")
            yield call("tuple")
    elif "expected str instance" in message:
        yield _Wrap(("map", "(", "str", ","), (")",))
    elif match := re.search(r"unhashable type: '(list|set|dict)'", message):
        yield call("tuple" if match[1] == "list" else "frozenset", operands=False)
    elif re.search(r"'NoneType' object is not (iterable|subscr)|'NoneType' has no len", message):
        yield _Wrap((), ("or", "[", "]"), ors=True)
        yield _Wrap((), ("or", "{", "}"), ors=True, doubt=DOUBT + 1)
        yield _Wrap((), ("or", "''"), ors=True, doubt=DOUBT + 1)
    elif re.search(r"indices must be int|'(float|str)' object cannot be interpreted", message):
        yield call("int", operands=False)
    elif re.search(r"'int' object is not iterable", message):
        yield call("range", operands=False)
        yield _Wrap(("[",), ("]",), doubt=DOUBT + 0.5)


def _arguments(message: str, here: list[Item], view: View) -> Iterator[tuple[Change, str, float]]:
    """An argument that a call lacks, by the name of its parameter."""
    match = re.search(r"(\w+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'", message)  # fmt: skip
    if match is None:
        return
    function, parameter = match.groups()
    for item in here:
        if item.kind != "call" or view.texts[item.end - 1] != ")":
            continue
        empty = view.texts[item.end - 2] == "("
        named = function in ("__init__", view.texts[item.children[0].end - 1])
        for value in ((parameter,), ("self", ".", parameter)):
            for tokens in (value, (parameter, "=", *value)):
                change = (item.end - 1, item.end - 1, tokens if empty else (",", *tokens))
                yield change, "TypeError", DOUBT + 0.3 * (len(tokens) - 1) + 2.0 * (not named)
