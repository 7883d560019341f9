"""Literals that failures correct, and that a repair takes them up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.wording import wordings
from tools.source.leaves import Module
from tools.source.operators.view import view_of


def corrected(code: str, *pairs: tuple[Any, Any]) -> list[str]:
    """What becomes of the literals of a function that returns `code`, likeliest first."""
    module = Module(f"def f(a, b):\n    return {code}\n".encode())
    return [text for _, text, _ in wordings(view_of(module, module.units[0]), pairs)]


@pytest.mark.parametrize(
    ("code", "pair", "right"),
    [
        ("'**%s**' % a", ("**bold**", "*bold*"), "'*%s*'"),
        ("a + '\\n' + b", ("a\nb", "a\n\nb"), "'\\n\\n'"),
        ('"Hello, {}".format(a)', ("Hello, x!", "Hello x!"), '"Hello {}"'),
        ("a + '' + b", ("ab", "a b"), "' '"),
        ("', '.join(a)", ("a, b, c", "a; b; c"), "'; '"),
        ("'it\\'s %s' % a", ("it's 5", "it is 5"), "'it is %s'"),
        ('"it\'s" + a', ("it's 5", 'it"s 5'), '"it\\"s"'),
        ("f'{a} days ago'", ("3 days ago", "3 day ago"), " day ago"),
        ("[0, a][0]", (0, 7), "7"),
    ],
)
def test_a_literal_becomes_what_stands_in_its_place(code: str, pair: tuple, right: str) -> None:
    assert right in corrected(code, pair)


@pytest.mark.parametrize(
    ("code", "pair"),
    [
        ("'ab' + a", ("abc", "abd")),  # it was not wrong
        ("r'a' + a", ("abc", "xbc")),
        ("b'a' + a", (b"abc", b"xbc")),
        ("'a' + a", (["abc"], 5)),
        ("f'a{a}'", ("abc", "'bc")),  # would end the literal
        ("3 + a", (4, 5)),
    ],
)
def test_other_literals_are_left_alone(code: str, pair: tuple) -> None:
    assert corrected(code, pair) == []


def test_what_more_comparisons_speak_for_comes_first() -> None:
    found = corrected("'-' + a", ("-a", "+a"), ("-b", "+b"), ("-c", "*c"))
    assert found == ["'+'", "'*'"]


def test_a_repair_takes_it_up(repaired: Callable) -> None:
    diff, tried = repaired(
        "def heading(text, level):\n    mark = '#' * level\n    return '%s-%s' % (mark, text)\n",
        "import it\n\n\ndef test_one():\n    assert it.heading('a', 1) == '# :a'\n\n\n"
        "def test_two():\n    assert '### :b' in it.heading('b', 3) + '!'\n",
    )
    assert "+    return '%s :%s' % (mark, text)" in diff
    assert tried < 60
