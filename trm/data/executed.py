"""Executed examples: self-contained functions, called with made-up arguments, broken, and called again.

What comes out is what `fix` sees: coverage of passing and failing tests, the failing test's line, the actual and the expected
value or the exception with the values of names on its way. Only mutants that a test tells from the original become examples.
"""

from __future__ import annotations

import ast
import builtins
import random
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tools.source.leaves import Leaf, Module, SourceError
from trm.data.corrupt import Broken, break_function, shown_names, targets_of
from trm.data.functions import Function
from trm.data.inputs import argument_lists, more_like, parameters
from trm.encode import (
    Encoded,
    Execution,
    FailureText,
    Target,
    carry_to_continuations,
    encode,
    type_of_repr,
)
from trm.vocab import Vocab

PRELUDE = """\
import bisect, collections, copy, datetime, decimal, fractions, functools, heapq, itertools, math, operator, random, re
import statistics, string, textwrap, typing, unicodedata
import typing as t
from bisect import *
from collections import *
from copy import copy, deepcopy
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import add, attrgetter, eq, itemgetter, mul, sub, xor
from string import *
from typing import *
"""
_REFUSED = frozenset({"open", "exec", "eval", "compile", "__import__", "input", "breakpoint", "exit", "quit", "help", "globals",
                      "locals", "vars", "random", "id", "hash", "object", "print", "choice", "shuffle"})  # fmt: skip
_MOST_HELPERS = 4
_LEAST_LEAVES = 25  # smaller functions have no place to look for


class Returned(Protocol):
    """See tools.calls.Returned."""

    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def lines(self) -> tuple[int, ...]: ...


