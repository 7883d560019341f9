"""What a function needs to be called alone: from its file, from its package, and what must not come along."""

import pytest

from trm.data.alone import PRELUDE, PROVIDED, Alone, Kept, Package, free_names, self_contained
from trm.data.functions import Function


def _function(source: str, origin: str = "pkg:a.py:f") -> Function:
    name = origin.rpartition(":")[2].rpartition(".")[2]
    return Function(source, name, (), (), origin, "MIT")


def package(**files: str) -> Package:
    """A package of files by their paths, "__" for "/"."""
    return Package({f"{name.replace('__', '/')}.py": text for name, text in files.items()}.get)


def runs(text: str) -> dict[str, object]:
    """The namespace after prelude and text; they are ours."""
    space: dict[str, object] = {}
    exec(PRELUDE + text, space)
    return space


@pytest.mark.parametrize(
    "source",
    ["async def f(n):\n    return n\n", "@cache\ndef f(n):\n    return n\n", "def f():\n    return 1\n", "f = 1\n",
     "def f(cls, n):\n    return n\n", "def f(:\n"],
)  # fmt: skip
def test_what_cannot_be_called_as_a_plain_function(source):
    assert free_names(_function(source)) is None


def test_a_method_is_no_plain_function_and_the_other_way_round():
    method = _function("def f(self, n):\n    return n\n")
    plain = _function("def f(n):\n    return n\n")
    assert free_names(method) is None and free_names(method, method=True) == frozenset()
    assert free_names(plain, method=True) is None and free_names(plain) == frozenset()


def test_names_of_annotations_are_not_needed():
    needed = free_names(_function("def f(n: Missing) -> Other:\n    return g(n, max(n))\n"))
    assert needed is not None and needed - PROVIDED == {"g"}


FILE = """from __future__ import annotations
import re
import socket
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from numpy import ndarray
LIMIT = 3
PATTERN = re.compile("[a-z]+")
LOUD = socket.socket()

def twice(n):
    return n * LIMIT

def thrice(n: ndarray):
    return twice(n) + n

def calls():
    return LOUD
"""


def test_helpers_bring_what_they_need_in_order_and_nothing_else():
    text = package(a=FILE).closure("a.py", ["thrice"])
    assert text is not None and "PATTERN" not in text and "socket" not in text
    assert runs(text)["thrice"](2) == 8  # type: ignore[operator]


def test_what_other_packages_bring_is_an_empty_class():
    text = package(a=FILE).closure("a.py", ["calls"])
    assert text is not None and "import socket" not in text
    with pytest.raises(AttributeError):  # it cannot do what the real one does
        runs(text)
    made = package(
        a="try:\n    import requests as x\nexcept ImportError:\n    x = 1\n",
        b="from yaml import Node  # its\n\nclass Leaf(Node):\n    def f(self, n):\n        import yaml\n        return g(n)\n",
        c="from . import gone\n\ndef f(n):\n    return n if n else gone.g(n)\n",
    )
    text = made.closure("a.py", ["x"])
    assert text is not None and isinstance(runs(text)["x"], type)
    text = made.closure("b.py", ["Leaf", "isthere"])
    assert text is not None and "yaml" in text and "import" not in text
    leaf = runs(text)["Leaf"]
    assert leaf.__mro__[1].__name__ == "Node" and isinstance(runs(text)["isthere"], type)  # type: ignore[attr-defined]
    text = made.closure("c.py", ["f"])
    assert text is not None and runs(text)["f"](3) == 3  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["if 1: import x\n", "try:\n    from yaml import *\n    x = 1\nexcept ImportError:\n    x = 2\n"]
)  # fmt: skip
def test_an_import_that_cannot_be_replaced_is_left_out_with_its_statement(text):
    assert package(a=text).closure("a.py", ["x"]) == "x = type('x', (), {})\n"


def test_files_of_the_package_come_along_what_is_imported_first():
    made = package(
        pkg__a="from .b import helper as h\nfrom pkg.c import BASE\n\ndef f(n):\n    return h(n) + BASE\n",
        pkg__b="from . import c\nfrom .c import BASE\n\ndef helper(n):\n    return n * BASE\n",
        pkg__c="BASE = 10\n",
        pkg____init__="",
    )
    text = made.closure("pkg/a.py", ["f"])
    assert text is not None and runs(text)["f"](2) == 30  # type: ignore[operator]


def test_imports_in_a_circle_end():
    made = package(a="from b import y\nx = 1\n", b="from a import x\ny = x\n")
    text = made.closure("a.py", ["y"])
    assert text is not None and sorted(text.splitlines()) == ["x = 1", "y = x"]


def test_two_things_of_one_name_are_refused():
    made = package(a="from b import g\nLIMIT = 1\n\ndef f(n):\n    return g(n) + LIMIT\n",
                   b="LIMIT = 2\n\ndef g(n):\n    return n + LIMIT\n")  # fmt: skip
    assert made.closure("a.py", ["f"]) is None and made.closure("b.py", ["g"]) is not None


def test_the_same_import_in_two_files_is_one_thing():
    made = package(a="import math\nfrom b import g\n\ndef f(n):\n    return g(n) + math.floor(n)\n",
                   b="import math\n\ndef g(n):\n    return math.ceil(n)\n")  # fmt: skip
    text = made.closure("a.py", ["f"])
    assert text is not None and runs(text)["f"](1.5) == 3  # type: ignore[operator]


CLASSES = """from dataclasses import dataclass

class Base:
    def __init__(self, size: int):
        self.size = size

class Box(Base):
    def grow(self, n):
        return self.size + n

@dataclass
class Point:
    x: int
    y: int = 0

    def norm(self, k):
        return self.x ** k
"""


def test_methods_come_with_their_class_and_what_it_is_made_from():
    sources = [
        _function("def grow(self, n):\n    return self.size + n\n", "pkg:a.py:Box.grow"),
        _function("def norm(self, k):\n    return self.x ** k\n", "pkg:a.py:Point.norm"),
        _function("def f(n):\n    return open(n)\n", "pkg:a.py:f"),
        _function("def g(n):\n    return n\n", "elsewhere:a.py:g"),
    ]
    found = {
        a.function.name: a for a in self_contained(sources, Kept({"pkg": {"a.py": CLASSES}.get}))
    }
    assert set(found) == {"grow", "norm"}
    box, point = found["grow"], found["norm"]
    assert isinstance(box, Alone) and box.of_class == "Box" and "size: int" in box.init
    assert point.init == "def __init__(self, x: int): ..."
    assert runs(box.helpers)["Box"](3).grow(1) == 4  # type: ignore[operator]
