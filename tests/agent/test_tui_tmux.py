"""The real program in a real terminal, driven by keys: from a red suite over an accepted patch to undo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 420.0  # seconds for each screen, on a machine that does other things too

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Terminal:
    """A tmux server of its own with one window, in which the program runs in `folder`."""

    def __init__(self, base: Path, folder: Path, width: int = 120, height: int = 40) -> None:
        self._socket = str(base / "tmux")
        dropped = ("TRM_AGENT_", "XDG_", "VIRTUAL_ENV", "CONDA_", "UV_", "PYTEST_", "CI", "TMUX")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {
            "XDG_STATE_HOME": str(base / "state"), "XDG_CONFIG_HOME": str(base / "config"),
            # the control order: what is tested here is the screen, not the weights
            "TRM_AGENT_RANK": "ochiai", "TRM_AGENT_PATIENCE": "0", "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        program = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main; main()"
        )
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(folder),
            sys.executable, "-P", "-c", program, env=environ,
        )  # fmt: skip
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def _tmux(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *arguments], env=env, capture_output=True, text=True, check=True, timeout=60
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def until(self, *words: str) -> str:
        """Wait until all the words are on the screen."""
        deadline = time.monotonic() + PATIENCE
        while not all(word in (shown := self.screen()) for word in words):
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)
        return shown

    def until_left(self) -> str:
        """Wait until the program has let go of the terminal; what it left there.

        tmux 3.3 does not always write "Pane is dead": not where the end of the output comes long before the exit.
        """
        deadline = time.monotonic() + PATIENCE
        while self._tmux("display-message", "-p", "#{pane_dead}").strip() != "1":
            assert time.monotonic() < deadline, self.screen()
            time.sleep(0.5)
        return self.screen()

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True
        )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "broken", tmp_path / "broken"))


@pytest.fixture
def terminal(tmp_path: Path, project: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path, project)
    yield made
    made.close()


def sources(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for path in project.rglob("*.py")}


def test_from_a_red_suite_to_an_accepted_patch_and_back(terminal: Terminal, project: Path) -> None:
    before = sources(project)
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
