"""The bisection: one bar an answer, over the lines of the suspect file, so that it is seen to shrink."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.faces.tui.state import RunState
from agent.faces.tui.widgets.panel import LinePanel, percent, styled


def extent(first: int, last: int, low: int, high: int, width: int) -> tuple[int, int]:
    """Cells [start, end) of a bar `width` wide over lines low..high that lines first..last take, at least one cell."""
    total = max(1, high - low + 1)
    start = int((max(first, low) - low) * width / total)
    end = int((min(last, high) - low + 1) * width / total)
    start = max(0, min(start, width - 1))
    return start, max(start + 1, min(end, width))


class IntervalPanel(LinePanel):
    """Newest answer first."""

    def slice_of(self, state: RunState) -> Hashable:
        return tuple(state.intervals), tuple(state.suspects.values())

    def title(self, state: RunState) -> str:
        if not state.intervals:
            return "Bisection"
        last = state.intervals[-1]
        one = last.first == last.last
        lines = f"line {last.first} holds" if one else f"lines {last.first}–{last.last} hold"
        return f"Bisection · {lines} {last.mass:.0%} of the suspicion"

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.intervals:
            return [styled(("no question asked yet", "$muted"))]
        path = state.intervals[-1].path
        low = min(i.first for i in state.intervals)
        high = max(i.last for i in state.intervals)
        for suspect in state.suspects.values():
            if suspect.path == path and suspect.first_line <= low:
                last = suspect.first_line + suspect.source.rstrip("\n").count("\n")
                if last >= high:
                    low, high = suspect.first_line, last
                    break
        digits = len(str(high))
        rows = []
        room = max(8, width - 2 * digits - 9)
        for k, interval in enumerate(reversed(state.intervals)):
            start, end = extent(interval.first, interval.last, low, high, room)
            lines = f"{interval.first}–{interval.last}"
            lines = str(interval.first) if interval.first == interval.last else lines
            rows.append(
                styled(
                    (f"{lines:<{2 * digits + 1}} ", "" if k == 0 else "$muted"),
                    (percent(interval.mass) + "  ", "bold" if k == 0 else "$muted"),
                    ("╌" * start, "$line"),
                    ("━" * (end - start), "$accent" if k == 0 else "$muted"),
                    ("╌" * (room - end), "$line"),
                )
            )
        return rows
