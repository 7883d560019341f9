"""Right and wrong programs under every kind of tests, all in the confined worker; pass@k; tests that the reference makes."""

import importlib.util
import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent import judging
from agent.errors import UsageError
from agent.generated import ASKED, Generated, argument_texts, generate, stub_of
from agent.suites import module_of, suite
from agent.validators import pass_at_k, read_samples, score, validate
from tools.calls import Caller
from tools.verdicts import Outcome
from trm.data.formats.problem import NO_TESTS, Problem, Tests
from trm.data.formats.registry import read

_spec = importlib.util.spec_from_file_location(
    "made_up_sets", Path(__file__).parents[1] / "trm" / "made_up_sets.py"
)
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


def problem_of(name: str, folder: Path) -> Problem:
    (problem,) = read(made.lines(folder / "set", made.ROWS[name]), strict=True)
    return problem


METHOD = {"right": made.METHOD + made.BODY, "wrong": made.METHOD + made.WRONG}
# a row of each kind of tests -> a right and a wrong program
KINDS = {
    "mbpp": (made.HEAD + made.BODY, made.HEAD + made.WRONG),
    "humaneval": (made.HEAD + made.BODY, made.HEAD + made.WRONG),
    "bigcodebench": (made.HEAD + made.BODY, made.HEAD + made.WRONG),
    "cruxeval": ("def f(x):\n    return x + x\n", "def f(x):\n    return x\n"),
    "evalplus": (made.HEAD + made.BODY, made.HEAD + made.WRONG),
    "apps": (made.PROGRAM, made.WRONG_PROGRAM),
    "livecodebench call": (METHOD["right"], METHOD["wrong"].replace("3 * x", "x + 1")),
    "ds1000": ("result = x + x\n", "result = x\n"),
}


@pytest.mark.parametrize("name", KINDS)
def test_right_and_wrong_programs_are_told_apart(name, tmp_path):
    problem = problem_of(name, tmp_path)
    right, wrong = KINDS[name]
    judged = validate(problem, [wrong, right, "def (", "raise SystemExit(1)\n"])
    assert [each.passed for each in judged] == [False, True, False, False], judged
    assert judged[0].outcome is Outcome.FAILED
    assert judged[0].test.startswith("test_")
    assert judged[2].outcome is Outcome.INVALID


def test_without_tests_syntax_is_what_is_judged(tmp_path):
    problem = Problem("made up", "1", code="import nothing_like_this\n")
    judged = validate(problem, ["import nothing_like_this\n", "import (\n", "x = 1\n"])
    assert [each.passed for each in judged] == [True, False, True]


def test_a_program_can_neither_hang_nor_leave_a_trace(tmp_path):
    problem = replace(problem_of("apps", tmp_path), code="")
    mark = tmp_path / "mark"
    programs = [
        "while True:\n    pass\n",
        f"open({str(mark)!r}, 'w').write('x')\n" + made.PROGRAM,
        made.PROGRAM,
    ]
    judged = validate(problem, programs, seconds=0.5)
    assert judged[0].outcome is Outcome.TIMEOUT
    assert [each.passed for each in judged] == [False, False, True]
    assert not mark.exists()


def test_outputs_are_compared_by_words_and_numbers():
    same = [
        ("6\n", "6"),
        ("6 \n\n", "6\n"),
        ("0.30000001", "0.3"),
        ("1  2", "1 2"),
        ("1e3", "1000.0"),
        ("", "\n"),
    ]
    other = [
        ("6", "7"),
        ("0.31", "0.3"),
        ("1 2", "1\n2"),
        ("7.0", "7"),
        ("x", "0.3"),
        ("6\n6", "6"),
        ("no", "No"),
    ]
    assert all(
        judging.Output(wanted) == found and found == judging.Output(wanted)
        for found, wanted in same
    )
    assert not any(judging.Output(wanted) == found for found, wanted in other)


def test_values_are_near():
    assert judging.Near([1, [2.0, "a"]], 1e-6) == [1, (2.0000001, "a")]
    assert judging.Near({"a": 0.3}, 1e-9) == {"a": 0.1 + 0.2}
    for found in ([1, [2.1, "a"]], [1], "a", None, [1, [None, "a"]], [1, [float("nan"), "a"]]):
        assert found != judging.Near([1, [2.0, "a"]], 1e-6)
    assert float("inf") == judging.Near(float("inf"), 1e-6)
    assert judging.Near([1, 2.0], 0) == [1, 2.0]


def test_a_whole_program_reads_and_writes_by_every_way(tmp_path):
    program = tmp_path / "program.py"
    ways = [
        "print(input())",
        "import sys\nprint(sys.stdin.read())",
        "print(open(0).read())",
        "import os\nos.write(1, os.read(0, 9))",
        "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())",
        "if __name__ == '__main__':\n    print(input())",
    ]
    for way in ways:
        program.write_text(way)
        assert judging.output_of(str(program), "a b\n") == judging.Output("a b")
    program.write_text("raise SystemExit(3)")
    with pytest.raises(AssertionError, match="ended with 3"):
        judging.output_of(str(program), "")
    assert os.fstat(0) is not None


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    for n, c in ((5, 0), (5, 2), (5, 5), (6, 1)):
        for k in range(1, n + 1):
            draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    for wrong in ((5, 6, 1), (5, 1, 6), (5, 1, 0), (0, 0, 1)):
        with pytest.raises(ValueError):
            pass_at_k(*wrong)


