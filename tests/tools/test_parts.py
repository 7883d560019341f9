"""Parts of a unit that is too long to be read at once."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.source.leaves import Module
from tools.source.parts import LONGEST, header_of, parts_of

PARAMETERS = ", ".join(f"argument_{n}" for n in range(40))


def module(lines: list[int], head: str = "def f(rows, limit):") -> Module:
    """A function with a line of so many names for each number, every fourth of them below an `if`."""
    body = ""
    for number, names in enumerate(lines):
        indent = "        " if number % 4 == 3 else "    "
        body += "    if limit:\n" if number % 4 == 3 else ""
        body += f"{indent}call({', '.join(['rows'] * names)})\n"
    return Module(f"{head}\n{body or '    pass'}\n".encode())


@given(st.lists(st.integers(1, 400), max_size=60))
def test_parts_cover_the_unit_and_follow_its_lines(lines):
    made = module(lines)
    (unit,) = made.units
    found = parts_of(made, unit)
    assert found[0][0] == unit.start and found[-1][1] == unit.end
    if unit.end - unit.start <= LONGEST:
        assert found == [(unit.start, unit.end)]
        return
    assert all(0 < end - begin <= 220 for begin, end in found)
    starts = {i for i in range(unit.start + 1, unit.end) if made.leaves[i - 1].is_layout}
    for (begin, end), (following, last) in itertools.pairwise(found):
        assert begin < following <= end < last, "each goes further than the one before"
        if max(lines) < 20:
            assert end in starts and following in starts and 0 < end - following <= 60


@pytest.mark.parametrize(
    "head", ["def f(rows, limit):", "@cache\nasync def f(rows, limit):", "async def f(rows):"]
)
def test_the_header_is_the_line_of_def(head):
    made = module([5] * 60, head)
    (unit,) = made.units
    (_, _), (begin, _), *_ = parts_of(made, unit)
    first, last = header_of(made, unit, begin)
    assert made.leaves[first].text == "def" and made.leaves[last].text == "call"
    assert header_of(made, unit, unit.start) == (unit.start, unit.start)
    assert header_of(made, unit, last - 1) == (last - 1, last - 1), "a part of the header itself"


def test_a_long_header_and_other_units_have_none():
    made = module([5] * 60, f"def f({PARAMETERS}):")
    (unit,) = made.units
    assert header_of(made, unit, 300) == (300, 300)
    made = Module(b"a = 1\n" * 200)
    (unit,) = made.units
    assert unit.kind == "statements" and len(parts_of(made, unit)) > 2
    assert header_of(made, unit, 400) == (400, 400)
