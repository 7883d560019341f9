"""Of two long values a failure tells the part in which they differ, and never fails itself."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest


def loaded(name: str) -> Any:
    """A file of the worker, under the name that it has there."""
    path = Path(__file__).parents[2] / "tools" / "worker" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"_trm_worker_{name}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


expectation, failures = loaded("expectation"), loaded("failures")

MANY = {f"key{n}": n for n in range(20)}
LONG = "abcdefghij" * 12


class Box:
    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


class Odd(list):
    def __getitem__(self, index: Any) -> Any:
        raise ValueError(index)


@pytest.mark.parametrize(
    ("actual", "expected", "sides"),
    [
        ([1, 2], [2, 1], ("[1, 2]", "[2, 1]")),
        (None, LONG, None),
        ({**MANY, "key3": 7}, MANY, ("7", "3")),
        ({**MANY, "key3": 7, "new": 1}, MANY, ("{'key3': 7, 'new': 1}", "{'key3': 3}")),
        ({"all": [MANY, {**MANY, "n": []}]}, {"all": [MANY, {**MANY, "n": [1]}]}, ("[]", "[1]")),
        ([*range(40), 7], [*range(40), 8, 9], ("[7]", "[8, 9]")),
        ([5, *range(40)], [*range(40)], None),
        (LONG + "x", LONG + "y", ("'abcdefghijx'", "'abcdefghijy'")),
        (set(range(40)), set(range(1, 41)), ("{0}", "{40}")),
        ([Box(a=1, b=LONG)], [Box(a=2, b=LONG)], ("1", "2")),
        (Odd(range(80)), Odd(range(1, 90)), None),
    ],
)
def test_the_part_that_differs(actual: object, expected: object, sides: Any) -> None:
    whole = failures.short(actual, 400), failures.short(expected, 400)
    assert failures.sides(actual, expected) == (sides or whole)


@pytest.mark.parametrize(
    ("part", "whole", "sides"),
    [
        ("Hello, x", "well. Hello x! And more", ("'Hello x!'", "'Hello, x'")),
        ("b" * 70 + "x", LONG + "b" * 70 + "y", ("'bbbbbbbbbby'", "'bbbbbbbbbbx'")),
        ("x", "abc", ("'a'", "'x'")),
        ("", "abc", ("'abc'", "''")),
        (3, [1, 2], ("[1, 2]", "3")),
    ],
)
def test_the_part_of_a_text_in_which_something_was_looked_for(part, whole, sides) -> None:
    assert failures.within(part, whole) == sides


def test_a_statement_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "def test():\n    assert f(\n        1,\n    ) == [\n        2,\n    ]\n    with g(\n        3\n    ):\n        h()\n"
    )
    told = [failures.statement_at(str(path), line) for line in (1, 2, 5, 7, 10, 99, 0)]
    statement = "assert f( 1, ) == [ 2, ]"
    assert told == ["def test():", statement, "2,", "with g( 3 ):", "h()", "", ""]
    path.write_text("assert (\n    1\n")
    assert failures.statement_at(str(path), 1) == "assert ("
    assert failures.statement_at(str(tmp_path / "gone.py"), 1) == ""


LEFT, RIGHT = True, False  # the side that is expected; right where nothing tells


@pytest.mark.parametrize(
    ("side", "source"),
    [
        (RIGHT, "def test():\n    assert f(1) == 3"),
        (LEFT, "def test():\n    assert 3 == f(1)"),
        (LEFT, "def test():\n    assert [1, -2] == list(f(x))"),
        (LEFT, "def test(word, title):\n    assert title == f(word)"),
        (RIGHT, "def test(word, title):\n    assert f(word) == title"),
        (RIGHT, "def test():\n    one = f(1)\n    assert one == Decimal('3')"),
        (LEFT, "def test():\n    one = f(1)\n    assert Decimal('3') == one"),
        (LEFT, "def test():\n    table = {'a': (1, 2)}\n    assert table == f(1)"),
        (LEFT, "def test():\n    expected = g()\n    assert expected == f(1)"),
        (LEFT, "def test():\n    assert want == got"),
        (RIGHT, "def test():\n    assert result == answer"),
        (RIGHT, "def test(a, b):\n    assert a == b"),
        (RIGHT, "def test():\n    assert f(1) == g(2)"),
        (RIGHT, "def test():\n    assert box.size == 3"),
        (LEFT, "def test():\n    assert 3 == box.size"),
        (
            LEFT,
            "def test(n):\n    for x in range(n):\n        with g():\n            assert n == f(x)",
        ),
        (LEFT, "@mark\nasync def test(n):\n    assert n == await f()"),
        (LEFT, "class T:\n    def test(self):\n        self.assertEqual(3, f(1))"),
        (RIGHT, "class T:\n    def test(self):\n        self.assertEqual(f(1), 3)"),
        (RIGHT, "def test():\n    assert f(1) == 3 == g(1)"),
        (RIGHT, "def test():\n    check(3, f(1))"),
        (RIGHT, "def test():\n    assert 3 == ("),
    ],
)
def test_the_side_that_is_expected(tmp_path: Path, side: bool, source: str) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(f"import f\n\n\n{source}\n\n\ndef test_other():\n    assert f(\n")
    begin = 4 + source.startswith("class")
    assert expectation.comes_first(str(path), begin, 3 + source.count("\n") + 1) is side
    assert expectation.comes_first(str(tmp_path / "gone.py"), 1, 1) is False


def test_of_a_statement_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "def test():\n    assert [\n        1,\n    ] == f(\n        1\n    )\n    g()\n"
    )
    assert expectation.comes_first(str(path), 1, 2)


def test_what_an_object_keeps_itself_is_told_of_a_missing_attribute() -> None:
    class Slotted:
        __slots__ = ("__hidden", "values")

    class Both(Slotted):
        __slots__ = "__dict__", "parent"

    def own(thing: object) -> list[str]:
        try:
            thing.data  # type: ignore[attr-defined]  # noqa: B018
        except AttributeError as error:
            return failures.suggestions(error, error.__traceback__.tb_frame)["own"]  # type: ignore[union-attr]
        raise AssertionError

    both = Both()
    both.extra = 1  # type: ignore[attr-defined]
    assert own(Box(width=2, length=3)) == ["width", "length"]
    assert own(both) == ["parent", "values", "extra"]
    assert own(json) == own("text") == []
