"""Real fixes out of git histories: which commits and functions are taken, how they are put together, and what becomes of them."""

import json
import random
from collections import Counter

import pytest

from agent.cli import run
from tools.source.edits import Edit
from tools.source.leaves import Module
from trm.data import fixes as fx
from trm.data import mine as mining
from trm.data import mined
from trm.data.pipeline import Shard
from trm.data.sources import Source
from trm.vocab import Vocab

BASE = '''import os
from collections import (
    Counter,
    deque as queue,
)

LIMIT = 3


class Bag:
    def total(self, items, start=0):
        """Add up."""
        result = start
        for item in items[1:]:
            result += item
        return result

    def names(self):
        return [item.name for item in self.items if item.name]


def read(path, limit=LIMIT):
    if os.path.exists(path):
        with open(path) as file:
            lines = file.readlines()
        return lines[: limit + 1]
    return []


def share(part, whole):
    # of what there is
    message = "no part at all"
    if whole < 0:
        raise ValueError(message)
    return part / whole
'''


@pytest.fixture
def repository(repository_at):
    made = repository_at("owner/name")
    made.commit("Begin", bag=BASE, test_bag="def test(): pass\n")
    return made


def mine(repository, tmp_path):
    return mining.mine_repository(repository.source(), tmp_path / "mirror")


def test_a_fix_is_found_with_all_that_is_known_of_it(repository, tmp_path):
    repository.change("Fix the first item being lost", "items[1:]", "items", test_bag="\n")
    (fix,), dropped = mine(repository, tmp_path)
    assert fix.origin == "owner/name:bag.py:Bag.total" and fix.package == "owner/name"
    assert (fix.name, fix.licence, fix.kind, fix.functions) == ("total", "MIT", "delete", 1)
    assert fix.fixlike and fix.touches_tests and fix.subject.startswith("Fix the first")
    assert fix.commit == repository.git("rev-parse", "HEAD")
    assert {"os", "Counter", "queue", "LIMIT", "Bag", "read", "share"} >= set(fix.names)
    assert fix.before.startswith("def total") and fix.before.rstrip().endswith("return result")
    before, after = (
        [leaf.text for leaf in Module(t.encode()).leaves] for t in (fix.before, fix.after)
    )
    assert fx.apply(before, fix.edits) == after
    assert [before[e.start : e.end] for e in fix.edits] == [["[", "1", ":", "]"]]
    assert dropped["commits"] == 2


@pytest.mark.parametrize(
    ("old", "new", "written"),
    [
        ("whole < 0", "whole <= 0", [("<=",)]),
        ("limit + 1", "limit", [()]),
        ('open(path)', 'open(path, "rb")', [(",", '"rb"')]),
        ("part / whole", "part / whole if whole else 0", [("if", "whole", "else", "0")]),
        ("exists(path)", "isfile(path)", [("isfile",)]),
    ],
)  # fmt: skip
def test_small_changes_of_meaning_are_fixes(repository, tmp_path, old, new, written):
    repository.change("Crash on zero", old, new)
    (fix,), _ = mine(repository, tmp_path)
    assert [edit.tokens for edit in fix.edits] == written and not fix.touches_tests


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("# of what there is", "# of all", "same tokens"),
        ("def names(self):", "def names(self) -> list:", "layout, docstring or types"),
        ('"""Add up."""', '"""Add everything up."""', "same tokens"),
        ('        """Add up."""\n', "", "docstring"),
        ('"no part at all"', "'no part at all'", "layout, docstring or types"),
        ("raise ValueError(message)", "raise ValueError(message) from None", "style"),
        ("    return part", "    print(part)\n    return part", "logging, assertion or decorator"),
        ("return part", "assert part >= 0\n    return part", "logging, assertion or decorator"),
        ("    def names(self):", "    def names(self, n=0):", "signature"),
        (
            "[item.name for item in self.items if item.name]",
            "[i.name for i in self.items if i.name]",
            "rename",
        ),
        ("lines = file.readlines()", "lines = parse(file.readlines())", "name out of reach"),
        ("lines = file.readlines()", "lines = file.read_all()", "name out of reach"),
        ("ValueError(message)", "unicode(message)", "port"),
        ("return part", "if part:\n        return (part +\n    return part", "length or syntax"),
    ],
)
def test_what_is_no_repair_is_left_out_and_counted(repository, tmp_path, old, new, reason):
    repository.change("Fix it", old, new)
    found, dropped = mine(repository, tmp_path)
    assert not found and dropped[f"function: {reason}"] == 1


