"""The decisions, each with its bit, margin and reason; and the notes."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.events import Decision
from agent.faces.tui.state import RunState
from agent.faces.tui.widgets.panel import LinePanel, clock, pad, percent, styled

_FILE = re.compile(r"\S+\.py::")
"""What stands before a test's own name."""


def decision_line(decision: Decision) -> Content:
    """One decision on one line."""
    return styled(
        (f"{clock(decision.at):>5} ", "$muted"),
        (f" {decision.bit} ", "bold reverse $accent" if decision.bit else "bold reverse"),
        " ",
        (pad(decision.kind, 8), "bold"),
        (percent(decision.margin) + "  ", "$muted"),
        _FILE.sub("", decision.reason),
    )


class DecisionsPanel(LinePanel):
    """Newest first; warnings of the run stay at the end."""

    def slice_of(self, state: RunState) -> Hashable:
        return state.decided, len(state.notes), state.started

    def title(self, state: RunState) -> str:
        if not state.decided:
            return "Decisions"
        return f"Decisions · {state.decided:,} so far: bit, margin, reason"

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        rows = [decision_line(d) for d in reversed(state.decisions)]
        for note in reversed(state.notes):
            sign, style = ("!", "$warning") if note.level == "warning" else ("i", "$muted")
            rows.append(
                styled((f"{clock(note.at):>5} ", "$muted"), (f" {sign} ", style), " ", note.text)
            )
        if state.started:
            s = state.started
            why = f" ({s.python_reason})" if s.python_reason else ""
            rows.append(
                styled(
                    ("    i  ", "$muted"),
                    (f"Python {s.python_version}{why}, ranked by {s.rank}", "$muted"),
                )
            )
        return rows or [styled(("none yet", "$muted"))]
