"""What failed comparisons suggest, and that a repair takes it up: in real projects, with real suites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.values import compared, ideas
from tools.spectrum import Spectrum
from tools.verdicts import Failure, SuiteRun


def failed(*pairs: tuple[str, str], operator: str = "==") -> list[tuple[Any, Any]]:
    """What a run tells in which these (given, expected) were compared in vain."""
    failures = [
        Failure(f"t.py::test_{n}", "AssertionError", "", [], given, wanted, operator)
        for n, (given, wanted) in enumerate(pairs)
    ]
    return compared(SuiteRun([], failures, [], Spectrum(), 0.0))


def test_values_that_cannot_be_built_from_their_reprs_are_no_values() -> None:
    """A set may hold objects whose reprs look like lists."""
    assert failed(("{1}", "{[1], [2]}"), ("{[1]: 2}", "{1: 2}"), ("1", "2")) == [(1, 2)]


@pytest.mark.parametrize(
    ("idea", "pairs"),
    [
        (".lower()", [("'Ab'", "'ab'")]),
        (".strip()", [("' a '", "'a'"), ("'b\\n'", "'b'")]),
        (".strip()", [("[1, ' a ']", "[1, 'a']"), ("{'k': 'b '}", "{'k': 'b'}")]),
        (".rstrip('/')", [("'a//'", "'a'")]),
        (".replace('_', ' ')", [("'a_b'", "'a b'"), ("'c_d_e'", "'c d e'")]),
        ("+ '.'", [("'a'", "'a.'")]),
        ("'#' +", [("'a'", "'#a'")]),
        (".split()", [("'a b'", "['a', 'b']")]),
        ("', '.join(...)", [("['a', 'b']", "'a, b'")]),
        ("sorted(...)", [("[3, 1, 2]", "[1, 2, 3]")]),
        ("[::-1]", [("[3, 1, 2]", "[2, 1, 3]")]),
        ("list(dict.fromkeys(...))", [("[3, 1, 3]", "[3, 1]")]),
        ("[1:]", [("[3, 1, 3]", "[1, 3]")]),
        ("tuple(...)", [("[3, 1]", "(3, 1)")]),
        ("len(...)", [("[3, 1]", "2")]),
        ("list(map(str, ...))", [("[3, 1]", "['3', '1']")]),
        ("abs(...)", [("-3", "3"), ("-4", "4")]),
        ("+ 1", [("3", "4"), ("7", "8")]),
        ("- 2", [("3", "1"), ("7", "5")]),
        ("* 60", [("3", "180"), ("7", "420")]),
        ("round(...)", [("2.75", "2.8")]),
        ("int(...)", [("'3'", "3")]),
        ("not", [("True", "False"), ("False", "True")]),
        (".items()", [("{'a': 1}", "[('a', 1)]")]),
    ],
)
def test_what_makes_the_expected_of_the_given_is_an_idea(idea: str, pairs: list) -> None:
    found = [each.name for each, _ in ideas(failed(*pairs))]
    assert idea in found
    assert not ideas(failed(*pairs, operator="<"))
    texts = all(given[0] == "'" for given, _ in pairs)
    assert bool(ideas(failed(*pairs, operator="in"))) == texts


@pytest.mark.parametrize(
    "pairs",
    [
        [("'st'", "'th'")],  # an answer, written down
        [("'a\\\\_b'", "'a_b'")],  # escapes belong to whoever made them
        [("3", "4"), ("7", "7"), ("5", "2")],  # in a third of the tests only
        [("2", "4127")],  # any number is so much more than another
        [("<a.B object at 0x7f00>", "3")],
        [("[1, 2, ...", "[1]")],
        [("None", "None")],
    ],
)
def test_no_idea_where_nothing_general_makes_it(pairs: list) -> None:
    assert ideas(failed(*pairs)) == []


def test_letters_are_not_taken_off_by_name() -> None:
    assert [each.name for each, _ in ideas(failed(("'abC'", "'ab'")))] == ["[:-1]"]


def test_more_values_speak_louder() -> None:
    ((one, doubt),) = [each for each in ideas(failed(("3", "4"))) if each[0].name == "+ 1"]
    ((two, less),) = [each for each in ideas(failed(("3", "4"), ("7", "8"))) if each[0].name == "+ 1"]  # fmt: skip
    assert one == two and less < doubt


REPAIRS = {
    "strip": (
        "def clean(lines):\n    out = []\n    for line in lines:\n"
        "        if line:\n            out.append(line)\n    return out\n",
        "from it import clean\n\ndef test_a():\n    assert clean([' a', '', 'b ']) == ['a', 'b']\n"
        "def test_b():\n    assert clean(['c ']) == ['c']\n",
        "line.strip()",
    ),
    "return": (
        "def total(prices):\n    found = 0\n    for price in prices:\n        found += price\n",
        "from it import total\n\ndef test_a():\n    assert total([1, 2]) == 3\n"
        "def test_b():\n    assert total([]) == 0\n",
        "return found",
    ),
    "last": (
        "def total(prices):\n    sum(prices)\n",
        "from it import total\n\ndef test_a():\n    assert total([1, 2]) == 3\n"
        "def test_b():\n    assert total([]) == 0\n",
        "return sum(prices)",
    ),
    "operand": (
        "def last(rows, skipped):\n    return len(rows) - skipped if rows else 0\n",
        "from it import last\n\ndef test_a():\n    assert last([1, 2, 3], 1) == 3\n"
        "def test_b():\n    assert last([1, 2], 1) == 2\ndef test_c():\n    assert last([], 1) == 0\n",
        "+ 1",
    ),
}


@pytest.mark.parametrize(
    ("rank", "name"), [*(("ochiai", name) for name in REPAIRS), ("untrained", "strip")]
)
def test_a_repair_takes_it_up(
    repaired: Callable[..., tuple[str, int]], rank: str, name: str, checkpoint: Path
) -> None:
    source, tests, wanted = REPAIRS[name]
    diff, tried = repaired(source, tests, rank=rank, checkpoint=checkpoint)
    assert wanted in diff
    if rank == "ochiai":
        assert tried <= 12
