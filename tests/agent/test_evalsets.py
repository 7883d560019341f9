"""Data sets as red repositories: which tests are shown, which judge, and the real fix on a program that reads its input."""

import importlib.util
import json
from pathlib import Path

import pytest

from agent.cli import run
from agent.errors import UsageError
from agent.evalsets import load
from agent.evaluate import EvalSettings, check, run_problem

_spec = importlib.util.spec_from_file_location(
    "made_up_sets", Path(__file__).parents[1] / "trm" / "made_up_sets.py"
)
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


def copy(tmp_path: Path, name: str, **changed: object) -> Path:
    return made.lines(tmp_path / "set", {**made.ROWS[name], **changed})


def test_examples_are_shown_and_the_other_tests_judge(tmp_path):
    (problem,) = load("evalplus", copy(tmp_path, "evalplus"))
    assert problem.task == "007_twice"
    assert problem.files["test_twice.py"].decode().endswith("assert twice(3) == 6\n")
    hidden = problem.hidden["test_twice_hidden.py"].decode()
    # of the reference's results
    assert "assert twice(-4) == -8" in hidden and "assert twice(10) == 20" in hidden
    assert problem.files["twice.py"] != problem.reference["twice.py"]
    assert problem.bug_type  # the operator that made the bug
    assert load("evalplus", tmp_path / "set") == [problem]  # the same one each time


def test_floats_of_a_reference_need_not_be_the_same_to_the_bit(tmp_path):
    body = "    return x / 3\n"
    (problem,) = load("evalplus", copy(tmp_path, "evalplus", canonical_solution=body))
    assert (
        "assert twice(10) == Near(3.3333333333333335, 1e-06)"
        in problem.hidden["test_twice_hidden.py"].decode()
    )


def test_without_examples_half_is_shown(tmp_path):
    (problem,) = load("mbpp", copy(tmp_path, "mbpp"))
    shown, hidden = problem.files["test_twice.py"], problem.hidden["test_twice_hidden.py"]
    assert shown.count(b"def test_") == 2 and hidden.count(b"def test_") == 1
    assert b"def test_2" in hidden
    (problem,) = load("mbpp", tmp_path / "set", "full")
    assert problem.files["test_twice.py"] == problem.hidden["test_twice_hidden.py"]


def test_to_generate_begins_with_the_stub(tmp_path):
    path = copy(tmp_path, "livecodebench call")
    (problem,) = load("livecodebench", path, task="generate")
    program = problem.files["program.py"].decode()
    assert program.endswith("def twice(self, x: int) -> int:\n        pass\n")
    assert "from typing import *" in program
    assert problem.reference == {}
    assert (
        "Solution().twice(0) == Near(0, 1e-06)" in problem.hidden["test_program_hidden.py"].decode()
    )
    with pytest.raises(UsageError, match="nothing for --task repair"):
        load("livecodebench", path)


@pytest.mark.parametrize(
    ("name", "row", "chosen", "said"),
    [("mbpp", "humaneval", {}, "is HumanEval"), ("commitpackft", "commitpackft", {}, "publishes no tests"),
     ("mbpp", "mbpp", {"visible": "examples"}, "nothing for --task repair with --visible examples"),
     ("mbpp", "mbpp", {"task": "write"}, "unknown task 'write'"), ("humaneval", "humaneval", {"visible": "half"}, "nothing for")],
)  # fmt: skip
def test_what_a_set_lacks_is_named(name, row, chosen, said, tmp_path):
    with pytest.raises(UsageError, match=said) as caught:
        load(name, copy(tmp_path, row), **chosen)
    assert caught.value.hint


def test_damaged_rows_do_not_end_an_evaluation(tmp_path):
    path = copy(tmp_path, "mbpp")
    path.write_text("{\n" + path.read_text() + "{\n")
    assert len(load("mbpp", path)) == 1


@pytest.mark.slow
def test_every_set_with_tests_makes_sound_problems(tmp_path):
    for name in (
        "codecontests",
        "bigcodebench",
        "runbugrun",
        "debugbench",
        "humaneval",
        "cruxeval",
    ):
        problems = load(name, copy(tmp_path, name), "full")
        assert len(problems) == 1
        assert list(check(problems)) == [], name


@pytest.mark.slow
def test_a_program_that_reads_its_input_is_repaired(tmp_path):
    (problem,) = load("codecontests", copy(tmp_path, "codecontests"))
    assert b"open(" in problem.files["test_program.py"]
    result = run_problem(problem, EvalSettings(rank="ochiai", max_seconds=300))
    assert result.status == "fixed", result
    assert result.distance == 1


def test_samples_are_judged_on_the_command_line(tmp_path, capsys):
    rows = [{"task_id": "HumanEval/7", "completion": body} for body in (made.BODY, made.WRONG)]
    samples = made.lines(tmp_path / "samples", *rows)
    path = copy(tmp_path, "humaneval")
    assert run(["eval", "humaneval", "--data", str(path), "--samples", str(samples)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("HumanEval/7: 1 of 2 right: test_twice.py::test_1")
    assert told[1] == "pass@1 0.500 of 1 problems"
    samples.write_text(json.dumps({"task_id": "other", "solution": ""}) + "\n")
    assert run(["eval", "humaneval", "--data", str(path), "--samples", str(samples)]) == 2
    assert "no task 'other'" in capsys.readouterr().err
