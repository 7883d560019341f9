"""Executed examples: which functions can be called alone, which tests they get, and what their mutants show."""

import random

import pytest

from tools.calls import Caller
from tools.source.leaves import Module
from trm.data.corrupt import WEIGHTS
from trm.data.executed import (
    PRELUDE,
    documented,
    executed_examples,
    free_names,
    innocent_examples,
    self_contained,
    with_tests,
)
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


@pytest.fixture(scope="module")
def caller():
    with Caller() as caller:
        yield caller


@pytest.mark.parametrize(
    "source",
    ["def f(self, n):\n    return n\n", "async def f(n):\n    return n\n", "@cache\ndef f(n):\n    return n\n",
     "def f():\n    return 1\n", "f = 1\n"],
)  # fmt: skip
def test_what_cannot_be_called_alone(source):
    assert free_names(_function(source, "f")) is None


def test_helpers_of_the_same_file_come_along():
    both = [_function(SUM_ABOVE, "sum_above"), _function(TWICE, "twice")]
    found = {f.name: prelude for f, prelude in self_contained(both)}
    assert found["sum_above"] == PRELUDE + TWICE and found["twice"] == PRELUDE
    elsewhere = [both[0], _function(TWICE, "twice", "pkg:b.py")]
    assert [f.name for f, _ in self_contained(elsewhere)] == ["twice"]


def test_functions_that_ask_or_open_are_left_out():
    assert list(self_contained([_function("def f(n):\n    return open(n)\n", "f")])) == []


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
    tested = with_tests(_function(SUM_ABOVE, "sum_above"), PRELUDE + TWICE, caller, rng)
    assert tested is not None and len({expected for _, expected in tested.tests}) > 1
    results = caller.run([SUM_ABOVE], "sum_above", tested.prelude, tested.tests)[0]
    assert all(r.outcome == "passed" for r in results)
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
    tested = with_tests(_function(SUM_ABOVE, "sum_above"), PRELUDE + TWICE, caller, rng)
    assert tested is not None
    made = [one for _ in range(8) for one in innocent_examples(vocab, tested, caller, rng, WEIGHTS)]
    assert made
    whole = [leaf.text for leaf in Module(SUM_ABOVE.encode()).leaves]
    for encoded, targets, _ in made:
        assert targets == [] and encoded.code == len(whole)
        assert encoded.features[:, COVER_FAIL].max() > 1
