"""Problems of packages: what is shown, what is hidden, what judges, and that `eval` runs and judges them."""

import dataclasses
import subprocess
import sys

import pytest

from agent.errors import UsageError
from agent.evalsets import load, sound
from agent.evaluate import EvalSettings, check, run_problem
from agent.problems import PackageFault, problems
from agent.projects import Project

BOX = '''def clamp(value, low=0, high=3):
    """The value, or the bound that it passes."""
    if value < low:
        return low
    return min(value, high)


def total(rows, start=0):
    out = start
    for row in rows:
        out += clamp(row)
    return out
'''
TESTS = """import pytest
from boxes.box import clamp, total


@pytest.mark.parametrize("given, right", [(7, 3), (-1, 0), (2, 2), (3, 3)])
def test_clamp(given, right):
    assert clamp(given) == right


def test_total():
    assert total([1, 2, 9]) == 6


def test_total_from():
    assert total([], 4) == 4


def test_that_never_passes():
    assert total([]) == 1
"""


def project(folder):
    (folder / "src" / "boxes").mkdir(parents=True)
    (folder / "src" / "boxes" / "__init__.py").write_text("")
    (folder / "src" / "boxes" / "box.py").write_text(BOX)
    (folder / "test_box.py").write_text(TESTS)
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = "src"\n')
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*run, *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def made(root):
    return list(problems(Project(root, "me/boxes", "MIT", sys.executable), 2, seed=1))


def test_a_problem_shows_a_failing_test_and_hides_half(made):
    assert len({problem.source for problem in made}) == len(made) == 2
    for problem in made:
        assert PackageFault.from_json(problem.to_json()) == problem
        assert problem.path == "src/boxes/box.py" and problem.source != BOX
        hidden = [test for test in problem.left_out if test in problem.judging]
        assert len(hidden) == len(problem.judging) // 2 >= 1
        assert "test_box.py::test_that_never_passes" in problem.left_out
        assert "test_box.py::test_that_never_passes" not in problem.judging


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("problems") / "problems.jsonl"
    path.write_text("".join(problem.to_json() + "\n" for problem in made))
    return path


def test_the_problems_are_sound(file):
    assert list(check(load("packages", file))) == []


def test_what_only_passes_where_the_project_is_does_not_judge(tmp_path):
    root = project(tmp_path)
    (made,) = problems(Project(root, "me/boxes", "MIT", sys.executable), 1, seed=1)
    (root / "test_place.py").write_text(
        f"import os\nfrom boxes.box import total\n\n\ndef test_place():\n    assert os.getcwd() == {str(root)!r}\n"
    )
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    asked = dataclasses.replace(made, judging=(*made.judging, "test_place.py::test_place"))
    kept = sound(asked)
    assert kept is not None and kept.judging == made.judging
    assert kept.left_out == (*made.left_out, "test_place.py::test_place")
    assert sound(dataclasses.replace(asked, judging=("test_place.py::test_place",))) is None


@pytest.mark.slow
def test_the_real_fix_repairs_one(file):
    results = [
        run_problem(problem, EvalSettings(rank="ochiai", max_seconds=60))
        for problem in load("packages", file)
    ]
    assert "fixed" in {result.status for result in results}
    assert {result.status for result in results} <= {"fixed", "plausible", "unfixed"}
    assert all(result.excess is not None for result in results if result.status == "fixed")


def test_bad_files_are_named(file, root, tmp_path):
    with pytest.raises(UsageError, match="no file of problems"):
        load("packages", tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"task": 1}\n')
    with pytest.raises(UsageError, match="no file of problems"):
        load("packages", tmp_path / "bad.jsonl")
    gone = file.read_text().replace("src/boxes/box.py", "src/boxes/gone.py")
    (tmp_path / "gone.jsonl").write_text(gone)
    with pytest.raises(UsageError, match="has no src/boxes/gone"):
        load("packages", tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match="packages needs --data"):
        load("packages", None)
    with pytest.raises(UsageError, match="which tests are visible"):
        load("packages", file, "half")
