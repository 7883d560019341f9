"""Calling unknown functions: results, lines, failures with values, hangs, and what the guards keep from them."""

import pytest

import tools.calls
from tools.calls import Caller

DIVIDE = """def f(n, k):
    if n > 3:
        return n // k
    while k:
        n += 1
    return n
"""


@pytest.fixture(scope="module")
def caller():
    with Caller(cpu=1.0) as caller:
        yield caller


def test_probe_keeps_calls_with_a_plain_result(caller):
    found = caller.probe(DIVIDE, "f", "", ["4, 2", "5, 0", "1, 1", "2, 0"])
    assert [(one.index, one.text, one.lines) for one in found] == [
        (0, "2", (2, 3)),
        (3, "2", (2, 4, 6)),
    ]


def test_probe_drops_results_that_are_no_literals_or_change(caller):
    source = "def f(n):\n    return [object(), random.random(), n][n]\n"
    found = caller.probe(source, "f", "import random", ["0", "1", "2"])
    assert [one.index for one in found] == [2]


def test_generators_are_read_to_their_end(caller):
    source = "def f(n):\n    yield from range(n)\n"
    assert [one.text for one in caller.probe(source, "f", "", ["3"], listed=True)] == ["[0, 1, 2]"]


def test_run_tells_outcomes_and_the_first_failure(caller):
    passed, raised = caller.run([DIVIDE], "f", "", [("4, 2", "2", ""), ("5, 0", "1", "")])[0]
    assert (passed.outcome, passed.lines, passed.first) == ("passed", (2, 3), False)
    assert (raised.outcome, raised.exception, raised.first) == ("raised", "ZeroDivisionError", True)
    assert raised.frames == ((3, {"n": "5", "k": "0"}),)
    failed, hung = caller.run([DIVIDE], "f", "", [("6, 2", "7", ""), ("1, 1", "1", "")])[0]
    assert (failed.outcome, failed.actual) == ("failed", "3")
    assert (hung.outcome, hung.lines) == ("hung", (2, 4, 5))


def test_each_call_has_fresh_arguments_and_globals(caller):
    source = (
        "seen = []\ndef f(a):\n    a.append(1)\n    seen.append(1)\n    return len(a) + len(seen)\n"
    )
    results = caller.run([source], "f", "", [("[]", "2", ""), ("[]", "2", "")])[0]
    assert [r.outcome for r in results] == ["passed", "passed"]


def test_what_never_returns_costs_its_own_result_only(caller):
    stuck = "def f(n, k):\n    return sum(range(10 ** 12))\n"
    first, second, third = caller.run([DIVIDE, stuck, DIVIDE], "f", "", [("4, 2", "2", "")])
    assert first == third and first[0].outcome == "passed"
    assert second is None


def test_calls_are_confined(caller, tmp_path):
    victim = tmp_path / "kept"
    victim.write_text("kept")
    source = f"def f(n):\n    import os\n    os.unlink({str(victim)!r})\n    return 1\n"
    assert caller.probe(source, "f", "", ["1"]) == []
    assert victim.read_text() == "kept"


def test_a_call_may_end_its_process_and_the_next_request_works(caller):
    ends = "def f(n):\n    import os\n    os._exit(3)\n"
    assert caller.probe(ends, "f", "", ["1"]) == []
    assert len(caller.probe(DIVIDE, "f", "", ["4, 2"])) == 1


def test_a_process_that_fails_itself_is_no_empty_answer(tmp_path, monkeypatch):
    broken = tmp_path / "calls.py"
    broken.write_text("raise KeyError('a part of it')\n")
    monkeypatch.setattr(tools.calls, "SCRIPT", broken)
    with Caller() as caller, pytest.raises(RuntimeError, match="KeyError: 'a part of it'"):
        caller.probe(DIVIDE, "f", "", ["4, 2"])
