"""Executed examples: self-contained functions and methods, called with made-up arguments, broken, and called again.

What comes out is what `fix` sees: coverage of passing and failing tests, the failing test's line, the actual and the expected
value or the exception with the values of names on its way. Only mutants that a test tells from the original become examples.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tools.source.leaves import Leaf, Module, SourceError
from trm.data.alone import PRELUDE, Alone
from trm.data.corrupt import Broken, break_function, shown_names, targets_of
from trm.data.functions import Function
from trm.data.inputs import argument_lists, more_like, parameters
from trm.encode import (
    LENGTHS,
    Encoded,
    Execution,
    FailureText,
    Target,
    carry_to_continuations,
    encode,
    type_of_repr,
)
from trm.vocab import Vocab

_LEAST_LEAVES = 25  # smaller functions have no place to look for


class Returned(Protocol):
    """See tools.calls.Returned."""

    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def lines(self) -> tuple[int, ...]: ...
    @property
    def attribute(self) -> str: ...


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
        self, sources: Sequence[str], name: str, prelude: str, tests: Sequence[tuple[str, str, str]], *, listed: bool
    ) -> Sequence[Sequence[Result] | None]: ...  # fmt: skip


@dataclass(frozen=True)
class Test:
    """A call and what must come of it: the returned value, or with `attribute` the value of that of the first argument.

    arguments: source texts, of a method first the object; expected: source text; lines: of the function that run.
    """

    arguments: tuple[str, ...]
    expected: str
    attribute: str = ""
    lines: frozenset[int] = frozenset()

    def as_request(self) -> tuple[str, str, str]:
        """What `Calls.run` takes."""
        return ", ".join(self.arguments), self.expected, self.attribute


@dataclass(frozen=True)
class Tested:
    """A function with tests that it passes. listed: a generator, read to its end."""

    alone: Alone
    module: Module
    tests: tuple[Test, ...]
    listed: bool

    @property
    def function(self) -> Function:
        """The function itself."""
        return self.alone.function

    def run(self, calls: Calls, sources: Sequence[str], prelude: str = "") -> Sequence[Sequence[Result] | None]:  # fmt: skip
        """The tests of every source, with the function's own prelude unless another is given."""
        requests = [test.as_request() for test in self.tests]
        prelude = prelude or self.alone.prelude
        return calls.run(sources, self.function.name, prelude, requests, listed=self.listed)


def with_tests(alone: Alone, calls: Calls, rng: random.Random) -> Tested | None:
    """The function with a handful of tests, or None if no kind of argument gave two different results."""
    every = with_all_tests(alone, calls, rng)
    if every is None:
        return None
    tests = _choose(every, rng)
    return replace(every, tests=tests) if _tell_apart(tests) else None


def with_all_tests(
    alone: Alone, calls: Calls, rng: random.Random, given: Sequence[tuple[str, ...]] = ()
) -> Tested | None:
    """The function with every call that came to a result, or None if no kind of argument gave two different results.

    given: argument lists to try first.
    """
    function = alone.function
    try:
        module = Module(function.source.encode())
        wanted = parameters(function.source)
        made_from = parameters(alone.init) if alone.init else [("self", "")]
    except (SourceError, SyntaxError, ValueError, RecursionError):
        return None
    if (
        wanted is None
        or made_from is None
        or not module.units
        or module.units[0].kind != "function"
    ):
        return None  # fmt: skip
    if len(module.leaves) < _LEAST_LEAVES:
        return None
    listed = any(leaf.text == "yield" for leaf in module.leaves)
    optional = len(wanted) and rng.random() < 0.5
    needed = wanted[:-1] if _has_optional(function.source) and not optional else wanted
    if alone.of_class:
        lists = _of_method(alone.of_class, made_from[1:], needed[1:], rng)
    else:
        lists = [*given, *documented(function), *argument_lists(needed, rng, 60)]
    found = _probe(alone, calls, lists, listed)
    if not found:
        return None
    found += _probe(alone, calls, more_like([test.arguments for test in found], rng, 30), listed)
    return Tested(alone, module, tuple(found), listed) if _tell_apart(found) else None


