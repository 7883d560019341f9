"""A second baseline of the same code: taken over where nothing changed and what failed fails again, else run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tools.records import Records
from tools.remembered import pack, unpack
from tools.runner import Limits, Outcome, Runner, SuiteRun

CALC = "def add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return a * 2\n"
# What a test does that ran is written to a file outside the project.
TEST = (
    "from pathlib import Path\nfrom calc import add, twice\n\n\n"
    "def ran(name):\n    with open({log!r}, 'a') as log:\n        log.write(name + ' ')\n\n\n"
    "def test_add():\n    ran('add')\n    assert add(2, 3) == 5\n\n\n"
    "def test_twice():\n    ran('twice')\n    assert twice(4) == 8\n"
)


class Project:
    """A small project, whose tests log that they ran; a memory that stays."""

    def __init__(self, base: Path) -> None:
        self.root, self.log = base / "project", base / "log" / "ran"
        self.log.parent.mkdir()
        self.root.mkdir()
        (self.root / "calc.py").write_text(CALC)
        (self.root / "test_calc.py").write_text(TEST.format(log=str(self.log)))
        self.memory: dict[str, bytes] = {}

    def baseline(self, *args: str, **more) -> tuple[SuiteRun, list[str]]:
        """(the run, what ran for it)."""
        self.log.write_text("")
        with Runner(self.root, sys.executable, args, writable=[self.log.parent], **more) as runner:
            run = runner.baseline(memory=self.memory)
            self.runner = runner
            ran = self.log.read_text().split()
            if run.flaky:
                return run, ran
            right = {"calc.py": CALC.replace("a - b", "a + b").encode()}
            wrong = {"calc.py": CALC.replace("a - b", "a * b").encode()}
            assert runner.validate(right, run.failing).passed
            assert not runner.validate(wrong, run.failing).passed
        return run, ran


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Project(tmp_path)


def test_only_what_failed_runs_again_and_all_is_known_as_before(project: Project) -> None:
    first, ran = project.baseline()
    assert (first.recalled, ran) == (False, ["add", "twice", "add"])
    assert list(project.memory) == [project.runner.key] != [""]
    second, ran = project.baseline()
    assert (second.recalled, ran) == (True, ["add"])
    assert dataclasses.replace(second, recalled=False) == first
    assert second.spectrum.lines_of("test_calc.py::test_twice")["calc.py"]
    assert project.runner._records.own.keys() == {
        "test_calc.py::test_add",
        "test_calc.py::test_twice",
    }
    assert project.runner.plain_tests() == ["test_calc.py::test_twice"]


@pytest.mark.parametrize("what", ["source", "arguments", "limits", "environment", "network"])
def test_whatever_is_different_is_run(what: str, project: Project, monkeypatch) -> None:
    project.baseline()
    args, more = (), {}
    if what == "source":
        (project.root / "README").write_text("new")
    elif what == "arguments":
        args = ("-v",)
    elif what == "limits":
        more = {"limits": Limits(factor=20.0)}
    elif what == "environment":
        monkeypatch.setenv("MODE", "other")
    else:
        more = {"allow_network": True}
    run, ran = project.baseline(*args, **more)
    assert (run.recalled, ran) == (False, ["add", "twice", "add"])
    assert len(project.memory) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda _: b"", lambda _: b"x" * 99])
def test_a_damaged_entry_is_none_and_is_replaced(damage, project: Project) -> None:
    project.baseline()
    ((key, data),) = project.memory.items()
    project.memory[key] = damage(data)
    assert not project.baseline()[0].recalled
    assert unpack(project.memory[key], Records(Limits())) is not None


def test_an_entry_that_says_something_else_than_the_tests_do_is_not_believed(
    project: Project,
) -> None:
    """As a flaky suite's would, or one that depends on the order: failed then, now it passes or fails in another way."""
    run, _ = project.baseline()
    ((key, data),) = project.memory.items()
    records = Records(Limits())

    def with_result(index: int, **changes) -> bytes:
        told = unpack(data, records)
        assert told is not None
        told.results[index] = dataclasses.replace(told.results[index], **changes)
        records.know(told.results)
        return pack(told, records)

    failed = {"outcome": Outcome.FAILED, "exception": "AssertionError"}
    for wrong in (
        with_result(1, **failed),  # a test that passes now
        with_result(0, exception="KeyError"),
        with_result(1, nodeid="test_calc.py::test_gone"),
    ):
        project.memory[key] = wrong
        again, ran = project.baseline()
        assert not again.recalled and ran[-3:] == ["add", "twice", "add"]
        assert again.failing == run.failing


def test_a_flaky_suite_is_not_kept(project: Project, tmp_path: Path) -> None:
    test = project.root / "test_calc.py"
    test.write_text(
        test.read_text()
        + f"\ndef test_odd():\n    ran('odd')\n    assert open({str(project.log)!r}).read().count('odd') % 2 == 0\n"
    )
    run, _ = project.baseline()
    assert run.flaky == ["test_calc.py::test_odd"]
    assert (project.memory, project.runner.key) == ({}, "")


def test_what_was_changed_while_the_tests_ran_is_not_kept(project: Project, monkeypatch) -> None:
    from tools.baseline import Baseline

    run = Baseline.run

    def edited(self, progress) -> None:
        run(self, progress)
        (project.root / "calc.py").write_text(CALC + "\n")

    monkeypatch.setattr(Baseline, "run", edited)
    project.baseline()
    assert project.memory == {}


def test_a_green_run_is_not_kept(project: Project) -> None:
    (project.root / "calc.py").write_text(CALC.replace("a - b", "a + b"))
    for _ in range(2):
        project.log.write_text("")
        with Runner(project.root, sys.executable, (), writable=[project.log.parent]) as runner:
            run = runner.baseline(memory=project.memory)
        assert (
            run.green and not run.recalled and project.log.read_text().split() == ["add", "twice"]
        )
    assert not project.memory
