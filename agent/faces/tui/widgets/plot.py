"""A curve in braille dots: two columns and four rows of dots a cell, so that a few cells show a whole training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.content import Content

from agent.faces.tui.widgets.panel import styled

# Bit of a dot by its row and column in the cell (Unicode, U+2800).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def braille(values: Sequence[float | None], low: float, high: float, height: int) -> list[str]:
    """Rows of text, top first, half as wide as there are values; a jump is drawn as a vertical line."""
    dots = height * 4
    cells = [[0] * ((len(values) + 1) // 2) for _ in range(height)]
    span = high - low
    before: int | None = None
    for x, value in enumerate(values):
        if value is None:
            continue
        share = (value - low) / span if span > 0 else 0.5
        y = round((1 - max(0.0, min(1.0, share))) * (dots - 1))
        start = y if before is None else before + (y > before) - (y < before)
        for dot in range(min(start, y), max(start, y) + 1):
            cells[dot // 4][x // 2] |= _DOTS[dot % 4][x % 2]
        before = y
    return ["".join(chr(0x2800 + cell) for cell in row) for row in cells]


def plotted(
    values: Sequence[float | None], height: int, style: str, label: Callable[[float], str] | None = None,
    low: float | None = None, high: float | None = None,
) -> list[Content]:  # fmt: skip
    """Lines with the scale at the left: the highest value at the top, the lowest at the bottom; bounds may be given."""
    known = [value for value in values if value is not None]
    low = min(known) if low is None else low
    high = max(known) if high is None else high
    rows = braille(values, low, high, height)
    said = label or number
    labels = {height - 1: said(low), 0: said(high)}
    width = max(map(len, labels.values()))
    return [
        styled((f"{labels.get(k, ''):>{width}} ", "$muted"), ("┤" if k in labels else "│", "$line"), (row, style))
        for k, row in enumerate(rows)
    ]  # fmt: skip


def number(value: float) -> str:
    """A figure in at most six cells: '0.004', '3.21', '1,204', '12.3k'."""
    size = abs(value)
    if size >= 100_000:
        return f"{value / 1000:,.0f}k"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.01 or value == 0:
        return f"{value:.2f}"
    return f"{value:.0e}"
