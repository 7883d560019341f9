"""What exceptions suggest about the expression that raised them is tried early: in real projects, with real suites."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CASES = {
    "text and number": (
        "def label(n, word):\n    return word + ' ' + n\n",
        "assert label(3, 'a') == 'a 3'",
        "str(n)",
    ),
    "number and text": ("def add(a, b):\n    return a + b\n", "assert add(3, '4') == 7", "int(b)"),
    "join": (
        "def line(row):\n    return ','.join(row)\n",
        "assert line([1, 2]) == '1,2'",
        "map(str, row)",
    ),
    "unhashable": (
        "def seen(rows):\n    return len({row for row in rows})\n",
        "assert seen([[1], [1], [2]]) == 2",
        "tuple(row)",
    ),
    "nothing to iterate": (
        "def names(rows=None):\n    return [row.upper() for row in rows]\n",
        "assert names() == [] and names(['a']) == ['A']",
        "rows or []",
    ),
    "missing key": (
        "def age(person):\n    return person['age']\n",
        "assert age({}) is None and age({'age': 3}) == 3",
        "person.get('age')",
    ),
    "exhausted": (
        "def first(rows):\n    return next(iter(rows))\n",
        "assert first([]) is None and first([3]) == 3",
        "next(iter(rows), None)",
    ),
    "index": (
        "def half(rows):\n    return rows[len(rows) / 2]\n",
        "assert half([1, 2, 3]) == 2",
        "int(len(rows) / 2)",
    ),
    "one more to catch": (
        "def number(name, rows):\n    try:\n        return int(rows[name])\n"
        "    except ValueError as error:\n        return str(error)\n",
        "assert number('a', {}) == \"'a'\" and number('b', {'b': '3'}) == 3 and 'x' in number('c', {'c': 'x'})",
        "except (ValueError, KeyError) as error",
    ),
    "another beside several": (
        "def first(rows):\n    return rows[0]\n\n\ndef safe(rows):\n    try:\n        return first(rows)\n"
        "    except (TypeError, KeyError):\n        return 'none'\n",
        "assert safe([]) == safe(None) == safe({}) == 'none' and safe([4]) == 4",
        "except (TypeError, KeyError, IndexError)",
    ),
    "argument": (
        "def scaled(n, factor):\n    return n * factor\n\n\ndef all_scaled(ns, factor):\n    return [scaled(n) for n in ns]\n",
        "assert all_scaled([1, 2], 3) == [3, 6]",
        "scaled(n, factor",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_tried_early(repaired: Callable[..., tuple[str, int]], name: str) -> None:
    source, test, wanted = CASES[name]
    diff, tried = repaired(source, f"from it import *\n\n\ndef test_it():\n    {test}\n")
    assert wanted in diff
    assert tried <= 12