class Result(Protocol):
    """See tools.calls.Result."""

    @property
    def outcome(self) -> str: ...
    @property
    def lines(self) -> tuple[int, ...]: ...
    @property
    def actual(self) -> str: ...
    @property
    def exception(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def frames(self) -> tuple[tuple[int, dict[str, str]], ...]: ...
    @property
    def first(self) -> bool: ...


class Calls(Protocol):
    """See tools.calls.Caller: the confined process is handed in, since this package runs nothing itself."""

    def probe(
        self, source: str, name: str, prelude: str, arguments: Sequence[str], *, listed: bool
    ) -> Sequence[Returned]: ...

    def run(
        self, sources: Sequence[str], name: str, prelude: str, tests: Sequence[tuple[str, str]], *, listed: bool
    ) -> Sequence[Sequence[Result] | None]: ...  # fmt: skip


@dataclass(frozen=True)
class Tested:
    """A function with tests that it passes: (arguments, expected value) as source text. listed: a generator, read to its end."""

    function: Function
    module: Module
    prelude: str
    tests: tuple[tuple[str, str], ...]
    listed: bool


def _provided() -> frozenset[str]:
    space: dict[str, object] = {}
    exec(PRELUDE, space)  # our own text: imports of the standard library
    return frozenset(space) | frozenset(dir(builtins))


PROVIDED = _provided() - _REFUSED


def free_names(function: Function) -> frozenset[str] | None:
    """Global names that a function uses; None for what cannot be called alone: methods, coroutines, decorated functions."""
    try:
        definition = ast.parse(function.source).body[0]
        table = symtable.symtable(function.source, "unit", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        return None
    arguments = [a.arg for a in (*definition.args.posonlyargs, *definition.args.args)]
    if not arguments or arguments[0] in ("self", "cls", "mcs") or len(arguments) > 6:
        return None
    found: set[str] = set()
    waiting = list(table.get_children())
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        if isinstance(scope, symtable.Function):
            found.update(scope.get_globals())
    found |= {node.id for node in ast.walk(definition.args) if isinstance(node, ast.Name)}
    if definition.returns is not None:
        found |= {node.id for node in ast.walk(definition.returns) if isinstance(node, ast.Name)}
    return frozenset(found - {function.name})


def self_contained(functions: Iterable[Function]) -> Iterator[tuple[Function, str]]:
    """Functions that need nothing but the standard library and a few neighbours of their file, each with its prelude."""
    files: dict[str, dict[str, tuple[Function, frozenset[str]]]] = {}
    every = []
    for function in functions:
        needed = free_names(function)
        if needed is None or needed & _REFUSED:
            continue
        path, _, qualified = function.origin.rpartition(":")
        if "." not in qualified:
            files.setdefault(path, {})[function.name] = (function, needed)
        every.append((function, needed, path))
    for function, needed, path in every:
        helpers: dict[str, str] = {}
        open_names = sorted(needed - PROVIDED)
        while open_names and len(helpers) <= _MOST_HELPERS:
            name = open_names.pop()
            helper = files.get(path, {}).get(name)
            if name in helpers:
                continue
            if helper is None or name == function.name:
                open_names.append(name)
                break
            helpers[name] = helper[0].source
            open_names += sorted(helper[1] - PROVIDED - set(helpers) - {function.name})
        if not open_names:
            yield function, PRELUDE + "\n".join(helpers.values())


def with_tests(function: Function, prelude: str, calls: Calls, rng: random.Random) -> Tested | None:
    """The function with tests, or None if no kind of argument gave two different results."""
    try:
        module = Module(function.source.encode())
        wanted = parameters(function.source)
    except (SourceError, SyntaxError, ValueError, RecursionError):
        return None
    if wanted is None or not module.units or module.units[0].kind != "function":
        return None
    if len(module.leaves) < _LEAST_LEAVES:
        return None
    listed = any(leaf.text == "yield" for leaf in module.leaves)
    optional = len(wanted) and rng.random() < 0.5
    needed = wanted[:-1] if _has_optional(function.source) and not optional else wanted
    lists = [*documented(function), *argument_lists(needed, rng, 60)]
    found = _probe(function, prelude, calls, lists, listed)
    if not found:
        return None
    further = more_like([arguments for arguments, _, _ in found], rng, 30)
    found += _probe(function, prelude, calls, further, listed)
    chosen = _choose(found, rng)
    if len({text for _, text, _ in chosen}) < 2:
        return None
    tests = tuple((", ".join(arguments), text) for arguments, text, _ in chosen)
    return Tested(function, module, prelude, tests, listed)


def documented(function: Function) -> list[tuple[str, ...]]:
    """Argument lists of the calls in a docstring's examples."""
    definition = ast.parse(function.source).body[0]
    text = ast.get_docstring(definition) if isinstance(definition, ast.FunctionDef) else None
    found: list[tuple[str, ...]] = []
    for line in (text or "").splitlines():
        if ">>>" not in line:
            continue
        try:
            tree = ast.parse(line.partition(">>>")[2].strip())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function.name:
                found.append(tuple(ast.unparse(argument) for argument in node.args))
    return found[:12]


def _has_optional(source: str) -> bool:
    definition = ast.parse(source).body[0]
    return isinstance(definition, ast.FunctionDef) and bool(definition.args.defaults)


def _probe(
    function: Function, prelude: str, calls: Calls, lists: Sequence[tuple[str, ...]], listed: bool
) -> list[tuple[tuple[str, ...], str, frozenset[int]]]:
    returned = calls.probe(
        function.source, function.name, prelude, [", ".join(a) for a in lists], listed=listed
    )
    return [(lists[r.index], r.text, frozenset(r.lines)) for r in returned]


def _choose(found: list[tuple[tuple[str, ...], str, frozenset[int]]], rng: random.Random):
    """A handful of tests: first those that run new lines, then those with new results."""
    rng.shuffle(found)
    # None says little, and half of all guesses give it
    found.sort(key=lambda one: one[1] == "None")
    number = rng.choice((2, 3, 4, 5, 6, 8, 10))
    chosen: list[tuple[tuple[str, ...], str, frozenset[int]]] = []
    lines: set[int] = set()
    seen: set[str] = set()
    for want_lines in (True, False):
        for one in found:
            if len(chosen) >= number:
                break
            fresh = bool(one[2] - lines) if want_lines else one[1] not in seen
            if fresh and one not in chosen:
                chosen.append(one)
                lines |= one[2]
                seen.add(one[1])
    rng.shuffle(chosen)
    return chosen


def executed_examples(
    vocab: Vocab, tested: Tested, calls: Calls, rng: random.Random, weights: Mapping[str, float] | None, *,
    variants: int, longest: int = 256, multi: float = 0.4,
) -> Iterator[tuple[Encoded, list[Target], tuple[str, ...]]]:  # fmt: skip
    """Up to `variants` examples of one function; mutants that pass every test, or that nothing came of, are left out."""
    function = tested.function
    broken: dict[bytes, Broken] = {}
    for _ in range(variants * 2):
        bugs = rng.choice((2, 3)) if rng.random() < multi else 1
        one = break_function(tested.module, bugs, rng, weights, function.names)
        if one is not None:
            broken.setdefault(one.module.source, one)
        if len(broken) >= variants:
            break
    sources = [source.decode() for source in broken]
    ran = calls.run(sources, function.name, tested.prelude, tested.tests, listed=tested.listed)
    for one, results in zip(broken.values(), ran, strict=True):
        if results is None or all(r.outcome == "passed" for r in results):
            continue
        # a mutant that never works is found by any line: too easy to be worth much
        if all(r.outcome == "raised" for r in results) and rng.random() < 0.4:
            continue
        made = _example(vocab, tested, one, results, rng, longest)
        if made is not None:
            yield made


def innocent_examples(
    vocab: Vocab, tested: Tested, calls: Calls, rng: random.Random, weights: Mapping[str, float] | None, *, longest: int = 256
) -> Iterator[tuple[Encoded, list[Target], tuple[str, ...]]]:  # fmt: skip
    """The function itself whole, one of its helpers broken: tests fail, and there is no bug here (NO_BUG)."""
    helpers = tested.prelude[len(PRELUDE) :]
    if not helpers:
        return
    try:
        module = Module(helpers.encode())
        broken = break_function(module, 1, rng, weights)
    except SourceError:
        return
    if broken is None:
        return
    prelude = PRELUDE + broken.module.source.decode()
    source = tested.function.source
    results = calls.run(
        [source], tested.function.name, prelude, tested.tests, listed=tested.listed
    )[0]
    if results is None or all(r.outcome == "passed" for r in results):
        return
    unbroken = Broken(tested.module, (), ("none",), ())
    made = _example(vocab, tested, unbroken, results, rng, longest)
    if made is not None:
        yield made


def _example(
    vocab: Vocab, tested: Tested, broken: Broken, results: Sequence[Result], rng: random.Random, longest: int
) -> tuple[Encoded, list[Target], tuple[str, ...]] | None:  # fmt: skip
    leaves = broken.module.leaves
    shown = shown_names(tested.function.near, rng)
    failure, values, frames = failure_of(tested, results, rng)
    execution = replace(
        coverage_of(leaves, results), frames=frames, values=values,
        actual=failure.actual, expected=failure.expected,
    )  # fmt: skip
    encoded = encode(
        vocab, leaves, names=shown, execution=execution,
        failure=failure if rng.random() < 0.9 else None,
    )  # fmt: skip
    if encoded.length > longest:
        return None
    kept = targets_of(vocab, encoded, broken.fixes)
    return (encoded, kept, broken.operators) if kept or not broken.fixes else None


def coverage_of(leaves: Sequence[Leaf], results: Sequence[Result]) -> Execution:
    """Counts of failing and passing tests a line."""
    cover_fail: dict[int, int] = {}
    cover_pass: dict[int, int] = {}
    failing = 0
    for result in results:
        failed = result.outcome != "passed"
        failing += failed
        table = cover_fail if failed else cover_pass
        for line in result.lines:
            table[line] = table.get(line, 0) + 1
    carry_to_continuations(leaves, cover_fail, cover_pass)
    return Execution(failing, len(results) - failing, cover_fail, cover_pass)


def failure_of(
    tested: Tested, results: Sequence[Result], rng: random.Random
) -> tuple[FailureText, dict[str, tuple[str, str]], dict[int, int]]:
    """The first failure that has something to tell, as text; values of names and depth of lines on an exception's way."""
    for (arguments, expected), result in zip(tested.tests, results, strict=True):
        if not result.first:
            continue
        called = rng.choices((tested.function.name, "candidate"), (0.85, 0.15))[0]
        call = f"{called}({arguments})"
        if tested.listed:
            call = f"list({call})"
        style = rng.random()
        test = (
            f"assert {call} == {expected}"
            if style < 0.75
            else f"self.assertEqual({call}, {expected})"
        )
        if expected in ("True", "False") and style < 0.5:
            test = f"assert {call}" if expected == "True" else f"assert not {call}"
        if style > 0.93:
            test = "assert result == expected"
        if result.outcome == "failed":
            return FailureText(test, result.actual, expected, "AssertionError"), {}, {}
        frames: dict[int, int] = {}
        values: dict[str, tuple[str, str]] = {}
        for depth, (line, names) in enumerate(result.frames):
            deepest = depth == len(result.frames) - 1
            frames[line] = max(frames.get(line, 0), 2 if deepest else 1)
            values.update({k: (type_of_repr(v), v) for k, v in names.items()})
        said = f"{result.exception}: {result.message}" if result.message else result.exception
        return FailureText(test, "", "", said), values, frames
    return FailureText(), {}, {}
