"""Suspects from traces and failures: what may be repaired, in which order, and what the model is told of it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.locate import (
    Sources,
    causes,
    changed_lines,
    execution_of,
    halve,
    one_edit_may_do,
    only,
    ranked_lines,
    suspects,
)
from tools.spectrum import Spectrum
from tools.verdicts import CollectionError, Failure, Frame, Outcome, SuiteRun, TestResult

CALC = """LIMIT = 3


def total(rows):
    out = 0
    for row in rows:
        out += (row +
                1)
    return out


def unused(a):
    return a


class Box:
    size = 2

    def fits(self, n):
        return n < self.size
"""
RED, GREEN = "test_calc.py::test_red", "test_calc.py::test_green"


def suite(lines, failures=(), errors=()):
    """A run of tests by id, with the lines of calc.py that each ran; those with "red" in their name failed."""
    failed = {test for test in lines if "red" in test}
    results = [
        TestResult(test, Outcome.FAILED if test in failed else Outcome.PASSED, 0.0)
        for test in lines
    ]
    traces = {test: {"calc.py": list(ran)} for test, ran in lines.items()}
    return SuiteRun(results, list(failures), list(errors), Spectrum(traces, failed), 0.1)


def failure(line, names=None, test=RED, **more):
    frames = [Frame("test_calc.py", 3, "test_red", {}), Frame("calc.py", 5, "total", {"rows": "[1]"}),
              Frame("calc.py", line, "total", names or {})]  # fmt: skip
    return Failure(test, "AssertionError", "", frames, **more)


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "calc.py").write_text(CALC)
    return Sources(tmp_path)


def test_units_come_by_the_suspicion_of_their_worst_line(sources):
    run = suite({RED: [4, 5, 6, 7, 9, 20], GREEN: [20], "test_calc.py::test_green2": [4, 5, 9]})
    found = suspects(run, sources)
    assert [s.unit.name for s in found[:2]] == ["total", "Box.fits"]
    assert [s.prior for s in found] == sorted((s.prior for s in found), reverse=True)
    top = found[0]
    assert top.prior == top.scores[6] == top.scores[7] == 1.0
    assert top.scores[5] == pytest.approx(1 / math.sqrt(2))
    assert "unused" not in [s.unit.name for s in found], "what no failing test ran is no suspect"
    others = {s.unit.name: s.prior for s in found[2:]}
    assert "<module>" in others and 0 < max(others.values()) < 0.2, "statements ran at import"


def test_every_line_of_a_suspect_has_a_score(sources):
    for suspect in suspects(suite({RED: [5, 6, 7, 9]}), sources):
        unit = suspect.unit
        assert set(suspect.scores) == set(range(unit.first_line, unit.last_line + 1))
        assert all(0 < score <= 1 for score in suspect.scores.values())
    top = suspects(suite({RED: [5, 6, 7, 9]}), sources)[0]
    assert 0.02 < top.scores[8] < top.scores[7], "a continuation has a share of its statement's"


def test_frames_of_the_failure_count_without_a_trace(sources):
    found = suspects(suite({RED: []}, [failure(7)]), sources)
    assert found[0].unit.name == "total" and found[0].scores[7] >= 0.5


def test_a_file_that_does_not_collect_is_the_most_suspect(sources):
    error = CollectionError("calc.py", "SyntaxError", "invalid", 9, None, "test_calc.py")
    found = suspects(suite({}, errors=[error]), sources)
    assert found[0].unit.name == "total" and found[0].scores[9] == 1.0


def test_tests_and_what_lies_outside_are_never_sources(tmp_path):
    root = tmp_path / "root"
    inside = ["calc.py", "pkg/mod.py", "testing.py"]
    outside = ["test_calc.py", "calc_test.py", "conftest.py", "tests/helper.py", "pkg/tests/data.py", "notes.txt",
               ".venv/lib/x.py", "venv/x.py", "lib/site-packages/x.py", "missing.py", "latin.py", "../other.py",
               "link.py"]  # fmt: skip
    for name in [*inside, *outside[:-2]]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != "missing.py":
            path.write_text("x = 1\n")
    (root / "latin.py").write_bytes(b"x = '\xe4'\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    (root / "link.py").symlink_to(tmp_path / "other.py")
    sources = Sources(root)
    assert [name for name in inside + outside if sources.get(name)] == inside
    assert sources.get("calc.py") is sources.get("calc.py"), "parsed once"


def test_an_edit_has_the_suspicion_of_the_likelier_neighbour(sources):
    top = suspects(suite({RED: [6, 7, 9], GREEN: [6]}), sources)[0]
    leaves = top.file.module.leaves
    for index in range(top.unit.start + 1, top.unit.end):
        near = {leaves[index].line, leaves[index - 1].line}
        found = top.line_of(index)
        assert found in near
        assert top.scores.get(found, 0) == max(top.scores.get(line, 0) for line in near)
    assert top.line_of(len(leaves)) > 0


def test_the_model_is_told_who_entered_the_unit(sources):
    other, third = "test_calc.py::test_red2", "test_calc.py::test_green2"
    run = suite(
        {RED: [4, 5, 6, 7, 9], other: [20], GREEN: [4, 5, 6, 9], third: [20]},
        [failure(7, {"row": "1", "out": "'x'"}, actual="1", expected="2")],
    )
    unit = suspects(run, sources)[0]
    assert unit.unit.name == "total"
    ran = execution_of(unit, run)
    assert ran is not None
    assert (ran.failing, ran.passing) == (1, 1), "tests elsewhere do not count"
    assert ran.cover_fail == {4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}, "line 8 continues line 7"
    assert ran.cover_pass == {4: 1, 5: 1, 6: 1, 9: 1}
    assert ran.frames == {5: 1, 7: 2}, "the deepest frame is told apart"
    assert ran.values == {"rows": ("list", "[1]"), "row": ("int", "1"), "out": ("str", "'x'")}
    assert (ran.actual, ran.expected) == ("1", "2")


def test_a_unit_that_no_failing_test_entered_has_no_execution(sources):
    run = suite({RED: [4, 5], GREEN: [13]}, [failure(5)])
    statements = next(s for s in suspects(run, sources) if s.unit.name == "<module>")
    assert execution_of(statements, run) is None


MASSES = st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(lambda mass: sum(mass) > 0.01)


@given(mass=MASSES, least=st.floats(0.05, 0.95))
def test_bisection_keeps_the_heavier_side_while_it_holds_enough(mass, least):
    first, last, total = 0, len(mass) - 1, math.fsum(mass)
    for left, right, kept, bit, margin in halve(mass, least):
        assert first <= left <= right <= last and right - left < last - first
        assert (left, right)[bit] == (first, last)[bit], "bit 1 keeps the right side, 0 the left"
        inside = math.fsum(mass[left : right + 1])
        assert kept == pytest.approx(inside / total, abs=1e-9)
        assert kept >= least - 1e-9
        rest = math.fsum(mass[first : last + 1]) - inside
        assert inside >= rest - 1e-9 and 0 <= margin <= 1 + 1e-9
        first, last = left, right


@given(size=st.integers(1, 60), data=st.data())
def test_bisection_finds_the_one_line_that_is_suspect(size, data):
    at = data.draw(st.integers(0, size - 1))
    mass = [0.0] * size
    mass[at] = 0.7
    steps = list(halve(mass))
    assert (not steps and size == 1) or steps[-1][:2] == (at, at)


def test_few_cuts_lead_to_where_most_of_the_suspicion_is():
    mass = [0.01] * 40 + [0.3, 0.3] + [0.01] * 20
    steps = list(halve(mass))
    assert len(steps) <= 3 and steps[-1][:2] in ((40, 40), (40, 41), (41, 41))


def test_failing_tests_are_grouped_by_what_raised_where():
    others = ["t.py::red_b", "t.py::red_c"]
    told = [failure(4), *(replace(failure(9, test=name), exception="TypeError") for name in others)]
    run = suite({RED: [4], **{name: [9] for name in others}, GREEN: [13]}, told)
    assert causes(run, run.failing) == [[RED], others], "few tests first"
    ends = {RED: Outcome.TIMEOUT}
    cut = replace(
        run, results=[replace(r, outcome=ends.get(r.nodeid, r.outcome)) for r in run.results]
    )
    assert causes(cut, cut.failing) == [others, [RED]], "what was cut comes last"
    rest = only(run, [RED])
    assert rest.failing == [RED] and [f.nodeid for f in rest.failures] == [RED]
    assert set(rest.spectrum.lines) == {RED, GREEN} and rest.spectrum.failed == {RED}
    assert run.failing == [RED, *others], "the run itself is as it was"


def test_one_edit_may_do_where_all_failing_tests_run_a_line_in_common(sources):
    apart = suite({RED: [4, 5], "t.py::red_b": [9, 13]})
    assert not one_edit_may_do(apart, apart.failing, sources)
    together = suite({RED: [4, 5], "t.py::red_b": [5, 13]})
    assert one_edit_may_do(together, together.failing, sources)
    cut = suite({RED: [4, 5], "t.py::red_b": [5, 13], "t.py::red_cut": []})
    cut.spectrum.lines["t.py::red_cut"] = {}
    assert one_edit_may_do(cut, cut.failing, sources), "a test without a trace says nothing"


def test_nothing_suspect_is_not_bisected():
    assert list(halve([0.0, 0.0])) == [] and list(halve([])) == []


def test_the_report_names_the_likeliest_lines(sources):
    found = suspects(suite({RED: [5, 7, 20], GREEN: [5]}), sources)
    lines = ranked_lines(found, 3)
    assert len(lines) == 3
    assert lines[0] == "calc.py:7: out += (row +" and "calc.py:20: return n < self.size" in lines


CHANGED = b"""LIMIT = 3
KINDS = (1,
         2)


def f(a,
      b):
    if a:
        return g(a,
                 b)
    return b
"""


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (b"    return b", b"    return a", {11}),
        (b"                 b)", b"                 a)", {9, 10}),  # the whole statement
        (b"      b):", b"      b=1):", {6, 7}),
        (b"    return b", b"    b += 1\n    return b", {10, 9, 11}),  # both neighbours
        (b"    if a:", b"    if a:\n        b = 2", {8, 9, 10}),
        (b"         2)", b"         3)", {1, 2, 3}),  # import ran it, for all tests
    ],
)
def test_changed_lines_are_whole_statements(old: bytes, new: bytes, lines: set[int]) -> None:
    assert changed_lines({"a.py": (CHANGED, CHANGED.replace(old, new))}) == {"a.py": lines}
