"""Choosing among patches that all pass: what their behaviour on further inputs says."""

import subprocess
import sys

import pytest

from agent.budget import Budget
from agent.candidates import Candidate
from agent.choose import Passing, Witnesses, choose, marks_of, trouble
from agent.events import CandidateTried, Decision, Finished, PatchFound
from agent.locate import Sources, Suspect
from agent.loop import FixRequest, fix
from agent.search import PatchedFiles
from tools.runner import Runner
from tools.source.edits import Edit

GOOD = {"a": "v1", "b": "v2", "c": "rKeyError"}


def test_of_patches_with_the_same_mark_the_smallest_is_shown(tmp_path):
    """`-x` to `x` before `-x` to `abs(-x)`, whichever came first: without a model their scores are alike."""
    (tmp_path / "calc.py").write_text("def f(x):\n    return -x\n")
    file = Sources(tmp_path).get("calc.py")
    assert file is not None
    suspect = Suspect(file, file.module.units[0], {2: 1.0}, 1.0)
    at = [leaf.text for leaf in file.module.leaves].index("-")

    def shown(*edits, scores=(-1.0, -1.0)):
        found = [
            Passing(1, Candidate(suspect, Edit(*edit, "calc.py"), "", 2, score, 2), PatchedFiles(), {})
            for edit, score in zip(edits, scores, strict=True)
        ]  # fmt: skip
        told = choose(None, found, Budget(9.0, None))  # type: ignore[arg-type]
        while True:
            try:
                next(told)
            except StopIteration as stop:
                return found.index(stop.value)

    wrapped, without = (at, at + 2, ("abs", "(", "-", "x", ")")), (at, at + 1, ())
    assert shown(wrapped, without) == 1 and shown(without, wrapped) == 0
    assert shown(wrapped, without, scores=(-1.0, -1.1)) == 0, "the likelier one, where they differ"
    other, twice = (at, at + 1, ("+",)), (at, at, ("-",))
    assert shown(other, twice) == 0, (
        "an operator for another is no larger than one more: the first that passed"
    )


def ahead(scores, known):
    """By how much the first mark is higher than the second."""
    first, second = marks_of(scores, known)
    return first - second


def test_who_breaks_down_where_another_does_not_loses():
    breaks = {"a": "v1", "b": "eIndexError", "c": "h"}
    assert trouble(0, [breaks, GOOD]) == 1.0
    assert trouble(1, [breaks, GOOD]) == 0.0
    first, second = marks_of([-1.0, -3.0], Witnesses([breaks, GOOD], None))
    assert second > first


def test_breaking_down_together_says_nothing():
    both = {"a": "v1", "b": "eIndexError"}
    assert trouble(0, [both, both]) == trouble(1, [both, both]) == 0.0
    assert ahead([-1.0, -1.5], Witnesses([both, both], both)) == 0.5


def test_a_deliberate_exception_is_no_trouble():
    assert trouble(0, [{"a": "rValueError"}, {"a": "v1"}]) == 0.0


def test_breaking_down_where_another_raises_says_nothing():
    both = [{"a": "eKeyError", "b": "v1"}, {"a": "rValueError", "b": "v1"}]
    assert trouble(0, both) == trouble(1, both) == 0.0


def test_what_is_not_known_changes_nothing():
    assert ahead([-1.0, -2.0], Witnesses([None, GOOD], GOOD)) == 1.0
    assert ahead([-1.0, -2.0], Witnesses([{}, {}], GOOD)) == 1.0
    assert ahead([-1.0, -2.0], Witnesses([GOOD, {}], None)) == 1.0


def test_who_changes_more_of_what_the_faulty_program_did_loses():
    """What that one broke down on is no witness: something else must come there."""
    before = {**dict.fromkeys("abcdefg", "v1"), "h": "rKeyError", "x": "eIndexError"}
    few, half, all_ = (
        {**before, **dict.fromkeys(keys, "v2")} for keys in ("ax", "abcdx", "abcdefghx")
    )
    same = {key: came for key, came in before.items() if key != "x"}
    known = Witnesses([same, few, half, all_, None], before)
    assert known.changed() == [(0, 8), (1, 8), (4, 8), (8, 8), (0, 0)]
    none, one, four, eight, unknown = marks_of([-1.0] * 5, known)
    assert none == one > four > eight, "up to twice as many may be chance"
    assert none > unknown > eight


