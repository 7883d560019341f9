"""What exceptions suggest: the right edit is among the suggestions, and few others are."""

import ast

import pytest

from agent.locate import Sources
from agent.suggest import suggestions
from tools.source.edits import EditError, apply_edit
from tools.spectrum import Spectrum
from tools.verdicts import CollectionError, Failure, Frame, SuiteRun

CALC = '''"""Shapes."""
from __future__ import annotations

import math
from shapes import Square


def area(radius, factor=2):
    squared = radius * radius
    return math.pi * sqared * factor


def names(box):
    return box.lenght


def sizes(rows):
    return Counter(rows), json.dumps(rows)
'''


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "calc.py").write_text(CALC)
    (tmp_path / "test_calc.py").write_text("from calc import area\n")
    return Sources(tmp_path)


def results(sources, *, failures=(), errors=()):
    """The files that the suggestions of a run make."""
    run = SuiteRun([], list(failures), list(errors), Spectrum(), 0.1)
    out = []
    for suggestion in suggestions(run, sources):
        file = sources.get(suggestion.edit.path)
        assert file is not None
        try:
            out.append(apply_edit(file.module, suggestion.edit).decode())
        except EditError:
            continue
    return out


def failure(exception, message, line, **data):
    frames = [
        Frame("test_calc.py", 3, "test", {}),
        Frame("calc.py", line, "f", {}),
        Frame("x.txt", 1, "f", {}),
    ]
    return Failure("t", exception, message, frames, suggestions_data=data)


def test_a_misspelt_name_becomes_one_in_reach(sources):
    found = results(sources, failures=[failure("NameError", "name 'sqared' is not defined", 10)])
    assert CALC.replace("math.pi * sqared", "math.pi * squared") in found
    assert all(CALC.replace("sqared", "{}").split("{}")[0] in text for text in found), (
        "nothing else"
    )
    assert len(found) <= 6


@pytest.mark.parametrize(
    ("name", "line"), [("Counter", "from collections import Counter"), ("json", "import json")]
)
def test_a_missing_import_goes_behind_docstring_and_future(sources, name, line):
    found = results(sources, failures=[failure("NameError", f"name '{name}' is not defined", 18)])
    wanted = [text for text in found if f"\n{line}\n" in text]
    assert len(wanted) == 1
    ast.parse(wanted[0])
    lines = wanted[0].splitlines()
    assert (
        lines.index("from __future__ import annotations")
        < lines.index(line)
        < lines.index("import math")
    )
    compile(wanted[0], "calc.py", "exec")


@pytest.mark.parametrize("key", ["attributes", "dir"])
def test_a_misspelt_attribute_becomes_one_that_the_object_has(sources, key):
    message = "'Box' object has no attribute 'lenght'"
    known = {key: ["width", "length", "__len__"]}
    found = results(sources, failures=[failure("AttributeError", message, 14, **known)])
    assert found == [CALC.replace("box.lenght", "box.length")]
    assert results(sources, failures=[failure("AttributeError", message, 14)]) == []


def test_what_the_object_keeps_itself_is_tried_however_it_is_spelled(sources):
    message = "'Box' object has no attribute 'lenght'"
    known = {"attributes": ["width", "length", "grow"], "own": ["width", "length"]}
    found = results(sources, failures=[failure("AttributeError", message, 14, **known)])
    assert found == [CALC.replace("box.lenght", f"box.{name}") for name in ("length", "width")]


def test_a_misspelt_import_becomes_a_name_of_the_module(sources):
    message = "cannot import name 'Square' from 'shapes'"
    error = failure("ImportError", message, 5, names=["Squares", "circle"])
    assert results(sources, failures=[error]) == [CALC.replace("Square\n", "Squares\n")]


def test_other_failures_suggest_nothing(sources):
    assert results(sources, failures=[failure("AssertionError", "'sqared' == 1", 10)]) == []


@pytest.mark.parametrize(
    ("broken", "fixed", "line"),
    [
        ("def f(a)\n    return a\n", "def f(a):\n    return a\n", 1),
        (
            "def f(a):\n    return (a + 1\n\n\nx = 2\n",
            "def f(a):\n    return (a + 1)\n\n\nx = 2\n",
            2,
        ),
        ("def f(a):\n    return a + 1)\n", "def f(a):\n    return a + 1\n", 2),
        ("x = [1, 2\ny = 3\n", "x = [1, 2]\ny = 3\n", 1),
        (
            "def f(a):\n    if a = 1:\n        return 2\n",
            "def f(a):\n    if a == 1:\n        return 2\n",
            2,
        ),
        ("x = {1: 2 3: 4}\n", "x = {1: 2, 3: 4}\n", 1),
        ("for i range(3):\n    pass\n", "for i in range(3):\n    pass\n", 1),
        ("def f():\nx = 1\n", "def f():\n    pass\nx = 1\n", 2),
    ],
)
def test_syntax_errors_are_repaired(tmp_path, broken, fixed, line):
    (tmp_path / "calc.py").write_text(broken)
    error = CollectionError("calc.py", "SyntaxError", "invalid syntax", line, None, "test_calc.py")
    found = results(Sources(tmp_path), errors=[error])
    trees = set()
    for text in found:
        try:
            trees.add(ast.dump(ast.parse(text)))
        except (SyntaxError, ValueError):
            continue
    assert ast.dump(ast.parse(fixed)) in trees


def test_a_name_that_fails_at_import_is_treated_like_one_in_a_test(sources):
    error = CollectionError(
        "calc.py", "NameError", "name 'sqared' is not defined", 10, None, "test_calc.py"
    )
    assert CALC.replace("* sqared", "* squared") in results(sources, errors=[error])


def test_test_files_get_no_suggestion(sources):
    error = CollectionError(
        "test_calc.py", "SyntaxError", "invalid syntax", 1, None, "test_calc.py"
    )
    only_test = Failure(
        "t", "NameError", "name 'sqared' is not defined", [Frame("test_calc.py", 1, "t", {})]
    )
    assert results(sources, failures=[only_test], errors=[error]) == []


def test_repeats_are_told_once(sources):
    one = failure("NameError", "name 'sqared' is not defined", 10)
    found = results(sources, failures=[one, one])
    assert len(found) == len(set(found)) == len(results(sources, failures=[one]))


BOX = """class Box:
    def __init__(self, lid, size):
        self.lid = lid

    @property
    def width(self):
        return self._size

    @width.setter
    def width(self, size: int = 3):
        '''Of both.'''
        print(size)

    def colour(self):
        if self:
            return self.lid.paint.shade(1)
        return None
"""


@pytest.fixture
def box(tmp_path):
    (tmp_path / "calc.py").write_text(BOX)
    return Sources(tmp_path)


def test_what_was_none_is_asked_for_first(box):
    said = failure("AttributeError", "'NoneType' object has no attribute 'shade'", 16)
    fixed = BOX.replace(
        "            return self.lid.paint.shade(1)\n",
        "            if self.lid.paint is not None:\n                return self.lid.paint.shade(1)\n",
    )
    assert results(box, failures=[said]) == [fixed]
    elsewhere = failure("AttributeError", "'NoneType' object has no attribute 'shade'", 15)
    assert results(box, failures=[elsewhere]) == []


def test_a_parameter_that_was_not_kept_is_kept(box):
    said = failure("AttributeError", "'Box' object has no attribute '_size'", 7)
    kept = "        self._size = size\n"
    assert results(box, failures=[said]) == [
        BOX.replace("        self.lid = lid\n", kept + "        self.lid = lid\n"),
        BOX.replace("        print(size)\n", kept + "        print(size)\n"),
    ]
