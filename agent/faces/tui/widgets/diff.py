"""How it ended: the verified patch, or what is known without one."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.faces.tui.state import RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.panel import LinePanel, styled
from agent.faces.tui.widgets.recursion import emphasised

ENDS = {
    "fixed": "✓ Fixed",
    "green": "✓ Nothing to fix",
    "found": "✓ Found",
    "partly_fixed": "◐ Partly fixed",
    "not_fixed": "✗ Not fixed",
    "interrupted": "✗ Stopped",
    "error": "✗ The tests cannot run",
}


class DiffPanel(LinePanel):
    """The diff as it would be applied (it keeps its signs), or the message, hint and likeliest lines of a run without a patch."""

    def slice_of(self, state: RunState) -> Hashable:
        return state.patch, state.finished

    def show(self, state: RunState) -> None:
        good = state.finished is None or state.finished.status in ("fixed", "green", "found")
        self.set_class(state.patch is None and not good, "-bad")
        super().show(state)

    def title(self, state: RunState) -> str:
        patch, finished = state.patch, state.finished
        if patch is not None:
            sign = "◐ Patch for a part" if patch.still_red else "✓ Verified patch"
            return (
                f"{sign} · {plural(len(patch.turned_green), 'test')} turned green · "
                f"candidate {patch.candidates:,} · {patch.seconds:.1f} s"
            )
        if finished is not None:
            end = ENDS.get(finished.status, finished.status)
            tried = f"{plural(finished.tried, 'candidate')} tried"
            if state.bisecting:
                end = end.replace("fixed", "found")
                tried = plural(finished.tried, "test run")
            tried = f" · {tried}" if finished.tried else ""
            return f"{end}{tried} · {finished.seconds or finished.at:.1f} s"
        return "Patch"

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if state.patch is not None:
            return diff_lines(state.patch.diff, self.app.native_ansi_color)
        finished = state.finished
        if finished is None:
            return []
        rows = [styled(part) for part in textwrap.wrap(finished.message, max(20, width))]
        if finished.status == "found":
            return [*rows, *diff_lines(finished.diff, self.app.native_ansi_color)]
        if finished.suspects:
            rows.append(styled(("The fault is probably here:", "$muted")))
            rows += [styled(("  ▸ ", "$accent"), suspect) for suspect in finished.suspects]
        for k, part in enumerate(textwrap.wrap(finished.hint, max(20, width - 6))):
            rows.append(styled(("hint: " if k == 0 else "      ", "bold $primary"), part))
        return rows

    def after_rebuild(self) -> None:
        """The first changed line is in view, with some of what stands above it."""
        changed = (k for k, line in enumerate(self._lines) if line.plain[:1] in ("-", "+"))
        first, height = next(changed, 0), self.scrollable_content_region.height
        if height:
            self.scroll_to(y=max(0, first + 2 - height), animate=False)


def diff_lines(diff: str, ansi: bool = False) -> list[Content]:
    """A unified diff with styles; of the file headers only the new name is left."""
    rows = diff.rstrip("\n").split("\n")
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
            shown.append(_signed(row, other, "$error", ansi))
        elif row.startswith("+"):
            other = rows[k - 1] if rows[k - 1].startswith("-") else None
            shown.append(_signed(row, other, "$success", ansi))
        else:
            shown.append(styled(row))
    return shown


def _signed(row: str, other: str | None, style: str, ansi: bool) -> Content:
    if other is None:
        return styled((row, style))
    return styled((row[0], style), emphasised(row[1:], other[1:].expandtabs(4), style, ansi))
