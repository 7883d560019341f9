"""The look at the user's project, on real folders, repositories and virtual environments."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tools.interpreter import probe
from tools.workspace import WorkspaceError, find_workspace

SITE_WITH_PYTEST = os.path.dirname(os.path.dirname(os.path.abspath(pytest.__file__)))


def make_venv(folder: Path, with_pytest: bool = True) -> Path:
    """A real virtual environment; pytest comes from the environment that runs this test."""
    venv.create(folder, symlinks=True)
    if with_pytest:
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "shared.pth").write_text(SITE_WITH_PYTEST + "\n")
    return folder / "bin" / "python"


def make_git(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "tests").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'p'\nversion = '0'\n")
    (root / "calc.py").write_text("def f():\n    return 1\n")
    (root / "tests" / "test_calc.py").write_text("def test_f():\n    assert True\n")
    make_git(root)
    return root


def look(path: Path, **environ: str):
    return find_workspace(path, environ={"PATH": os.environ["PATH"], **environ})


def test_root_is_the_nearest_project_of_a_monorepo(tmp_path: Path) -> None:
    make_git(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    inner = tmp_path / "packages" / "inner"
    (inner / "src" / "inner").mkdir(parents=True)
    (inner / "setup.cfg").write_text("")
    (inner / "src" / "inner" / "code.py").write_text("x = 1\n")
    found = look(inner / "src")
    assert (found.root, found.git_root) == (inner, tmp_path)
    assert found.test_args == ()  # no test in src: everything that the project configures


def test_subfolder_with_tests_and_no_project_file_is_its_own_root(tmp_path: Path) -> None:
    make_git(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "test_a.py").write_text("")
    assert look(tmp_path / "a").root == tmp_path / "a"


def test_single_file_runs_the_test_beside_it(tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("")
    (tmp_path / "calc_test.py").write_text("")
    (tmp_path / "other_test.py").write_text("")
    found = look(tmp_path / "calc.py")
    assert (found.root, found.git_root, found.test_args) == (tmp_path, None, ("calc_test.py",))
    assert found.dirty == ()


def test_arguments_of_the_user_replace_ours_only_when_they_name_a_path(project: Path) -> None:
    found = look(project / "calc.py")
    assert found.test_args == ("tests/test_calc.py",)
    assert found.pytest_args(("-k", "f")) == ("tests/test_calc.py", "-k", "f")
    assert found.pytest_args(("tests/test_calc.py::test_f", "-x")) == (
        "tests/test_calc.py::test_f",
        "-x",
    )
    assert look(project / "tests").test_args == ("tests",)


def test_dirty_files_are_named_relative_to_the_root(project: Path) -> None:
    subprocess.run(["git", "-C", str(project), "add", "calc.py", "pyproject.toml"], check=True)
    subprocess.run(
        [
            "git",
            "-C",
            str(project),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-qm",
            "x",
        ],
        check=True,
    )
    (project / "calc.py").write_text("changed = 1\n")
    (project / "tests" / "name with ü.py").write_text("")
    found = look(project)
    assert "calc.py" in found.dirty
    assert "pyproject.toml" not in found.dirty
    assert look(project / "tests").dirty == found.dirty


@pytest.mark.parametrize(
    ("name", "message"),
    [("clac.py", "no such file"), ("notes.txt", "not a Python file"), ("empty", "no Python file")],
)
def test_a_bad_path_is_one_line_with_a_hint(project: Path, name: str, message: str) -> None:
    (project / "notes.txt").write_text("")
    (project / "empty").mkdir()
    with pytest.raises(WorkspaceError, match=message) as caught:
        look(project / name)
    assert caught.value.hint
    if name == "clac.py":
        assert "calc.py" in caught.value.hint


def test_precedence_of_environments(project: Path, tmp_path: Path) -> None:
    project_python = make_venv(project / ".venv")
    active = make_venv(tmp_path / "active")
    found = look(project)
    assert (found.python, found.python_reason) == (str(project_python), ".venv of the project")
    found = look(project, VIRTUAL_ENV=str(tmp_path / "active"))
    assert (found.python, found.python_reason) == (str(active), "VIRTUAL_ENV")
    found = look(project, CONDA_PREFIX=str(tmp_path / "active"))
    assert found.python == str(active)
    found = look(project, CONDA_PREFIX=str(tmp_path / "active"), CONDA_DEFAULT_ENV="base")
    assert found.python == str(project_python)
    found = look(project, VIRTUAL_ENV=str(tmp_path / "gone"))
    assert found.python == str(project_python)
    found = find_workspace(project, python=str(tmp_path / "active"))
    assert (found.python, found.python_reason) == (str(active), "--python")


def test_uv_project_environment_counts_only_in_a_uv_project(project: Path) -> None:
    python = make_venv(project / "elsewhere")
    make_venv(project / ".venv")
    assert look(project, UV_PROJECT_ENVIRONMENT="elsewhere").python != str(python)
    (project / "uv.lock").write_text("")
    assert look(project, UV_PROJECT_ENVIRONMENT="elsewhere").python == str(python)


def test_our_own_active_environment_does_not_hide_the_projects(project: Path) -> None:
    python = make_venv(project / ".venv")
    assert look(project, VIRTUAL_ENV=sys.prefix).python == str(python)


def test_environment_of_the_workspace_above_is_found(project: Path) -> None:
    python = make_venv(project / ".venv")
    inner = project / "packages" / "inner"
    inner.mkdir(parents=True)
    (inner / "setup.py").write_text("")
    found = look(inner)
    assert (found.root, found.python) == (inner, str(python))
    assert found.python_reason == "../../.venv of the project"


def test_environment_without_pytest_gives_way_and_the_reason_says_so(project: Path, tmp_path: Path):
    make_venv(tmp_path / "bare", with_pytest=False)
    python = make_venv(project / ".venv")
    found = look(project, VIRTUAL_ENV=str(tmp_path / "bare"))
    assert found.python == str(python)
    assert "no usable pytest: VIRTUAL_ENV" in found.python_reason


def test_only_environment_without_pytest_is_reported_not_replaced_by_ours(project: Path) -> None:
    python = make_venv(project / ".venv", with_pytest=False)
    found = look(project)
    assert found.python == str(python)
    assert found.interpreter.problem is not None
    message, hint = found.interpreter.problem
    assert "has no pytest" in message
    assert "-m pip install pytest" in hint


def test_without_any_environment_it_is_ours_and_says_so(project: Path) -> None:
    found = look(project)
    assert found.python == sys.executable
    assert "trm-agent's own" in found.python_reason


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("marker", "tool", "answer"),
    [("uv.lock", "uv", "echo {}/bin/python"), ("poetry.lock", "poetry", "echo {}")],
)
def test_answer_of_a_package_manager(
    project: Path, tmp_path: Path, marker: str, tool: str, answer: str
) -> None:
    python = make_venv(tmp_path / "managed")
    script(tmp_path / "bin" / tool, answer.format(tmp_path / "managed") + "\n")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    assert find_workspace(project, environ={"PATH": path}).python == sys.executable
    (project / marker).write_text("")
    found = find_workspace(project, environ={"PATH": path})
    assert (found.python, found.python_reason) == (str(python), f"{tool}'s environment")


def test_pdm_is_read_from_its_file(project: Path, tmp_path: Path) -> None:
    python = make_venv(tmp_path / "managed")
    (project / ".pdm-python").write_text(str(python))
    assert look(project).python == str(python)


def test_interpreters_that_cannot_be_used(project: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no such interpreter"):
        find_workspace(project, python="python9.99")
    fake = script(tmp_path / "fake", "echo hello\n")
    with pytest.raises(WorkspaceError, match=r"\[tool.trm-agent\] python .*does not run"):
        find_workspace(project, python=str(fake), python_origin="[tool.trm-agent] python")
    old = script(tmp_path / "old", """echo '["old", [3, 7, 1], "/", "7.0"]'\n""")
    found = probe(old, "--python")
    assert found is not None
    assert found.problem is not None
    assert "3.7.1" in found.problem[0]


def test_a_module_of_the_project_is_not_imported_by_the_probe(project: Path, monkeypatch) -> None:
    (project / "json.py").write_text("raise SystemExit('imported')\n")
    (project / "pytest.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(project)
    assert look(project).interpreter.pytest == pytest.__version__


def test_looking_changes_nothing(project: Path) -> None:
    before = sorted(str(path) for path in project.rglob("*"))
    look(project)
    assert sorted(str(path) for path in project.rglob("*")) == before
