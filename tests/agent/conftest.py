"""What the tests of the terminal app share: reading a screen, waiting for it, and comparing it with a file."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CELL, LINE = 12.2, 24.4
"""Size of a cell in the SVG that Textual exports."""
GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


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
            field.cursor_blink = False
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
