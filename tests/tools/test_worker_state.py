"""What a test leaves behind is noticed wherever it may hide, and what cannot be looked into is not trusted."""

import importlib.util
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "tools" / "worker" / "state.py"
spec = importlib.util.spec_from_file_location("worker_state_under_test", PATH)
assert spec is not None and spec.loader is not None
state: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(state)

TEXT = """
from __future__ import annotations
import ast, collections, enum, functools, inspect, itertools, operator, random, re, sys, threading
import pytest
from dataclasses import dataclass, field

WORD = re.compile("a")
NUMBER, NAMES, TABLE = 1, ["a", ["b"]], {"k": {1, 2}}
QUEUE, BYTES = collections.deque([1]), bytearray(b"x")

class Color(enum.Enum):
    RED = 1

@dataclass
class Point:
    x: int = 0
    seen: list = field(default_factory=list)

class Slotted:
    __slots__ = ("a",)
    def __init__(self):
        self.a = []

class Names(list):
    pass

class Text(str):
    pass

ORIGIN, SLOTTED, MINE, TITLE = Point(), Slotted(), Names(), Text("t")

def default(x=[]):
    return x

def make():
    count = 0
    def more():
        nonlocal count
        count += 1
        return count
    return more

counter = make()
part = functools.partial(default, [5])

@functools.lru_cache(maxsize=None)
def cached(n):
    return n

class Thing:
    shared = []
    @property
    def size(self):
        return 1
    @staticmethod
    def make():
        return 1

error = ValueError("x")
NONE, LOCK, COUNT, RNG, FIRST = object(), threading.Lock(), itertools.count(), random.Random(1), operator.itemgetter(0)
HERE, TREE, VERSION = threading.local(), ast.parse("a = 1"), sys.version_info
Pair = collections.namedtuple("Pair", "a b")
signature = inspect.signature(default)

class Counts(collections.defaultdict):
    pass

COUNTS = Counts(list, a=[1])

@pytest.fixture
def given():
    return []

@pytest.mark.parametrize("n", [1, pytest.param([2], id="two")])
def marked(n):
    pass
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    # Other tests of this process import them, and beside them nothing can be told.
    for name in ("numpy.random", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = types.ModuleType("state_of_this")
    sys.modules[made.__name__] = made  # dataclasses look there
    exec(TEXT, made.__dict__)
    yield made
    del sys.modules[made.__name__]


def seen(module: types.ModuleType, *values: object) -> Any:
    return state.Seen([module], values)


def test_nothing_changed_is_seen_as_that(module: Any) -> None:
    before = seen(module, [1, [2]])
    module.default.__code__, code = module.make.__code__, module.default.__code__
    module.default.__code__ = code
    sorted(module.NAMES[:1])
    assert module.Color(1) is module.Color.RED and module.WORD.search("a")
    arguments = [1, [2]]
    assert seen(module, arguments) == seen(module, arguments)
    assert seen(module).facts[0] == before.facts[0]


CHANGES: list[Callable[[Any], object]] = [
    lambda m: setattr(m, "NUMBER", 2),
    lambda m: setattr(m, "new", 1),
    lambda m: m.NAMES[1].append(1),
    lambda m: m.NAMES.reverse(),
    lambda m: m.TABLE["k"].add(3),
    lambda m: m.QUEUE.append(2),
    lambda m: m.BYTES.extend(b"y"),
    lambda m: m.ORIGIN.seen.append(1),
    lambda m: setattr(m.ORIGIN, "x", 7),
    lambda m: m.SLOTTED.a.append(1),
    lambda m: m.MINE.append(1),
    lambda m: setattr(m.TITLE, "level", 1),
    lambda m: m.default().append(1),
    lambda m: m.counter(),
    lambda m: m.part.args[0].append(1),
    lambda m: m.cached(1),
    lambda m: m.Thing.shared.append(1),
    lambda m: setattr(m.Thing, "shared", 1),
    lambda m: setattr(m.Color, "extra", 1),
    lambda m: setattr(m.default, "calls", 1),
    lambda m: setattr(m.error, "note", 1),
    lambda m: random.random(),
    lambda m: sys.path.append("somewhere"),
    lambda m: m.LOCK.acquire(),
    lambda m: next(m.COUNT),
    lambda m: m.RNG.random(),
    lambda m: setattr(m.HERE, "x", 1),
    lambda m: m.TREE.body.clear(),
    lambda m: m.COUNTS["b"],
    lambda m: m.COUNTS["a"].append(2),
    lambda m: m.marked.pytestmark[0].args[1].append(3),
    lambda m: m.marked.pytestmark[0].args[1][1].values[0].append(3),
    lambda m: setattr(m.given, "calls", 1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(module: Any, change: Callable[[Any], object], monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = seen(module)
    change(module)
    assert seen(module) != before


def test_changed_arguments_and_environment_are_noticed(module: Any, monkeypatch) -> None:
    argument = [3, 1]
    before = seen(module, argument)
    argument.sort()
    assert seen(module, argument) != before
    before = seen(module)
    monkeypatch.setenv("SOMETHING", "new")
    assert seen(module) != before


@pytest.mark.parametrize("value", [iter([1]), (x for x in "ab"), open])
def test_what_cannot_be_looked_into_is_not_trusted(module: Any, value: object) -> None:
    if value is open:
        with open(__file__) as module.thing, pytest.raises(state.Hidden):
            seen(module)
        return
    module.thing = value
    with pytest.raises(state.Hidden):
        seen(module)


def test_too_much_to_look_at_is_not_looked_at(module: Any) -> None:
    module.many = [[] for _ in range(state.MOST + 1)]
    with pytest.raises(state.Hidden):
        seen(module)


def test_a_generator_that_cannot_be_compared_is_said(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    with pytest.raises(state.Hidden, match="torch"):
        seen(module)


def test_arrays_and_their_random_numbers_are_seen(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setitem(sys.modules, "numpy.random", np.random)
    module.array, module.scalar, module.sine = np.arange(6).reshape(2, 3), np.float32(1), np.sin
    before = seen(module)
    assert before == seen(module)
    module.array[1, 1] = 7
    assert before != seen(module)
    before = seen(module)
    np.random.random()
    assert before != seen(module)
    module.objects = np.array([[], None], dtype=object)
    with pytest.raises(state.Hidden, match="ndarray"):
        seen(module)


def test_instances_of_classes_written_in_python_are_looked_into(module: Any) -> None:
    """Of whatever library: those that are not may hide what they hold."""
    import argparse
    import array

    module.parser = argparse.ArgumentParser()
    before = seen(module)
    assert before == seen(module)
    module.parser.add_argument("--more")
    assert before != seen(module)
    module.hidden = array.array("i")
    with pytest.raises(state.Hidden, match="array"):
        seen(module)


def test_a_property_of_ones_own_kind_is_looked_into(module: Any) -> None:
    exec(
        "class Own(property):\n    pass\n"
        "def read(self, kept=[]):\n    return kept\n"
        "KEPT = Own(read)\n",
        vars(module),
    )
    before = state.Seen([module], [])
    assert state.Seen([module], []) == before
    module.read.__defaults__[0].append(1)
    assert state.Seen([module], []) != before


@pytest.mark.parametrize(
    "change",
    [
        "NAMES.append(1)", "NAMES[1].clear()", "TABLE['k'].add(7)", "TABLE.clear()", "QUEUE.popleft()", "BYTES[:] = b'y'",
        "Thing.shared.append(1)", "Thing.shared = []", "Thing.more = 1", "ORIGIN.x = 5", "ORIGIN.y = 5",
        "counter()", "NEW = 1", "NUMBER = 2", "default([1]).append(2); default().append(3)",
        "HIDDEN = iter([1])", "Color.seen = 1",
    ],
)  # fmt: skip
def test_what_containers_and_names_held_is_put_back(module: Any, change: str) -> None:
    before = seen(module)
    exec(change, module.__dict__)
    before.restore()
    assert before == seen(module)


@pytest.mark.parametrize(
    "change",
    [
        "random.random()",
        "SLOTTED.a = 3",
        "MINE.append(1)",
        "next(COUNT)",
        "LOCK.acquire()",
        "del NUMBER",
        "HERE.x = 1",
    ],
)
def test_what_cannot_be_put_back_is_noticed_all_the_same(module: Any, change: str) -> None:
    before = seen(module)
    exec(change, module.__dict__)
    before.restore()
    assert before != seen(module)