def test_a_docstring_that_changes_too_is_no_edit(repository, tmp_path):
    text = BASE.replace("Add up.", "Add all\n        of them up.").replace("items[1:]", "items")
    repository.commit("Fix the first item being lost", bag=text)
    (fix,), _ = mine(repository, tmp_path)
    assert len(fix.edits) == 1 and fix.before == fix.after.replace("items:", "items[1:]:")
    assert "Add all" in fix.before


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("'no part at all'", "'there is no part'", "string"),
        ("'no part of %s' % a", "f'no part of {a}'", "string"),
        ("'no part of {}'.format(a)", "'nothing of {}'.format(a)", "string"),
        ("'no part of %s' % a", "'no part of %s' % b", "replace"),
        ("'r'", "'rb'", "replace"),
    ],
)
def test_messages_are_marked_and_what_they_are_filled_with_is_not(before, after, kind):
    texts = [f"def f(a, b):\n    if a:\n        raise g({text})\n" for text in (before, after)]
    fix = fix_of(*texts)
    modules = [fx.parse(text) for text in texts]
    assert modules[0] and modules[1]
    assert fx.judge(modules[0], modules[1], fix.edits, "def g(): pass\n", "") == (None, kind)


@pytest.mark.parametrize(
    ("before", "after", "is_rename"),
    [
        ("part = g(a); return part + a * a", "rest = g(a); return rest + a * a", True),
        ("part = g(a); rest = a; return part", "part = g(a); rest = a; return rest", False),
        ("a.part = g(a.b); return a.part + a * a", "a.rest = g(a.b); return a.rest + a * a", True),
        ("a.part = g(a.b); return a.part + a * a", "a.part = g(a.b); return a.rest + a * a", False),
    ],
)
def test_a_name_that_changes_wherever_it_stands_is_a_rename(before, after, is_rename):
    texts = [f"def f(a, b):\n    {text}\n" for text in (before, after)]
    modules = [fx.parse(text) for text in texts]
    assert modules[0] and modules[1]
    edits = fx.between(*([leaf.text for leaf in m.leaves] for m in modules if m))
    file = texts[0] + texts[1]
    assert (
        edits and (fx.judge(modules[0], modules[1], edits, file, file)[0] == "rename") == is_rename
    )


@pytest.mark.parametrize(
    ("message", "tests", "taken"),
    [
        ("Update numbers", False, False),
        ("Update numbers", True, True),
        ("Add a number", True, False),
        ("Fix pylint errors", True, False),
        ('Revert "Fix it"', True, False),
        ("Handle zero\n\nFixes #12", False, True),
    ],
)
def test_the_message_or_a_test_must_speak_for_a_repair(repository, tmp_path, message, tests, taken):
    others = {"tests__test_more": "x = 1\n"} if tests else {}
    repository.change(message, "whole < 0", "whole <= 0", **others)
    found, _ = mine(repository, tmp_path)
    assert len(found) == taken


def test_paths_and_headers_that_must_not_be_used(repository, tmp_path):
    licensed = "# GNU General Public License\n" + BASE
    for name in ("test_x", "vendor__x", "click__x", "tests__data__x", "licensed"):
        text = licensed if name == "licensed" else BASE
        repository.commit("Begin", **{name: text})
        repository.commit("Fix it", **{name: text.replace("whole < 0", "whole <= 0")})
    found, dropped = mine(repository, tmp_path)
    assert not found and dropped["function: file copyleft"] == 1


def test_commits_that_change_much_are_left_out(repository, tmp_path):
    names = [f"m{i}" for i in range(4)]
    repository.commit("Begin", **dict.fromkeys(names, BASE))
    repository.commit("Fix it", **dict.fromkeys(names, BASE.replace("< 0", "<= 0")))
    functions = [
        f"def f{i}(a, b):\n    if a > b:\n        return a - b\n    return b\n" for i in range(8)
    ]
    for count, word in ((8, "many functions"), (5, "same edit")):
        chosen = functions[:count]
        repository.commit("Begin", **{f"n{count}": "\n".join(chosen)})
        changed = "\n".join(chosen).replace(">", ">=")
        repository.commit("Fix it", **{f"n{count}": changed})
        found, dropped = mine(repository, tmp_path)
        assert not found and dropped["commit: many files"] >= 1
        assert any(word in reason for reason in dropped), word


def test_large_edits_are_left_out_and_two_small_ones_are_a_pair(repository, tmp_path):
    repository.change("Fix both", "limit=LIMIT", "limit=LIMIT - 1")
    text = (repository.folder / "bag.py").read_text()
    both = text.replace("message = ", "message = 1 * ").replace("part / whole", "whole / part")
    repository.commit("Fix two", bag=both)
    long = both.replace("    return []", "    x = 1\n" * 12 + "    return []")
    repository.commit("Fix much", bag=long)
    found, dropped = mine(repository, tmp_path)
    assert Counter(fix.kind for fix in found) == {"insert": 1, "pair": 1}
    assert dropped["function: large edit"] == 1


