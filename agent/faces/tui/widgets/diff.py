"""The verified patch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.faces.tui.state import RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.panel import LinePanel, styled
from agent.faces.tui.widgets.recursion import emphasised


class DiffPanel(LinePanel):
    """The diff as it would be applied; it keeps its signs."""

    def slice_of(self, state: RunState) -> Hashable:
        return state.patch

    def title(self, state: RunState) -> str:
        if state.patch is None:
            return "Patch"
        patch = state.patch
        return (
            f"✓ Verified patch · {plural(len(patch.turned_green), 'test')} turned green · "
            f"candidate {patch.candidates:,} · {patch.seconds:.1f} s"
        )

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if state.patch is None:
            return []
        rows = state.patch.diff.rstrip("\n").split("\n")
        shown = []
        for k, raw in enumerate(rows):
            # The sign is no part of the line: tabs count from the column after it.
            row = raw[:1] + raw[1:].expandtabs(4)
            if row.startswith(("diff ", "index ", "--- ", "+++ ")):
                # The file's name once is enough; the copied and applied diff has all of it.
                if row.startswith("+++ "):
                    shown.append(styled((row[4:].removeprefix("b/"), "bold")))
            elif row.startswith("@@"):
                shown.append(styled((row, "$muted")))
            elif row.startswith("-"):
                other = rows[k + 1] if k + 1 < len(rows) and rows[k + 1].startswith("+") else None
                shown.append(_signed(row, other, "$error"))
            elif row.startswith("+"):
                other = rows[k - 1] if rows[k - 1].startswith("-") else None
                shown.append(_signed(row, other, "$success"))
            else:
                shown.append(styled(row))
        return shown

    def after_rebuild(self) -> None:
        """The first changed line is in view, with some of what stands above it."""
        changed = (k for k, line in enumerate(self._lines) if line.plain[:1] in ("-", "+"))
        first, height = next(changed, 0), self.scrollable_content_region.height
        if height:
            self.scroll_to(y=max(0, first + 2 - height), animate=False)


def _signed(row: str, other: str | None, style: str) -> Content:
    if other is None:
        return styled((row, style))
    return styled((row[0], style), emphasised(row[1:], other[1:].expandtabs(4), style))
