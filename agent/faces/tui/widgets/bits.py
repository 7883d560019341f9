"""The signs of the latent z as a field of cells; those that flipped in this step are marked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.events import RecursionStep
from agent.faces.tui.state import RunState
from agent.faces.tui.widgets.panel import LinePanel, styled

COLUMNS = 32


def flipped(steps: Sequence[RecursionStep]) -> list[bool]:
    """Which bits of the last step differ from the step before (none at a first step)."""
    if not steps:
        return []
    now = steps[-1].bits
    if len(steps) < 2 or len(steps[-2].bits) != len(now):
        return [False] * len(now)
    return [a != b for a, b in zip(steps[-2].bits, now, strict=True)]


class BitsField(LinePanel, can_focus=False):
    """■ one, · zero; ◆ just became one, ◇ just became zero.

    With the class -compact two bits share a cell, one above the other.
    """

    ALLOW_MAXIMIZE = False

    def slice_of(self, state: RunState) -> Hashable:
        pair = tuple(step.bits for step in state.steps[-2:])
        return pair, len(state.steps) > 1, self.has_class("-compact")

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.steps:
            return [styled(("·" * min(COLUMNS, width), "$line"))] * (
                4 if self.has_class("-compact") else 8
            )
        bits, moved = state.steps[-1].bits, flipped(state.steps)
        rows = [
            (bits[k : k + COLUMNS], moved[k : k + COLUMNS]) for k in range(0, len(bits), COLUMNS)
        ]
        if self.has_class("-compact"):
            return [
                _two_rows(rows[k], rows[k + 1] if k + 1 < len(rows) else ((), []))
                for k in range(0, len(rows), 2)
            ]
        return [_row(*row) for row in rows]


def _row(bits: Sequence[int], moved: Sequence[bool]) -> Content:
    signs = {
        (1, False): ("■", "$bit"),
        (0, False): ("·", "$muted"),
        (1, True): ("◆", "bold $accent"),
        (0, True): ("◇", "$accent"),
    }
    return styled(*(signs[int(bit > 0), flip] for bit, flip in zip(bits, moved, strict=True)))


def _two_rows(
    upper: tuple[Sequence[int], Sequence[bool]], lower: tuple[Sequence[int], Sequence[bool]]
) -> Content:
    cells = []
    for k, bit in enumerate(upper[0]):
        below = lower[0][k] > 0 if k < len(lower[0]) else False
        moved = upper[1][k] or (k < len(lower[1]) and lower[1][k])
        sign = "█" if bit > 0 and below else "▀" if bit > 0 else "▄" if below else "·"
        cells.append((sign, "$accent" if moved else "$bit" if sign != "·" else "$muted"))
    return styled(*cells)