class Blocked:
    """A list of benchmarks that holds `share`."""

    def matches(self, tokens, name):
        return "near (mbpp)" if name == "share" and "<=" in tokens else None


def test_benchmarks_are_left_out_before_and_after(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(mining, "_blocklist", Blocked)
    repository.change("Fix it", "whole < 0", "whole <= 0")
    repository.change("Fix it again", "whole <= 0", "whole < 1")
    found, dropped = mine(repository, tmp_path)
    assert not found and dropped["function: benchmark near"] == 2


@pytest.mark.parametrize(
    ("before", "after", "edits"),
    [
        ("a b c", "a b c", ()),
        ("a b c", "a x c", (Edit(1, 2, ("x",)),)),
        ("a a", "a a a", (Edit(2, 2, ("a",)),)),
        ("x " * 40, "y " * 40, None),
        (
            "b " + "a " * 30 + "b",
            "c " + "a " * 30 + "c",
            (Edit(0, 1, ("c",)), Edit(31, 32, ("c",))),
        ),
        (
            "1 " + "a " * 30 + "2 " + "a " * 30 + "3",
            "x " + "a " * 30 + "y " + "a " * 30 + "z",
            None,
        ),
    ],
)
def test_edits_between_are_one_or_two_and_canonical(before, after, edits):
    assert fx.between(before.split(), after.split()) == edits


def test_two_edits_lead_to_the_later_version():
    rng = random.Random(4)
    pairs = 0
    for _ in range(300):
        before = [rng.choice("abc") for _ in range(60)]
        after = list(before)
        for _ in range(2):
            at = rng.randrange(55)
            after[at : at + rng.randrange(3)] = rng.choices("abcd", k=rng.randrange(3))
        edits = fx.between(before, after)
        assert edits is not None and fx.apply(before, edits) == after
        pairs += len(edits) == 2
    assert pairs > 50


def test_functions_are_cut_by_indentation():
    text = "\n".join(["class A:", "    x = 1", "", "    @one", "    @two(3)", "    def f(", "        self,", "    ):",
                      "        def g():", "            pass", "# here", "        return g", "", "    def h(self): return 1",
                      "", "async def top(): ", "    await x", "", "y = 2", ""])  # fmt: skip
    found = dict(mining.cut(text.encode(), 0, len(text)))
    assert list(found) == ["A.f", "A.h", "top"]
    assert found["A.f"].startswith(b"    @one\n") and found["A.f"].strip().endswith(b"return g")
    assert found["top"].rstrip() == b"async def top(): \n    await x"
    place = text.index("return g")
    assert [name for name, _ in mining.cut(text.encode(), place, place + 1)] == ["A.f"]


def test_top_names_are_those_of_the_module_level():
    names, imported = fx.top_names(
        BASE + "try:\n    import numpy as np\nexcept ImportError:\n    np = None\n"
    )
    assert names == ["os", "Counter", "queue", "LIMIT", "Bag", "read", "share"]
    assert imported == {"os", "Counter", "queue", "np"}


@pytest.fixture
def history(repository_at):
    """Two repositories: one is held out by its name and shares a fix with the other, which also undoes one."""
    sources = []
    for name in ("a/train", "a/o"):
        made = repository_at(name)
        made.commit("Begin", bag=BASE)
        made.change("Fix zero", "whole < 0", "whole <= 0")
        if name == "a/train":
            made.change("Fix end", "limit + 1", "limit")
            made.change("Fix loss", "items[1:]", "items")
            made.change("Fix the fix", "limit]", "limit + 1]")
        sources.append(made.source(name))
    return sources


def test_merging_drops_repeats_and_what_is_undone(history, tmp_path, monkeypatch):
    monkeypatch.setattr(mining, "held_out", lambda package: package == "a/o")
    out = tmp_path / "out"
    told = []
    sources = history
    summary = mining.mine(
        sources, tmp_path / "mirror", out, progress=lambda *line: told.append(line)
    )
    kept = list(fx.read(out / "fixes.jsonl.gz"))
    assert {(f.name, f.package, f.held_out) for f in kept} == {
        ("share", "a/o", True),
        ("total", "a/train", False),
    }
    assert summary == json.loads((out / "mine.json").read_text())
    assert (summary["fixes"], summary["held_out"], summary["commits"]) == (2, 1, 7)
    assert summary["dropped"]["fix: duplicate"] == 1
    assert summary["dropped"]["fix: undone elsewhere"] == 2
    assert summary["repositories"] == {"a/o": 1, "a/train": 1}
    assert told == [(1, 2, "a/train", 4, 5), (2, 2, "a/o", 1, 2)]
    # resumed: nothing is mined again, and the result is the same
    told.clear()
    assert (
        mining.mine(sources, tmp_path / "nowhere", out, progress=lambda *line: told.append(line))
        == summary
    )
    assert not told and list(fx.read(out / "fixes.jsonl.gz")) == kept


def test_shards_hold_the_fixes_as_targets(history, tmp_path, monkeypatch):
    monkeypatch.setattr(mining, "held_out", lambda package: package == "a/o")
    monkeypatch.setattr(mined, "reserved", lambda commit: False)
    out = tmp_path / "out"
    mining.mine(history, tmp_path / "mirror", out)
    words = Counter(leaf.text for leaf in Module(BASE.encode()).leaves)
    vocab = Vocab.build(words, ["identifier"], [], 400)
    made = list(mined.build_shards(out, vocab))
    assert made == [("eval-00000", 1, 1), ("shard-00000", 1, 1)]
    shard = Shard(out / "shards" / "shard-00000")
    (fix,) = (fix for fix in fx.read(out / "fixes.jsonl.gz") if not fix.held_out)
    (edit,) = fix.edits
    assert shard.bugs.tolist() == [[edit.start + 1, edit.end - edit.start]]
    assert Vocab.load(out / "shards" / "vocab.json").size == vocab.size
    batch = shard.collate([0], 128)
    assert batch["code"].tolist() == [len(Module(fix.before.encode()).leaves)]


def fix_of(before, after):
    modules = [fx.parse(before), fx.parse(after)]
    edits = fx.between(*([leaf.text for leaf in module.leaves] for module in modules if module))
    assert edits
    return fx.Fix(
        before,
        after,
        "f",
        ("g",),
        "a/b:c.py:f",
        "MIT",
        "0",
        "",
        True,
        False,
        False,
        fx.shape(edits),
        1,
        edits,
    )


def test_operators_are_found_that_explain_a_fix():
    text = "def f(a, b):\n    if a < b:\n        return g(a)\n    return a + b\n"
    profile = mined.operator_profile(
        [
            fix_of(text, text.replace("a < b", "a <= b")),
            fix_of(text, text.replace("return g(a)", "return {1: a.x}[b.y]")),
        ]
    )
    assert profile.tried == 2 and profile.reached == {("comparison", 1): 1}
    assert profile.missed == {"n1 ( n2 ) -> { 0 : n2 . a1 } [ n3 . a2 ]": 1}
    lines = "\n".join(profile.lines())
    assert "1 (50.0%)" in lines and "comparison" in lines


def test_shapes_abstract_from_names_but_not_from_their_identity():
    module = Module(b"x = self.y.z(1, len(q))\n")
    texts = [leaf.text for leaf in module.leaves]
    assert mined.shape_of(texts, Edit(4, 5, ("w", ".", "y"))) == "a1 -> a2 . a1"
    assert (
        mined.shape_of(texts, Edit(8, 13, ("q", "[", "'k'", "]"))) == '0 , len ( n1 -> n1 [ "s" ]'
    )
    assert mined.shape_of(texts, Edit(0, 0, ("return", "<NEWLINE>"))) == "nothing -> return NL"


def test_the_command_mines_profiles_and_makes_shards(history, tmp_path, monkeypatch, capsys):
    sources = history
    absent = Source("a/absent", "MIT", "0" * 40, "library")
    monkeypatch.setattr(mined, "reserved", lambda commit: False)
    monkeypatch.setattr("agent.data_cli._sources", lambda only: (*sources, absent))
    words = Counter(leaf.text for leaf in Module(BASE.encode()).leaves)
    Vocab.build(words, ["identifier"], [], 400).save(tmp_path / "vocab.json")
    out = tmp_path / "out"
    command = ["data", "mine", "--mirror", str(tmp_path / "mirror"), "--out", str(out)]
    assert run([*command, "--vocab", str(tmp_path / "vocab.json"), "--profile", "9"]) == 1
    said = capsys.readouterr()
    assert (
        "a/absent: no git directory" in said.err and "1 of 3 repositories are missing" in said.err
    )
    assert "1/2 a/train: 4 fixes of 5 commits" in said.err
    assert "shard-00000: 2 examples of 2 fixes" in said.err
    assert "2 fixes of one edit" in said.out and said.out.rstrip().endswith(str(out))
    profile = json.loads((out / "profile.json").read_text())
    assert profile["tried"] == 2 and ["comparison", 1, 1] in profile["reached"]
    (tmp_path / "empty").mkdir()
    command[3] = str(tmp_path / "empty")
    assert run(command) == 2
    assert "holds none of the repositories" in capsys.readouterr().err
