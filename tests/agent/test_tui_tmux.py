"""The real program in a real terminal, driven by keys: from a red suite over an accepted patch to undo; a bisect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "broken", tmp_path / "broken"))


@pytest.fixture
def program(tmp_path: Path, project: Path, tmux: Callable[..., Any]) -> Callable[..., Any]:
    """Starts the program with these arguments in a terminal, in the project."""
    dropped = ("TRM_AGENT_", "XDG_", "VIRTUAL_ENV", "CONDA_", "UV_", "PYTEST_", "CI", "TMUX")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {
        "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"),
        # the control order: what is tested here is the screen, not the weights
        "TRM_AGENT_RANK": "ochiai", "TRM_AGENT_PATIENCE": "0",
    }  # fmt: skip
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main; main()"
    return lambda *arguments: tmux([sys.executable, "-P", "-c", code, *arguments], project, environ)


def sources(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for path in project.rglob("*.py")}


def test_from_a_red_suite_to_an_accepted_patch_and_back(
    program: Callable[..., Any], project: Path
) -> None:
    before, terminal = sources(project), program()
    terminal.until("home · broken", "Not run here yet", "Quit")
    terminal.press("r")
    terminal.until("3 of 11 tests fail", "test_a_full_day_has_no_gap")
    terminal.press("f")
    terminal.until("Verified patch", "a Apply")
    assert sources(project) == before  # nothing before a yes
    terminal.press("a")
    terminal.until("applied to timetable/spans.py; trm-agent undo takes it back")
    after = sources(project)
    assert [path for path in before if after[path] != before[path]] == ["timetable/spans.py"]
    terminal.press("q")
    terminal.until("home · broken", "All 11 tests pass", "● applied", "u Undo")
    terminal.press("u")
    terminal.until("undone: timetable/spans.py", "○ undone", "3 of 11 tests fail")
    assert sources(project) == before
    terminal.press("q")
    shown = terminal.until_left()
    assert "+        at = max(at, end)" in shown  # the summary is on the main screen


def test_a_function_is_written_on_the_screen(program: Callable[..., Any], project: Path) -> None:
    (project / "shop.py").write_text('def total(prices):\n    """Sum of the prices."""\n')
    (project / "tests" / "test_shop.py").write_text(
        "from shop import total\n\n\ndef test_total():\n    assert (total([3, 4]), total([5]), total([])) == (7, 5, 0)\n"
    )
    before, terminal = sources(project), program("write", "shop.py::total")
    terminal.until("Verified patch", "a Apply")
    assert sources(project) == before
    terminal.press("a")
    terminal.until("applied to shop.py; trm-agent undo takes it back")
    terminal.press("q")
    assert "+    return sum(prices)" in terminal.until_left()
    assert (project / "shop.py").read_text().endswith("    return sum(prices)\n")


def test_a_bisect_names_the_commit_on_the_screen_and_after_it(
    program: Callable[..., Any], project: Path
) -> None:
    def git(*command: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(project), *who, *command], check=True, capture_output=True)

    spans = project / "timetable" / "spans.py"
    broken = spans.read_text("utf-8")
    spans.write_text(broken.replace("max(at, start)", "max(at, end)"), "utf-8")
    assert spans.read_text("utf-8") != broken
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "It works")
    spans.write_text(broken, "utf-8")
    git("commit", "-q", "-a", "-m", "Simplify the gaps")
    before, terminal = sources(project), program("bisect")
    terminal.until("✓ Found", "Simplify the gaps", "y Copy")
    terminal.press("q")
    shown = terminal.until_left()
    assert (
        "Simplify the gaps: timetable/spans.py" in shown and "+        at = max(at, start)" in shown
    )
    assert sources(project) == before
