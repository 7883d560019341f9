"""What the tests of the terminal app share: reading a screen, waiting for it, comparing it with a file; a real terminal."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.events import CandidateTried, Finished, PatchFound
from agent.loop import FixRequest, fix

CELL, LINE = 12.2, 24.4
"""Size of a cell in the SVG that Textual exports."""
PATIENCE = (
    420.0  # seconds for each screen of a real terminal, on a machine that does other things too
)
GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


@pytest.fixture
def repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, int]]:
    """Repairs it.py, which test_it.py tests, without patience; gives the diff and how many candidates were tried."""

    def repair(source: str, tests: str, **request: Any) -> tuple[str, int]:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        root = tmp_path / "project"
        root.mkdir()
        (root / "it.py").write_text(source)
        (root / "test_it.py").write_text(tests)
        request = {"rank": "ochiai", **request}
        events = list(fix(FixRequest(root, patience=0.0, jobs=1, max_seconds=60, **request)))
        assert isinstance(events[-1], Finished) and events[-1].status == "fixed"
        (patch,) = [event for event in events if isinstance(event, PatchFound)]
        return patch.diff, sum(isinstance(event, CandidateTried) for event in events)

    return repair


class Eyes:
    """Sees a Textual app as a user does: by the picture that it exports."""

    @staticmethod
    def rows(app: Any) -> list[str]:
        """The screen as lines of text."""
        return [row.rstrip() for row, _ in _cells(app)]

    @staticmethod
    async def until(pilot: Any, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; a test that waits for nothing fails after a minute."""
        for _ in range(1200):
            if condition():
                await pilot.pause()
                return
            await pilot.pause(0.05)
        raise AssertionError("the condition never held")

    @staticmethod
    async def still(pilot: Any, app: Any) -> None:
        """Have no cursor blink."""
        for field in app.screen.query("Input, TextArea"):
            field._pause_blink()
        await pilot.pause(0.2)

    @staticmethod
    def same(app: Any, name: str) -> None:
        """Compare text and colours with a file. UPDATE_GOLDEN=1 writes it anew: read the difference before committing it.

        Below each line of text stands one sign a cell for its style; the end of the file says what the signs mean. That is
        all that an SVG of the screen says, in a twentieth of its size and with differences that can be read.
        """
        signs: dict[str, str] = {}
        lines = []
        for text, styles in _cells(app):
            marks = "".join(signs.setdefault(style, chr(ord("a") + len(signs))) for style in styles)
            lines += [text.rstrip(), marks]
        lines += [f"{sign} {style}" for style, sign in signs.items()]
        found, golden = "\n".join(lines) + "\n", GOLDEN / f"tui_{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(found, encoding="utf-8")
        assert found == golden.read_text(encoding="utf-8")


def _cells(app: Any) -> list[tuple[str, list[str]]]:
    """Text and style of each cell, row by row; a wide sign stands in its first cell."""
    svg = app.export_screenshot()
    width, height = app.size
    styles = {
        name: "; ".join(part.strip() for part in css.split(";") if part.strip())
        for name, css in re.findall(r"\.terminal-\w+-(r\d+) \{([^}]*)\}", svg)
    }
    text = [[" "] * width for _ in range(height)]
    paint = [[""] * width for _ in range(height)]
    ink = [[""] * width for _ in range(height)]
    for tag in re.findall(r"<rect ([^>]*shape-rendering[^>]*)/>", svg):
        at = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        row, first = int(float(at["y"]) / LINE), round(float(at["x"]) / CELL)
        for column in range(first, first + round(float(at["width"]) / CELL)):
            if row < height and column < width:
                paint[row][column] = at["fill"]
    for tag, said in re.findall(r"<text ([^>]*clip-path[^>]*)>([^<]*)</text>", svg):
        at = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        row, column = int(float(at["y"]) / LINE), round(float(at["x"]) / CELL)
        for sign in html.unescape(said).replace("\xa0", " "):
            if row < height and column < width:
                text[row][column] = sign
                ink[row][column] = styles[at["class"].rpartition("-")[2]] if sign != " " else ""
            column += 1
    return [
        ("".join(text[y]), [f"{ink[y][x]} on {paint[y][x]}" for x in range(width)])
        for y in range(height)
    ]


@pytest.fixture
def eyes() -> Eyes:
    """Reads screens."""
    return Eyes()


class Terminal:
    """A tmux server of its own with one window, in which `command` runs in `folder`."""

    def __init__(
        self, base: Path, command: Sequence[str], folder: Path, environ: Mapping[str, str]
    ) -> None:
        self._socket = str(base / "tmux")
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-c", str(folder), *command,
            env={**environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
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
        self._tmux("send-keys", "--", *keys)

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
        return self._tmux(
            "capture-pane", "-p", "-S", "-"
        )  # tmux's own word of the end scrolls the first line away

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True
        )


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Makes `Terminal(command, folder, environ)`; skips the test where tmux is not installed."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    made: list[Terminal] = []

    def make(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Terminal:
        made.append(Terminal(tmp_path, command, folder, environ))
        return made[-1]

    yield make
    for terminal in made:
        terminal.close()
