"""Mined fixes that are called before and after: which of them calls tell apart, and what is kept of that."""

from dataclasses import replace

import pytest

from tools.calls import Caller
from tools.source.leaves import Module
from trm.data import fixes as fx
from trm.data import mine as mining
from trm.data import mutants, replay
from trm.data.sources import git_directory
from trm.vocab import Vocab

HELPERS = "LEAST = 2\n\n\ndef double(n):\n    return n * LEAST\n"
BASE = '''from pathlib import Path

import numpy

from .helpers import double


def above(numbers, limit):
    """Those above a limit, doubled."""
    found = []
    for number in numbers:
        if number >= limit:
            found.append(double(number))
    return found


class Bag:
    def __init__(self, items: list[int]) -> None:
        self.items = list(items)

    def label(self, width: int, mark: str) -> str:
        text = mark.join(f"<{item:>{width}}>" for item in self.items[1:])
        return text.center(4 * width, "~") if text else f"({mark!r} {width})"


def far(numbers):
    mean = numpy.mean(numbers)
    return [number for number in numbers if number < mean]


def lanes(cars, width, gap=1):
    free = {}
    for car in cars:
        if car in free:
            free[car] = {"left": width - car, "right": gap}
        else:
            free[car] = {"left": width, "right": car // gap}
    return free
'''


@pytest.fixture
def folder(repository_at, tmp_path):
    """What `data mine` finds in a history of four fixes."""
    made = repository_at("owner/name")
    made.commit("Begin", pkg__bag=BASE, pkg__helpers=HELPERS, pkg____init__="")
    changes = [
        ("Fix the limit itself", "number >= limit", "number > limit", "assert above([71, 72], 71) == [144]\n"),
        ("Fix the first item being lost", "items[1:]", "items", ""),
        ("Fix wrong side of the mean", "number < mean", "number > mean", ""),
        ("Fix the crash that nobody can see", "if car in free", "if car in list(free)", ""),
    ]  # fmt: skip
    text = BASE
    for subject, old, new, test in changes:
        text = text.replace(old, new)
        made.commit(subject, pkg__bag=text, tests__test_bag=test)
    # later changes must not be seen
    made.commit("Later", pkg__helpers=HELPERS.replace("2", "5"))
    source = made.source()
    mining.mine([source], tmp_path / "mirror", tmp_path / "mined")
    return source, tmp_path / "mirror", tmp_path / "mined"


def test_fixes_are_called_before_and_after(folder):
    source, mirror, mined = folder
    fixes = sorted(fx.read(mined / "fixes.jsonl.gz"), key=lambda fix: fix.origin)
    assert [fix.name for fix in fixes] == ["label", "above", "far", "lanes"]
    with Caller() as caller:
        made = [list(replay.replay([fix], git_directory(source, mirror), caller, 3)) for fix in fixes]  # fmt: skip
    label, above, far, lanes = made
    assert far == ["no call comes to a result"] and lanes == ["no call tells the versions apart"]
    for found, fix in ((label, fixes[0]), (above, fixes[1])):
        assert 1 <= len(found) <= 3 and len({repr(mutant.failure) for mutant in found}) == len(found)  # fmt: skip
        for mutant in found:
            assert isinstance(mutant, mutants.Mutant)
            assert (mutant.source, mutant.fixes, mutant.operators) == (fix.before, fix.edits, ("mined",))  # fmt: skip
            assert mutant.origin == f"{fix.origin}@{fix.commit}" and mutant.licence == "MIT"
            assert mutant.execution.failing >= 1 and mutant.execution.cover_fail
            assert mutant.failure.test and mutant.failure.actual != mutant.failure.expected
            assert mutants.Mutant.from_json(mutant.to_json()) == mutant


def test_what_the_commit_tests_is_called_with_what_the_commit_has(folder):
    source, mirror, mined = folder
    (fix,) = (fix for fix in fx.read(mined / "fixes.jsonl.gz") if fix.name == "above")
    with Caller() as caller:
        made = list(replay.replay([fix], git_directory(source, mirror), caller, 60))
    # of a helper that a later commit changes
    assert "[144]" in {m.failure.expected for m in made}


def test_shards_are_made_of_them(folder, monkeypatch):
    source, mirror, mined = folder
    told = list(replay.replay_all([source], mirror, mined, Caller, suites=2))
    assert told == [("owner/name", 2, {"no call comes to a result": 1, "no call tells the versions apart": 1})]  # fmt: skip
    # resumed: no call is made again
    assert not list(replay.replay_all([source], mirror, mined, Caller, suites=2))
    assert list(replay.replay_all([source], mirror, mined, Caller, suites=2, resume=False)) == told
    words = {leaf.text: 9 for leaf in Module(BASE.encode()).leaves}
    vocab = Vocab.build(words, ["identifier"], [], 400)
    for kept, shard in ((False, "shard-00000"), (True, "eval-00000")):
        monkeypatch.setattr(replay.mined, "reserved", lambda commit, kept=kept: kept)
        ((name, examples, tried),) = replay.build_shards(mined, vocab)
        assert name == shard and 2 <= examples <= tried <= 4


def test_a_commit_that_is_not_there_is_no_error(folder):
    source, mirror, mined = folder
    fix = next(fx.read(mined / "fixes.jsonl.gz"))
    with Caller() as caller:
        gone = replace(fix, commit="0" * 40)
        assert list(replay.replay([gone], git_directory(source, mirror), caller, 3)) == ["commit cannot be read"]  # fmt: skip
        lost = replace(fix, origin="owner/name:pkg/gone.py:above")
        assert list(replay.replay([lost], git_directory(source, mirror), caller, 3)) == ["cannot be called alone"]  # fmt: skip
