"""What edits in vain show: how the first failing test answered, the best answer of a line, and no trace of the run itself."""

import pytest

from agent.evidence import BROKE, CHANGED, REPAIRED, SAME, Evidence
from tools.spectrum import Spectrum
from tools.verdicts import Outcome, SuiteRun, TestResult, Verdict

FIRST, SECOND = "test_box.py::test_first", "test_box.py::test_second"


def failed(test, exception, message, outcome=Outcome.FAILED):
    return Verdict(outcome, failing_test=test, exception=exception, message=message)


@pytest.fixture
def evidence():
    results = [
        TestResult(FIRST, Outcome.FAILED, 0.01, exception="TypeError", message="at 0x7f01: no len()"),
        TestResult(SECOND, Outcome.PASSED, 0.01),
    ]  # fmt: skip
    return Evidence(SuiteRun(results, [], [], Spectrum(), 0.1), [FIRST])


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (failed(FIRST, "TypeError", "at 0x9a: no len()"), SAME),
        (failed(FIRST, "TypeError", "another"), CHANGED),
        (failed(FIRST, "AssertionError", "assert 1 == 2"), CHANGED),
        (failed(FIRST, "NameError", "x"), BROKE),
        (failed(FIRST, None, "took too long and was cut", Outcome.TIMEOUT), BROKE),
        (failed(FIRST, None, "ended by signal 11", Outcome.CRASHED), BROKE),
        (Verdict(Outcome.INVALID, exception="SyntaxError", message="x"), BROKE),
        (failed(SECOND, "AssertionError", "assert 3 == 2"), REPAIRED),
    ],
)
def test_how_a_test_answers_an_edit(evidence, verdict, code):
    evidence.note("box.py", 3, verdict)
    assert evidence.of("box.py", 1, 9) == {3: code}


def test_a_line_has_the_best_answer_of_its_edits(evidence):
    for verdict in (failed(FIRST, "TypeError", "another"), failed(FIRST, "NameError", "x")):
        evidence.note("box.py", 3, verdict)
    evidence.note("box.py", 7, failed(FIRST, "NameError", "x"))
    evidence.note("other.py", 4, failed(FIRST, "NameError", "x"))
    assert evidence.of("box.py", 1, 9) == {3: CHANGED, 7: BROKE}
    assert evidence.of("box.py", 4, 6) == {} == evidence.of("nowhere.py", 1, 9)


def test_a_test_without_a_result_says_that_something_failed_otherwise():
    evidence = Evidence(SuiteRun([], [], [], Spectrum(), 0.1), ["test_box.py"])
    evidence.note("box.py", 1, failed("test_box.py", "ImportError", "x", Outcome.ERROR))
    assert evidence.of("box.py", 1, 1) == {1: BROKE}
