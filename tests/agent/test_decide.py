"""The visible decisions: bits, and margins that say how sure they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import decide


@given(p=st.floats(0, 1), step=st.integers(1, 16), steps=st.integers(1, 16))
def test_the_recursion_halts_when_sure_or_at_its_end(p, step, steps):
    made = decide.halt(p, step, steps)
    assert made.kind == "halt" and made.bit == (p >= 0.5 or step == steps)
    assert 0 <= made.margin <= 1 and ("last step" in made.reason) == (step == steps)


@given(p=st.floats(0, 0.5), q=st.floats(0, 0.5))
def test_the_margin_grows_with_the_distance_from_even(p, q):
    margins = [decide.halt(0.5 + x, 1, 2).margin for x in sorted((p, q))]
    assert margins == sorted(margins)
    assert [decide.halt(0.5 - x, 1, 2).margin for x in sorted((p, q))] == pytest.approx(margins)


@given(
    bit=st.integers(0, 1),
    margin=st.floats(0, 5),
    turned=st.integers(1, 99),
    left=st.integers(0, 99),
)
def test_margins_are_shares(bit, margin, turned, left):
    side, combined = decide.side(bit, margin, 3, 9), decide.combine(turned, left)
    assert (side.kind, side.bit) == ("side", bit) and 0 <= side.margin <= 1
    assert "3-9" in side.reason
    assert (combined.kind, combined.bit) == ("combine", 1)
    assert combined.margin == turned / (turned + left)
    assert str(turned) in combined.reason and str(left) in combined.reason


def test_accepting_says_what_was_decided_and_why():
    yes, no = decide.accept(True, "all pass"), decide.accept(False, "breaks x", 0.25)
    assert (yes.kind, yes.bit, yes.reason, yes.margin) == ("accept", 1, "all pass", 1.0)
    assert (no.bit, no.reason, no.margin) == (0, "breaks x", 0.25)
    assert (decide.stop("600 s are over").kind, decide.stop("x").bit) == ("stop", 1)
