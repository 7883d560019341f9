"""Executed examples: which tests functions and methods get, and what their mutants show."""

import ast
import random

import pytest

from tools.calls import Caller
from tools.source.leaves import Module
from trm.data.alone import Alone
from trm.data.corrupt import WEIGHTS
from trm.data.executed import documented, executed_examples, innocent_examples, with_tests
from trm.data.functions import Function
from trm.data.inputs import argument_lists, more_like, parameters
from trm.encode import COVER_FAIL, SEGMENT, SEGMENTS

SUM_ABOVE = """def sum_above(numbers, limit):
    total = 0
    for number in numbers:
        if number > limit:
            total += twice(number) - number
    return total
"""
TWICE = "def twice(n):\n    return n + n\n"


def _function(source: str, name: str, path: str = "pkg:a.py") -> Function:
    return Function(source, name, ("twice",), ("twice",), f"{path}:{name}", "MIT")


ABOVE = Alone(_function(SUM_ABOVE, "sum_above"), TWICE)
STACK = """class Stack:
    def __init__(self, items: list[int], limit: int = 9):
        self.items, self.limit = list(items), limit

    def push(self, item: int) -> None:
        if item < self.limit and item not in self.items:
            self.items.append(item)

    def above(self, bound: int) -> int:
        return sum(1 for item in self.items if item > bound)
"""


def _method(name: str) -> Alone:
    """A method of STACK by itself."""
    node = next(n for n in ast.walk(ast.parse(STACK)) if getattr(n, "name", "") == name)
    init = "def __init__(self, items: list[int], limit: int=9): ..."
    return Alone(_function(ast.unparse(node) + "\n", name), STACK, "Stack", init)


@pytest.fixture(scope="module")
def caller():
    with Caller() as caller:
        yield caller


def test_arguments_follow_names_annotations_and_doctests():
    rng = random.Random(0)
    assert parameters("def f(a, b: str, c=1, d=2): ...") == [("a", ""), ("b", "str"), ("c", "")]
    lists = argument_lists([("text", ""), ("n", "int")], rng, 80)
    assert sum(one[0][0] in "'\"" and one[1].lstrip("-").isdigit() for one in lists) > 25
    again = more_like([("'ab'", "3")], rng, 20)
    assert all(one[0][0] in "'\"" and one[1].lstrip("-").isdigit() for one in again)
    source = 'def f(a, b):\n    """Add.\n\n    >>> f(1, "x")\n    2\n    >>> f(\n    """\n'
    assert documented(_function(source, "f")) == [("1", "'x'")]


def test_examples_are_mutants_that_a_test_tells_apart(caller, vocab):
    rng = random.Random(1)
    tested = with_tests(ABOVE, caller, rng)
    assert tested is not None and len({test.expected for test in tested.tests}) > 1
    results = tested.run(caller, [SUM_ABOVE])[0]
    assert results is not None and all(r.outcome == "passed" for r in results)
    made = list(executed_examples(vocab, tested, caller, rng, WEIGHTS, variants=12))
    assert len(made) > 3
    for encoded, targets, operators in made:
        assert targets and operators
        assert encoded.features[:, COVER_FAIL].max() > 1  # some line ran in a failing test
        assert all(1 <= target.start <= encoded.code + 1 for target in targets)
    shown = {SEGMENTS[s] for encoded, _, _ in made for s in encoded.features[:, SEGMENT]}
    assert {"test", "actual", "expected", "exception"} <= shown


def test_a_function_with_a_broken_helper_is_innocent(caller, vocab):
    rng = random.Random(2)
    tested = with_tests(ABOVE, caller, rng)
    assert tested is not None
    made = [one for _ in range(8) for one in innocent_examples(vocab, tested, caller, rng, WEIGHTS)]
    assert made
    whole = [leaf.text for leaf in Module(SUM_ABOVE.encode()).leaves]
    for encoded, targets, _ in made:
        assert targets == [] and encoded.code == len(whole)
        assert encoded.features[:, COVER_FAIL].max() > 1


def test_a_method_is_called_on_an_object_of_its_class(caller, vocab):
    rng = random.Random(3)
    tested = with_tests(_method("above"), caller, rng)
    assert tested is not None
    assert all(test.arguments[0].startswith("Stack(") for test in tested.tests)
    assert all(test.expected.isdigit() and not test.attribute for test in tested.tests)
    made = list(executed_examples(vocab, tested, caller, rng, WEIGHTS, variants=12))
    assert made and all(targets for _, targets, _ in made)


def test_a_method_that_returns_nothing_is_told_by_what_it_changes(caller, vocab):
    rng = random.Random(4)
    tested = with_tests(_method("push"), caller, rng)
    assert tested is not None
    changing = [test for test in tested.tests if test.attribute]
    assert changing and {test.attribute for test in changing} == {"items"}
    idle = tested.function.source.replace("self.items.append(item)", "pass")
    results = tested.run(caller, [tested.function.source, idle])
    assert results[0] is not None and all(r.outcome == "passed" for r in results[0])
    assert results[1] is not None
    told = zip(tested.tests, results[1], strict=True)
    assert all((r.outcome == "failed") == bool(test.attribute) for test, r in told)
