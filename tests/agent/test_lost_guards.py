"""A guard that was lost is written again where the failing calls tell of it: in real projects, with real suites."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CASES = {
    "it breaks down": (
        "def mean(numbers):\n    return sum(numbers) / len(numbers)\n",
        "def test_a():\n    assert mean([]) == 0\ndef test_b():\n    assert mean([1, 3]) == 2\n",
        "    if not numbers:\n+        return 0\n",
    ),
    "it gives something else": (
        "def sign(n):\n    return 'even' if n % 2 == 0 else 'odd'\n",
        "def test_a():\n    assert sign(0) == 'none'\ndef test_b():\n    assert (sign(1), sign(2)) == ('odd', 'even')\n",
        "        return 'none'\n",
    ),
    "of a parameter of the test": (
        "def first(words, default=None):\n    return words[0]\n",
        "import pytest\n@pytest.mark.parametrize(('words', 'want'), [('', ''), ('ab', 'a')])\n"
        "def test_a(words, want):\n    assert want == first(words=words)\n",
        "    if not words:\n+        return ''\n",
    ),
    "it is to raise": (
        "def root(x):\n    return abs(x) ** 0.5\n",
        "import pytest\ndef test_a():\n    with pytest.raises(ValueError):\n        root(-4)\n"
        "def test_b():\n    assert root(0) == 0 and root(4) == 2\n",
        "    if x < 0:\n+        raise ValueError\n",
    ),
    "of a method, by unittest": (
        "class Box:\n    def __init__(self):\n        self.all = []\n\n"
        '    def put(self, thing):\n        """Put it in."""\n        self.all.append(thing)\n        return len(self.all)\n',
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
        "        self.assertRaises(TypeError, Box().put, None)\n"
        "    def test_b(self):\n        self.assertEqual(Box().put(0), 1)\n",
        "        if thing is None:\n+            raise TypeError\n",
    ),
    "in the middle": (
        "def share(rows, total):\n    kept = [row for row in rows if row]\n    return total / len(kept)\n",
        "def test_a():\n    assert share([0, 0], 6) is None\ndef test_b():\n    assert share([0, 2], 6) == 6\n",
        "    if not kept:\n+        return None\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_lost_guard_is_written_again(repaired: Callable[..., tuple[str, int]], name: str) -> None:
    source, tests, wanted = CASES[name]
    diff, tried = repaired(source, f"from it import *\n{tests}")
    assert wanted in diff
    if "none" not in wanted:  # what is just one test's answer waits
        assert tried <= 100
