"""What a project's tests need is read from where projects say it, and an environment is made whole or not at all."""

import os
import sys

import pytest

from agent import environments
from agent.environments import InstallError, _extras, _named, _wanted, prepare


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        """
[project]
name = "boxes"
version = "1"
[project.optional-dependencies]
tests = ["a"]
docs = ["b"]
[dependency-groups]
test = ["c>=1", {include-group = "more"}]
more = ["d"]
docs = ["e"]
[tool.poetry.group.dev.dependencies]
python = "^3.8"
f = "^1.0"
"""
    )
    (tmp_path / "test-requirements.txt").write_text("g\n")
    (tmp_path / "requirements-docs.txt").write_text("h\n")
    (tmp_path / "tox.ini").write_text(
        "[testenv]\ndeps =\n    i  # for the tests\n    py38: j\n    -r k\n    {[base]l}\n"
    )
    return tmp_path


def test_what_tests_need_is_found_wherever_it_is_said(project):
    assert _extras(project) == ["tests"]
    assert list(_named(project)) == ["c>=1", "d", "f", "i"]
    first, *_, last = _wanted(project)
    assert first == ("-e", f"{project}[tests]")
    assert last == ("-r", str(project / "test-requirements.txt"))


def test_extras_of_older_projects(tmp_path):
    (tmp_path / "setup.cfg").write_text("[options.extras_require]\ntesting = a\ndoc = b\n")
    assert _extras(tmp_path) == ["testing"]
    (tmp_path / "setup.cfg").unlink()
    (tmp_path / "setup.py").write_text("setup(extras_require={'dev': ['a'], 'docs': []})")
    assert _extras(tmp_path) == ["dev"]


def test_damaged_files_name_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project\n")
    (tmp_path / "tox.ini").write_bytes(b"\xff\xfe no section")
    assert _extras(tmp_path) == [] and list(_named(tmp_path)) == []
    assert list(_wanted(tmp_path / "none")) == []
    assert list(_wanted(tmp_path / "none")) == []


def recorded(monkeypatch, fails=()):
    """Calls of uv; those that name one of `fails` fail. The environment is a link to ours."""
    calls = []

    def uv(*arguments):
        calls.append(arguments)
        if arguments[0] == "venv":
            os.makedirs(os.path.join(arguments[-1], "bin"))
            os.symlink(sys.executable, os.path.join(arguments[-1], "bin", "python"))
        if any(name in argument for name in fails for argument in arguments):
            raise InstallError("no such package")

    monkeypatch.setattr(environments, "_uv", uv)
    return calls


def test_what_cannot_be_installed_with_the_rest_is_left_out(project, tmp_path, monkeypatch):
    calls = recorded(monkeypatch, fails=("c>=1",))
    where = tmp_path / "envs" / "boxes"
    assert prepare(project, where) == str(where / "bin" / "python")
    last = [call[-1] for call in calls[3:]]
    assert last[0] == f"{project}[tests]" and last[1:4] == ["c>=1", "d", "f"]
    assert prepare(project, where) and len(calls) == 3 + len(last)  # made once


def test_a_failure_leaves_no_half_environment(project, tmp_path, monkeypatch):
    recorded(monkeypatch, fails=("hypothesis",))
    with pytest.raises(InstallError, match="no such package"):
        prepare(project, tmp_path / "envs" / "boxes")
    assert not (tmp_path / "envs" / "boxes").exists()


def test_uv_says_why_in_a_line(tmp_path):
    pytest.importorskip("uv")
    with pytest.raises(InstallError) as caught:
        prepare(tmp_path, tmp_path / "envs" / "boxes", "/no/such/python")
    assert "\n" not in str(caught.value) and "/no/such/python" in str(caught.value)