def test_samples_are_scored_by_task(tmp_path):
    problem = problem_of("humaneval", tmp_path)
    rows = [{"task_id": "HumanEval/7", "completion": made.BODY}, {"task_id": "HumanEval/7", "completion": made.WRONG},
            {"task_id": "HumanEval/7", "solution": made.HEAD + made.BODY}]  # fmt: skip
    samples = read_samples(made.lines(tmp_path / "samples", *rows))
    (scored,) = score(iter([problem]), samples)
    assert (scored.right, len(scored.judged)) == (2, 3)
    with pytest.raises(UsageError, match="no task 'HumanEval/7'"):
        list(score(iter([]), samples))
    with pytest.raises(UsageError, match="samples:1: no program"):
        read_samples(made.lines(tmp_path / "samples", {"task_id": "x"}))


def test_generated_tests_ask_the_reference_and_can_fail(tmp_path):
    code = "def clip(values: list[int], low: int, high: int) -> list[int]:\n    return [min(max(v, low), high) for v in values]\n"
    problem = Problem("made up", "clip", code=code, entry_point="clip")
    with Caller(**ASKED) as caller:
        made_tests = generate(problem, caller, number=12, mutants=10, seed=3)
        again = generate(problem, caller, number=12, mutants=10, seed=3)
        # a result that is always None tells few of its mutants
        dull = Problem("made up", "d", code="def d(x: int):\n    x == 1\n", entry_point="d")
        weak = generate(dull, caller, number=12, mutants=10, seed=3)
    assert made_tests == again
    assert len(made_tests.tests.cases) == 12
    assert made_tests.can_fail
    assert 0 < made_tests.killed <= made_tests.mutants <= 10
    assert weak.killed < weak.mutants
    assert not Generated(weak.tests, 0, weak.mutants).can_fail
    wrong = code.replace("min(max(v, low), high)", "max(v, low)")
    judged = validate(problem, [code, wrong], tests=made_tests.tests)
    assert [each.passed for each in judged] == [True, False]
    with pytest.raises(UsageError, match="no reference"), Caller() as caller:
        generate(replace(problem, code=""), caller)


@pytest.mark.parametrize(
    ("signature", "kinds"),
    [("a: int, b: 'str'", (int, str)), ("a: float | None", (float, type(None))), ("a: List[Tuple[int, str]]", (list,)),
     ("a: dict[str, list[float]]", (dict,)), ("a: Optional[bool]", (bool, type(None))), ("a: typing.Set[int]", (set,)),
     ("a: tuple[int, ...]", (tuple,))],
)  # fmt: skip
def test_arguments_follow_type_hints(signature, kinds):
    problem = Problem("made up", "f", code=f"def f({signature}):\n    return 1\n", entry_point="f")
    texts = argument_texts(problem, 15, 0)
    assert len(texts) > 1
    values = [eval(f"({text},)") for text in texts]
    assert {type(part) for value in values for part in value} <= set(kinds)


def test_arguments_follow_examples_where_there_are_no_hints():
    visible = Tests("call", (("[3, 1], 'ab'", "0"), ("[7], 'b'", "0")))
    problem = Problem(
        "made up", "f", code="def f(a, b):\n    return 0\n", entry_point="f", visible=visible
    )
    values = [eval(f"({text},)") for text in argument_texts(problem, 30, 0)]
    assert values[0] == ([3, 1], "ab")
    assert all(
        isinstance(a, list) and all(0 <= n <= 20 for n in a) and set(b) <= {"a", "b"}
        for a, b in values
    )
    # neither hints nor examples: what parameters are called
    bare = Problem("made up", "f", code="def f(words, n):\n    return 0\n", entry_point="f")
    assert argument_texts(bare, 10, 0)


def test_stubs_are_the_published_ones_or_the_signature(tmp_path):
    assert stub_of(problem_of("humaneval", tmp_path)) == made.STUB
    assert (
        stub_of(problem_of("livecodebench call", tmp_path))
        == made.METHOD.rstrip() + "\n        pass\n"
    )
    assert (
        stub_of(problem_of("mbpp", tmp_path))
        == 'def twice(x):\n    """Write a function that doubles."""\n    pass\n'
    )
    assert stub_of(problem_of("apps", tmp_path)) == "pass\n"


def test_modules_are_not_called_like_tests_or_the_standard_library():
    named = {
        name: module_of(Problem("s", "1", entry_point=name))
        for name in ("twice", "json", "test_x", "Solution.f", "")
    }
    assert named == {
        "twice": "twice",
        "json": "json_",
        "test_x": "program",
        "Solution.f": "program",
        "": "program",
    }


def test_many_cases_share_test_functions():
    tests = Tests("call", tuple((str(i), str(2 * i)) for i in range(950)))
    written = suite(Problem("s", "1", code=made.HEAD, entry_point="twice"), tests)
    assert len(written.tests) == 95
    assert written.text().count(b"assert twice(") == 950
    assert suite(Problem("s", "1", entry_point="twice"), replace(tests, cases=())) is None
    with pytest.raises(ValueError, match="without results"):
        suite(Problem("s", "1"), Tests("oracle"))
    assert not NO_TESTS
