"""The lines that panels are made of, without a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from agent import events as ev
from agent.faces.tui.widgets.bits import flipped
from agent.faces.tui.widgets.candidates import candidate_row
from agent.faces.tui.widgets.code import highlight, shown_column
from agent.faces.tui.widgets.diff import diff_lines
from agent.faces.tui.widgets.interval import extent
from agent.faces.tui.widgets.panel import bar, clock, cut, ends, fit, spark
from agent.faces.tui.widgets.recursion import changes, emphasised, proposal_lines, small_diff


def step(number: int, proposal: str, bits: tuple[int, ...] = (0, 1)) -> ev.RecursionStep:
    return ev.RecursionStep("f", number, 9, bits, 0.1, False, proposal, 1, 0.5)


texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=40)


@given(texts, st.integers(1, 30))
def test_cut_text_never_exceeds_its_cells_and_says_that_it_was_cut(text: str, width: int) -> None:
    short = cut(text, width)
    assert cell_len(short) <= width
    assert short == text or "…" in short


@given(texts, st.integers(1, 30))
def test_text_cut_at_the_left_keeps_its_end(text: str, width: int) -> None:
    short = cut(text, width, left=True)
    assert cell_len(short) <= width
    assert text.endswith(short.removeprefix("…"))


@given(texts, texts, st.integers(8, 60))
def test_left_and_right_part_share_a_line(left: str, right: str, width: int) -> None:
    assert ends(Content(left), Content(right), width).cell_length <= width


def test_a_line_that_fits_is_left_alone() -> None:
    line = Content("abc")
    assert fit(line, 3) is line
    assert fit(line, 2).plain == "a…"


@given(st.floats(-1, 2), st.integers(1, 80))
def test_a_bar_has_its_width(share: float, width: int) -> None:
    full, empty = bar(share, width)
    assert len(full) + len(empty) == width


@given(st.floats(-5, 5))
def test_a_spark_is_one_cell(value: float) -> None:
    assert cell_len(spark(value)) == 1


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_steps_that_agree_share_a_group() -> None:
    groups = changes([step(1, "a"), step(2, "a"), step(3, "b"), step(4, "a")])
    assert [[s.step for s in g] for g in groups] == [[1, 2], [3], [4]]


def test_a_proposal_loses_headers_and_common_indentation() -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@ -1 +1,2 @@\n-    if a:\n+    if b:\n+        c\n"
    assert proposal_lines(diff) == (["if a:"], ["if b:", "    c"])


def test_a_long_proposal_is_shortened_and_says_by_how_much() -> None:
    rows = small_diff("\n".join(f"+line {k}" for k in range(9)), 40)
    assert [r.plain for r in rows][-1] == "+ … 5 more lines"


def test_signs_tell_removed_from_added_without_colour() -> None:
    assert [r.plain for r in small_diff("-a > b\n+a >= b", 40)] == ["- a > b", "+ a >= b"]


@given(texts, texts)
def test_emphasis_keeps_the_text(line: str, other: str) -> None:
    assert emphasised(line, other, "red").plain == line


def test_emphasis_marks_just_what_differs() -> None:
    (span,) = [s for s in emphasised("a >= b", "a > b", "$success").spans if "bold" in str(s.style)]
    assert "a >= b"[span.start : span.end] == "="


def test_without_tints_what_differs_is_reversed_and_stays_readable() -> None:
    (span,) = [s for s in emphasised("a >= b", "a > b", "$error", True).spans if s.start]
    assert str(span.style) == "bold reverse"


def test_flipped_bits_are_those_that_differ_from_the_step_before() -> None:
    assert flipped([step(1, "", (0, 1, 1)), step(2, "", (1, 1, 0))]) == [True, False, True]


def test_no_bit_has_flipped_at_a_first_step_or_when_their_number_changes() -> None:
    assert flipped([step(1, "", (1, 1))]) == [False, False]
    assert flipped([step(1, "", (1,)), step(2, "", (0, 1))]) == [False, False]


def test_highlighting_keeps_the_text_line_by_line() -> None:
    source = "def f(x):\n\treturn 'a\x0cb' # ü 日本\n\nif x == 1:\r\n    pass"
    assert [line.plain for line in highlight(source)] == [
        "def f(x):",
        "    return 'a\x0cb' # ü 日本".replace("\x0c", ""),
        "",
        "if x == 1:",
        "    pass",
    ]


@pytest.mark.parametrize(("column", "shown"), [(0, 0), (1, 4), (3, 6)])
def test_columns_move_with_expanded_tabs(column: int, shown: int) -> None:
    assert shown_column("\tabc", column) == shown


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 200), st.integers(1, 120))
def test_an_interval_is_always_visible_and_inside(
    low: int, before: int, length: int, width: int
) -> None:
    first, last = low + before, low + before + length
    start, end = extent(first, last, low, last + 7, width)
    assert 0 <= start < end <= width


def test_a_halved_interval_is_half_as_long() -> None:
    whole, half = extent(1, 16, 1, 16, 64), extent(1, 8, 1, 16, 64)
    assert whole == (0, 64) and half == (0, 32)


@given(texts, texts, st.integers(40, 150), st.integers(1, 99999))
def test_a_candidate_row_has_its_width(before: str, after: str, width: int, number: int) -> None:
    tried = ev.CandidateTried(number, "a.py", 7, before, after, "op", 0.0, "passed", "t", 0.5)
    row = candidate_row(tried, width, 5)
    assert row.cell_length == width
    assert "✓ passed" in row.plain


def test_a_deletion_and_an_unknown_verdict_are_readable() -> None:
    tried = ev.CandidateTried(3, "a.py", 7, "return x", "", "op", 0.0, "odd", "t", 12.0)
    row = candidate_row(tried, 60, 3).plain
    assert "return x → ∅" in row and "· odd" in row and row.endswith("12.0 s")


def test_a_diff_keeps_signs_and_context_and_expands_tabs_after_the_sign() -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n \tkeep\n-\told\n+\tnew\n"
    assert [line.plain for line in diff_lines(diff)] == [
        "x.py",
        "@@ -1,2 +1,2 @@",
        "     keep",
        "-    old",
        "+    new",
    ]
