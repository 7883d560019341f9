"""Functions taken from source trees: which, with what beside them, and each once."""

import pytest

from tools.source.leaves import Module
from trm.data import functions as fn

SOURCE = '''import os
import numpy as np
from collections import Counter, deque as queue

LIMIT = 3
a.b = 4


class Bag:
    size = 0

    def add(self, item, times=1):
        """Add an item."""
        for _ in range(times):
            self.items.append(item)
        return self.size + LIMIT

    # a comment after


@cached
def count(rows):
    table = Counter(rows)
    return {key: n for key, n in table.items() if n > LIMIT}


def tiny(): return 1
'''


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "bag.py").write_text(SOURCE)
    return tmp_path


def functions(path):
    return {f.name: (f, tokens) for f, tokens in fn.functions_of_file(path, "pkg:bag.py", "MIT")}


def test_functions_are_dedented_and_alone(tree):
    found = functions(tree / "pkg" / "bag.py")
    assert set(found) == {"add", "count"}, "a function of a few leaves teaches nothing"
    for function, tokens in found.values():
        module = Module(function.source.encode())
        assert len(module.units) == 1 and module.units[0].kind == "function"
        assert not module.has_error and fn.MIN_LEAVES <= len(tokens) <= fn.MAX_LEAVES
        assert [leaf.text for leaf in module.leaves] == list(tokens)
        assert function.package == "pkg" and function.origin.startswith("pkg:bag.py:")
    assert found["add"][0].origin == "pkg:bag.py:Bag.add"
    assert found["count"][0].source.startswith("@cached\ndef count")
    assert not found["add"][0].source.rstrip().endswith("after")


def test_names_in_reach_are_those_of_the_module_level():
    names = fn.names_in_reach(Module(SOURCE.encode()))
    assert set(names) == {
        "os",
        "np",
        "Counter",
        "queue",
        "LIMIT",
        "Bag",
        "count",
        "tiny",
    }
    assert names.index("os") < names.index("LIMIT") < names.index("Bag") < names.index("count")


def test_a_function_does_not_reach_itself_and_thinks_of_what_it_mentions_first(tree):
    found = functions(tree / "pkg" / "bag.py")
    names = found["count"][0].names
    assert "count" not in names and set(names[:2]) == {"Counter", "LIMIT"}
    many = [f"n{i}" for i in range(50)]
    assert fn.reach_of("x = n40 + n3", [*many, "n40"], 5)[:2] == ("n3", "n40")
    assert len(fn.reach_of("", many, 5)) == 5


@pytest.mark.parametrize(
    "content",
    [b"def f(:\n", b"\xff\xfe\x00", b"def f():\0\n", b"print 'python 2'\n", b"(" * 5000, b""],
)
def test_what_is_not_python_gives_nothing(tmp_path, content):
    path = tmp_path / "x.py"
    path.write_bytes(content)
    assert list(fn.functions_of_file(path, "x", "MIT")) == []
    assert list(fn.functions_of_file(tmp_path / "missing.py", "x", "MIT")) == []


def test_files_of_megabytes_are_left_out(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(SOURCE + "# " + "x" * 300_000)
    assert list(fn.functions_of_file(path, "x", "MIT")) == []


def test_writing_and_reading_gives_the_same(tree):
    rows = [f for f, _ in fn.functions_of_file(tree / "pkg" / "bag.py", "pkg:ß", "MIT")]
    assert fn.write(tree / "deep" / "f.jsonl.gz", rows) == len(rows) == 2
    assert list(fn.read(tree / "deep" / "f.jsonl.gz")) == rows


class Blocked:
    """A list of benchmarks that holds `count`."""

    def matches(self, tokens, name):
        return "humaneval 3" if name == "count" else None


def test_collecting_leaves_out_and_says_why(tree):
    (tree / "pkg" / "copy.py").write_text(
        "# another header\n" + SOURCE.replace("    size = 0\n", "")
    )
    (tree / "pkg" / "test_bag.py").write_text(SOURCE)
    (tree / "pkg" / "vendored.py").write_text(SOURCE)
    found, dropped, words = fn.collect(
        [("pkg", "MIT", tree)],
        lambda path: "vendored" if path.name == "vendored.py" else None,
        lambda path: path.name.startswith("test_"),
        Blocked(),
    )
    assert [(f.name, f.package, f.licence) for f in found] == [("add", "pkg", "MIT")]
    assert dropped == {
        "path: vendored": 1,
        "path: test": 1,
        "function: duplicate": 2,
        "function: benchmark humaneval": 1,
    }
    assert words["self"] == [leaf.text for leaf in Module(found[0].source.encode()).leaves].count(
        "self"
    )
    assert "table" not in words, "what is left out does not shape the vocabulary"


def test_the_hash_tells_token_borders():
    assert fn.token_hash(["ab", "c"]) != fn.token_hash(["a", "bc"])
    assert fn.token_hash(iter(["ab", "c"])) == fn.token_hash(("ab", "c"))


NEAR = """import os
from tree import Node as Leaf


class Walker:
    def __init__(self, root):
        self.root = root
        self.seen = set()

    def walk(self, node):
        for child in node.children:
            self.visit(child, depth=os.sep)

    def visit(self, node, depth):
        return {fault}


def alone(x):
    return x.children, Leaf
"""


def near(fault):
    module = Module(NEAR.replace("{fault}", fault).encode())
    unit = next(unit for unit in module.units if unit.name == "Walker.visit")
    return fn.Surroundings(module).near(unit)


def test_what_is_near_a_unit_is_of_its_class_then_of_its_module():
    names = near("self.seen")
    assert set(names[:4]) == {"root", "seen", "__init__", "walk"}, "members of the class"
    assert {"children", "os", "Leaf", "alone", "depth", "Walker"} <= set(names)
    assert not {"x", "child", "self", "visit", "Node"} & set(names), "locals, and its own name"


def test_a_fault_does_not_change_what_is_near():
    assert near("self.seen") == near("self . children [ os ] + seen") == near("None")
    assert len(fn.Surroundings(Module(NEAR.encode())).near(Module(NEAR.encode()).units[0], 2)) == 2
