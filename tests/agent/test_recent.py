"""Recent changes as a source of repairs: what is taken back, in which order, and what is not known of it."""

import subprocess
import sys

import pytest

from agent.events import CandidateTried, Note, PatchFound
from agent.hints import HintStream
from agent.locate import Sources, Suspect
from agent.loop import FixRequest, fix
from agent.recent import COMMITTED, DOUBT, UNCOMMITTED, Recent
from tools.source.leaves import Module
from tools.spectrum import Spectrum
from tools.verdicts import SuiteRun

RIGHT = """RATES = {"a": 3, "b": 4}


def price(kind, count, discount=0):
    total = RATES[kind] * count
    if count > 10:
        total -= discount
    return total


def named(kind):
    return kind.upper() + "!"
"""
TESTS = """from shop import named, price


def test_price():
    assert price("a", 12, 5) == 31


def test_small():
    assert price("b", 2, 5) == 8


def test_named():
    assert named("a") == "A!"
"""


def git(root, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=root, check=True, capture_output=True
    )  # fmt: skip


def commit(root, text, message="change"):
    (root / "shop.py").write_text(text)
    git(root, "add", ".")
    git(root, "commit", "-qm", message, "--allow-empty")


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "test_shop.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path, RIGHT)
    return tmp_path


def taken_back(root, name="price"):
    """(text of the function's tokens afterwards, operator, doubt)."""
    file = Sources(root).get("shop.py")
    assert file is not None
    unit = next(unit for unit in file.module.units if unit.name == name)
    recent = Recent(root)
    recent.look([file])
    texts = [leaf.text for leaf in file.module.leaves]
    return [
        (" ".join([*texts[unit.start : start], *tokens, *texts[end : unit.end]]), operator, doubt)
        for (start, end, tokens), operator, doubt in recent.taken_back(Suspect(file, unit, {}, 1.0))
    ]  # fmt: skip


def tokens(text, name="price"):
    """As `taken_back` tells the function."""
    module = Module(text.encode())
    unit = next(unit for unit in module.units if unit.name == name)
    return " ".join(leaf.text for leaf in module.leaves[unit.start : unit.end])


def test_each_hunk_is_taken_back_and_all_of_them(shop):
    worse = RIGHT.replace("* count", "+ count").replace("count > 10", "count >= 12")
    (shop / "shop.py").write_text(worse)
    found = [text for text, operator, _ in taken_back(shop) if operator == UNCOMMITTED]
    assert found == [
        tokens(worse.replace("+ count", "* count")),
        tokens(worse.replace(">= 12", "> 10")),
        tokens(RIGHT),
    ]
    assert taken_back(shop, "named") == []


def test_what_is_older_is_likelier_to_be_meant(shop):
    commit(shop, RIGHT.replace("count > 10", "count > 9"))
    commit(shop, RIGHT.replace("count > 10", "count > 8"))
    (shop / "shop.py").write_text(RIGHT.replace("count > 10", "count > 7"))
    found = {text: (operator, doubt) for text, operator, doubt in reversed(taken_back(shop))}
    assert found == {
        tokens(RIGHT.replace("count > 10", "count > 8")): (UNCOMMITTED, DOUBT),
        tokens(RIGHT.replace("count > 10", "count > 9")): (COMMITTED, 2 * DOUBT),
        tokens(RIGHT): (COMMITTED, 3 * DOUBT),
    }


def test_nothing_is_known_without_a_history_or_of_a_new_function(shop, tmp_path_factory):
    plain = tmp_path_factory.mktemp("plain")
    (plain / "shop.py").write_text(RIGHT)
    assert taken_back(plain) == []
    git(plain, "init", "-q")
    assert taken_back(plain) == [], "no commit yet"
    (shop / "shop.py").write_text(RIGHT + "\n\ndef more(x):\n    return x\n")
    assert taken_back(shop, "more") == []


def test_an_old_version_that_does_not_parse_is_passed_over(shop):
    (shop / "shop.py").write_bytes(b"\xff\xfe\x00")
    git(shop, "commit", "-qam", "broken")
    commit(shop, RIGHT.replace("count > 10", "count > 9"))
    assert [operator for _, operator, _ in taken_back(shop)] == [COMMITTED] * 2


@pytest.mark.parametrize("committed", [False, True])
def test_the_change_that_turned_a_test_red_is_found_at_once_and_named(shop, committed):
    """Two tokens at two places: no single edit of an operator does it."""
    worse = RIGHT.replace("total -= discount", "discount += total * 3")
    commit(shop, worse) if committed else (shop / "shop.py").write_text(worse)
    before = (shop / "shop.py").read_bytes()
    events = list(
        fix(FixRequest(shop, sys.executable, rank="ochiai", max_seconds=60, jobs=1, patience=0.0))
    )
    (patch,) = [event for event in events if isinstance(event, PatchFound)]
    tried = [event for event in events if isinstance(event, CandidateTried)]
    assert tried[-1].operator == (COMMITTED if committed else UNCOMMITTED) and len(tried) <= 3
    assert "+        total -= discount" in patch.diff
    notes = [event.text for event in events if isinstance(event, Note)]
    said = "a recent commit" if committed else "a change that is not committed yet"
    assert f"the patch takes back a part of {said}" in notes
    assert (shop / "shop.py").read_bytes() == before


def test_suspects_beyond_those_whose_failures_are_looked_at_are_covered(shop):
    (shop / "shop.py").write_text(RIGHT.replace("* count", "+ count"))
    file = Sources(shop).get("shop.py")
    assert file is not None
    other = next(unit for unit in file.module.units if unit.name == "named")
    unit = next(unit for unit in file.module.units if unit.name == "price")
    found = [Suspect(file, other, {}, 1.0)] * 8 + [Suspect(file, unit, {}, 0.5)]
    run = SuiteRun([], [], [], Spectrum(), 0.0)
    (candidate,) = HintStream(run, shop, found, Recent(shop)).steps()
    assert candidate.operator == UNCOMMITTED and candidate.edit.tokens == ("*",)
