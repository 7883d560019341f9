"""What the user wrote by hand is run against the whole suite, and nothing of it is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.by_hand import attempt, changed, open_in_editor
from agent.errors import PatchConflict, UsageError
from agent.events import CandidateTried, PatchFound, Started, Suspect

CALC = "def one():\n    return 1\n\n\ndef two(a):\n    return a * 3\n"
SUSPECT = Suspect(0, "calc.py", "two", 5, "def two(a):\n    return a * 3", (0.5, 1.0))
RIGHT = "def two(a):\n    return a * 2"
RED = ("test_calc.py::test_two",)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "calc.py").write_text(CALC)
    (tmp_path / "test_calc.py").write_text(
        "import calc\n\ndef test_one():\n    assert calc.one() == 1\n\ndef test_two():\n    assert calc.two(4) == 8\n"
    )
    return Started(1, "r", str(tmp_path), sys.executable, "why", "3", (), "trm", "")


def tried(started: Started, text: str) -> list[CandidateTried | PatchFound]:
    events = attempt(started, RED, SUSPECT, text, 8, 3.5)
    assert Path(started.root, "calc.py").read_text() == CALC
    return events  # type: ignore[return-value]


def test_a_right_change_is_a_patch(started: Started) -> None:
    candidate, patch = tried(started, RIGHT)
    assert isinstance(candidate, CandidateTried) and isinstance(patch, PatchFound)
    assert (candidate.outcome, candidate.number, candidate.line) == ("passed", 8, 6)
    assert (candidate.before, candidate.after) == ("return a * 3", "return a * 2")
    assert patch.turned_green == RED and patch.paths == ("calc.py",)
    assert "-    return a * 3\n+    return a * 2\n" in patch.diff


def test_a_wrong_change_names_a_test_that_fails(started: Started) -> None:
    (candidate,) = tried(started, "def two(a):\n    return a * 4\n")
    assert isinstance(candidate, CandidateTried)
    assert (candidate.outcome, candidate.failing_test) == ("failed", RED[0])


def test_a_change_that_breaks_another_test_is_no_patch(started: Started) -> None:
    (candidate,) = tried(started, RIGHT + "\n\n\ndef one():\n    return 5\n")
    assert isinstance(candidate, CandidateTried)
    assert candidate.failing_test == "test_calc.py::test_one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def two(a):\n    return (\n", "not Python, line 6"),
        (SUSPECT.source, "nothing was changed"),
    ],
)
def test_what_cannot_be_run_is_said(started: Started, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tried(started, text)


def test_a_file_that_changed_meanwhile_is_not_touched(started: Started) -> None:
    other = CALC.replace("def two(a)", "def two(b)")
    Path(started.root, "calc.py").write_text(other)
    with pytest.raises(PatchConflict, match="changed since"):
        attempt(started, RED, SUSPECT, RIGHT, 8, 3.5)
    assert Path(started.root, "calc.py").read_text() == other


def test_line_ends_stay_and_lines_may_be_added() -> None:
    content = b"a\r\nb\r\nc\r\n"
    assert changed(content, 2, "b", "x\ny") == b"a\r\nx\r\ny\r\nc\r\n"
    assert changed(b"a\nb", 2, "b", "") == b"a\n"


def test_the_editor_gets_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vim = tmp_path / "vim"
    vim.write_text(f"#!/bin/sh\nprintf '%s|' \"$@\" > {tmp_path}/said\n")
    vim.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{vim} -n")
    open_in_editor(Path("a b.py"), 7)
    assert (tmp_path / "said").read_text() == "-n|+7|a b.py|"
    monkeypatch.setenv("VISUAL", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="none: No such file"):
        open_in_editor(Path("a.py"), 7)