WALK = '''class Node:
    def __init__(self, value, rest=None):
        self.value = value
        self.rest = rest


def last(node):
    """The value at the end of a chain."""
    while node.rest is None:
        node = node.rest
    return node.value


def find(rows, wanted):
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle] == wanted:
            return middle
        if rows[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return -1


def endless(number):
    while number != 7:
        number += 2
    return number


def check(number):
    if number > 5:
        raise ValueError(number)
    return {number, 1} and [number]


def squares(number):
    for each in range(number):
        yield each * each
'''
WALK_TESTS = """from walk import Node, check, endless, find, last, squares


def test_last():
    assert last(Node(1, Node(2, Node(3)))) == 3


def test_find():
    assert find([1, 3, 4, 8], 4) == 2


def test_endless():
    assert endless(1) == 7


def test_check():
    assert check(5) == [5]


def test_squares():
    assert list(squares(3)) == [0, 1, 4]
"""


@pytest.fixture
def walk(tmp_path):
    (tmp_path / "walk.py").write_text(WALK)
    (tmp_path / "test_walk.py").write_text(WALK_TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


def behaviour(root, tests, *texts):
    with Runner(root, sys.executable) as runner:
        runner.baseline()
        given = [(n, {"walk.py": text.encode()}) for n, text in enumerate(texts)]
        found = dict(runner.behaviour(given, [f"test_walk.py::{test}" for test in tests]))
    return [found[n] for n in range(len(texts))]


RIGHT = WALK.replace("while node.rest is None", "while node.rest is not None")


def test_the_same_code_behaves_the_same(walk):
    tests = ["test_last", "test_find", "test_check", "test_squares"]
    one, two = behaviour(walk, tests, RIGHT, RIGHT.replace("node.rest is not None", "node.rest"))
    assert one == two and len(one) > 40
    assert {outcome[0] for outcome in one.values()} == {"v", "r"}


def test_another_result_shows(walk):
    right, wrong = behaviour(walk, ["test_find"], WALK, WALK.replace("high = middle\n", "high = middle - 1\n"))  # fmt: skip
    assert right.keys() == wrong.keys() and right != wrong


def test_what_cannot_go_on_and_what_does_not_end_show(walk):
    right, early = behaviour(
        walk, ["test_last", "test_endless"], RIGHT, RIGHT.replace("while node.rest is not None", "while node.value != 3")
    )  # fmt: skip
    assert "eAttributeError" in early.values() and "eAttributeError" not in right.values()
    assert "h" in right.values()  # endless, from an even number


def test_nothing_is_known_of_what_cannot_be_exchanged(walk):
    module_level = RIGHT + "\nLIMIT = 3\n"
    assert behaviour(walk, ["test_find"], module_level, RIGHT)[0] is None


BOUND = '''def first_above(rows, bound):
    """The place of the first value above the bound, None without one."""
    at = 0
    while at <= len(rows) and rows[at] < bound:
        at += 1
    return at if at < len(rows) else None
'''
BOUND_TESTS = """from bound import first_above


def test_found():
    assert first_above([1, 2, 5], 2) == 2


def test_none():
    assert first_above([1, 2], 9) is None
"""


def run(root, **more):
    events = list(
        fix(FixRequest(root, sys.executable, rank="ochiai", max_seconds=60, jobs=1, **more))
    )
    patches = [event for event in events if isinstance(event, PatchFound)]
    assert len(patches) == 1 and isinstance(events[-1], Finished)
    return events, patches[0]


@pytest.fixture
def bound(tmp_path, monkeypatch):
    (tmp_path / "bound.py").write_text(BOUND.replace("rows[at] < bound", "rows[at] <= bound"))
    (tmp_path / "test_bound.py").write_text(BOUND_TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_patience_looks_on_and_tells_its_choice(bound):
    events, patch = run(bound, patience=3.0)
    tried = [event for event in events if isinstance(event, CandidateTried)]
    passed = [event.number for event in tried if event.outcome == "passed"]
    assert len(passed) > 1 and patch.candidates in passed
    assert tried[-1].number > passed[0]
    choices = [event for event in events if isinstance(event, Decision) and event.kind == "choose"]
    assert len(choices) == 1 and 0 <= choices[0].margin <= 1
    assert choices[0].bit == (patch.candidates != passed[0])


def test_without_patience_the_first_is_shown(bound):
    events, patch = run(bound, patience=0.0)
    tried = [event for event in events if isinstance(event, CandidateTried)]
    assert tried[-1].outcome == "passed" and patch.candidates == tried[-1].number
    assert not any(isinstance(event, Decision) and event.kind == "choose" for event in events)