def _tell_apart(tests: Iterable[Test]) -> bool:
    return len({test.expected for test in tests}) > 1


def _of_method(
    of_class: str, made_from: Sequence[tuple[str, str]], needed: Sequence[tuple[str, str]], rng: random.Random
) -> list[tuple[str, ...]]:  # fmt: skip
    """Argument lists of a method: first an object of its class."""
    objects = [f"{of_class}({', '.join(one)})" for one in argument_lists(made_from, rng, 80)]
    lists = argument_lists(needed, rng, 80)
    number = max(len(objects), len(lists))
    return [(rng.choice(objects), *rng.choice(lists)) for _ in range(number)]


def documented(function: Function) -> list[tuple[str, ...]]:
    """Argument lists of the calls in a docstring's examples."""
    definition = ast.parse(function.source).body[0]
    text = ast.get_docstring(definition) if isinstance(definition, ast.FunctionDef) else None
    found: list[tuple[str, ...]] = []
    for line in (text or "").splitlines():
        if ">>>" in line:
            found += calls_in(line.partition(">>>")[2].strip(), function.name)
    return found[:12]


def calls_in(text: str, name: str) -> list[tuple[str, ...]]:
    """Argument lists of the calls of a function, by its name alone; none of what is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [
        tuple(ast.unparse(argument) for argument in node.args)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def _has_optional(source: str) -> bool:
    definition = ast.parse(source).body[0]
    return isinstance(definition, ast.FunctionDef) and bool(definition.args.defaults)


def _probe(alone: Alone, calls: Calls, lists: Sequence[tuple[str, ...]], listed: bool) -> list[Test]:  # fmt: skip
    function = alone.function
    texts = [", ".join(one) for one in lists]
    returned = calls.probe(function.source, function.name, alone.prelude, texts, listed=listed)
    return [Test(lists[r.index], r.text, r.attribute, frozenset(r.lines)) for r in returned]


def _choose(tested: Tested, rng: random.Random) -> tuple[Test, ...]:
    """A handful of tests: first those that run new lines, then those with new results."""
    found = list(tested.tests)
    rng.shuffle(found)
    # None says little, and half of all guesses give it
    found.sort(key=lambda test: test.expected == "None")
    number = rng.choice((2, 3, 4, 5, 6, 8, 10))
    chosen: list[Test] = []
    lines: set[int] = set()
    seen: set[str] = set()
    for want_lines in (True, False):
        for test in found:
            if len(chosen) >= number:
                break
            fresh = bool(test.lines - lines) if want_lines else test.expected not in seen
            if fresh and test not in chosen:
                chosen.append(test)
                lines |= test.lines
                seen.add(test.expected)
    rng.shuffle(chosen)
    return tuple(chosen)


def executed_examples(
    vocab: Vocab, tested: Tested, calls: Calls, rng: random.Random, weights: Mapping[str, float] | None, *,
    variants: int, multi: float = 0.4,
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
    ran = tested.run(calls, sources)
    for one, results in zip(broken.values(), ran, strict=True):
        if results is None or all(r.outcome == "passed" for r in results):
            continue
        # a mutant that never works is found by any line: too easy to be worth much
        if all(r.outcome == "raised" for r in results) and rng.random() < 0.4:
            continue
        made = _example(vocab, tested, one, results, rng)
        if made is not None:
            yield made


def innocent_examples(
    vocab: Vocab, tested: Tested, calls: Calls, rng: random.Random, weights: Mapping[str, float] | None
) -> Iterator[tuple[Encoded, list[Target], tuple[str, ...]]]:  # fmt: skip
    """The function itself whole, one of its helpers broken: tests fail, and there is no bug here (NO_BUG)."""
    try:
        module = Module(tested.alone.helpers.encode())
        units = [unit for unit in module.units if unit.kind == "function"]
        broken = break_function(module, 1, rng, weights, unit=rng.choice(units)) if units else None
    except SourceError:
        return
    if broken is None:
        return
    prelude = PRELUDE + broken.module.source.decode()
    results = tested.run(calls, [tested.function.source], prelude)[0]
    if results is None or all(r.outcome == "passed" for r in results):
        return
    unbroken = Broken(tested.module, (), ("none",), ())
    made = _example(vocab, tested, unbroken, results, rng)
    if made is not None:
        yield made


def _example(
    vocab: Vocab, tested: Tested, broken: Broken, results: Sequence[Result], rng: random.Random
) -> tuple[Encoded, list[Target], tuple[str, ...]] | None:  # fmt: skip
    leaves = broken.module.leaves
    shown = shown_names(tested.function.near, rng)
    execution, failure = seen(tested, leaves, results, rng)
    encoded = encode(
        vocab, leaves, names=shown, execution=execution,
        failure=failure if rng.random() < 0.9 else None,
    )  # fmt: skip
    if encoded.length > LENGTHS[-1]:
        return None
    kept = targets_of(vocab, encoded, broken.fixes)
    return (encoded, kept, broken.operators) if kept or not broken.fixes else None


def seen(
    tested: Tested, leaves: Sequence[Leaf], results: Sequence[Result], rng: random.Random
) -> tuple[Execution, FailureText]:
    """What `fix` would see of a version with these leaves that gave these results."""
    failure, values, frames = failure_of(tested, results, rng)
    execution = replace(
        coverage_of(leaves, results), frames=frames, values=values,
        actual=failure.actual, expected=failure.expected,
    )  # fmt: skip
    return execution, failure


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
    for test, result in zip(tested.tests, results, strict=True):
        if not result.first:
            continue
        expected = test.expected
        call = _call_text(tested, test, rng)
        style = rng.random()
        line = (
            f"assert {call} == {expected}"
            if style < 0.75
            else f"self.assertEqual({call}, {expected})"
        )
        if expected in ("True", "False") and style < 0.5:
            line = f"assert {call}" if expected == "True" else f"assert not {call}"
        if style > 0.93:
            line = "assert result == expected"
        if result.outcome == "failed":
            return FailureText(line, result.actual, expected, "AssertionError"), {}, {}
        frames: dict[int, int] = {}
        values: dict[str, tuple[str, str]] = {}
        for depth, (at, names) in enumerate(result.frames):
            deepest = depth == len(result.frames) - 1
            frames[at] = max(frames.get(at, 0), 2 if deepest else 1)
            values.update({k: (type_of_repr(v), v) for k, v in names.items()})
        said = f"{result.exception}: {result.message}" if result.message else result.exception
        return FailureText(line, "", "", said), values, frames
    return FailureText(), {}, {}


_OPERATORS = {
    "__len__": "len({0})", "__str__": "str({0})", "__repr__": "repr({0})", "__iter__": "{0}", "__bool__": "bool({0})",
    "__int__": "int({0})", "__float__": "float({0})", "__hash__": "hash({0})", "__abs__": "abs({0})", "__neg__": "-{0}",
    "__eq__": "({0} == {1})", "__ne__": "({0} != {1})", "__lt__": "({0} < {1})", "__gt__": "({0} > {1})",
    "__le__": "({0} <= {1})", "__ge__": "({0} >= {1})", "__contains__": "({1} in {0})", "__getitem__": "{0}[{1}]",
    "__add__": "({0} + {1})", "__sub__": "({0} - {1})", "__mul__": "({0} * {1})", "__call__": "{0}({1})",
}  # fmt: skip


def _call_text(tested: Tested, test: Test, rng: random.Random) -> str:
    """What a test would compare with the expected value."""
    name, of_class, arguments = tested.function.name, tested.alone.of_class, test.arguments
    rest = ", ".join(arguments[1:])
    if not of_class:
        call = f"{rng.choices((name, 'candidate'), (0.85, 0.15))[0]}({', '.join(arguments)})"
    else:
        made = arguments[0] if name != "__init__" else f"{of_class}({rest})"
        if rng.random() < 0.7:  # most tests make the object in a line of its own
            made = rng.choice((of_class.lower(), "obj", "self." + of_class.lower()))
        if test.attribute:
            return f"{made}.{test.attribute}"
        usual = _OPERATORS.get(name, "{0}." + name + "({1})")
        call = usual.format(made, rest)
    return f"list({call})" if tested.listed else call
