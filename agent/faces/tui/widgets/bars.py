"""The two single lines: the top bar with the stations of a fix, and the status line above the keys."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from agent.faces.tui.playback import Playback
from agent.faces.tui.state import STAGES, RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.log import decision_line
from agent.faces.tui.widgets.panel import bar, clock, cut, ends, fit, styled


class TopBar(Static):
    """Name of the run at the left, its stations and its clock at the right."""

    def show(self, state: RunState, title: str, seconds: float) -> None:
        width = max(20, self.app.size.width - 2)
        right = styled(stations(state), "  ", (f"{clock(seconds):>5}", "bold"))
        left = styled(("trm-agent ", "bold $primary"), title)
        python = f"  Python {state.started.python_version}" if state.started else ""
        if left.cell_length + len(python) + right.cell_length + 4 <= width:
            left = styled(left, (python, "$muted"))
        # One line whatever it says: no layout of the whole screen.
        self.update(ends(left, right, width), layout=False)


def stations(state: RunState) -> Content:
    """✓ passed through, ● here, ○ to come."""
    over = state.finished is not None
    parts: list[tuple[str, str]] = []
    for stage in STAGES:
        if stage == state.stage and not over:
            parts.append((f"● {stage}  ", "bold $accent"))
        elif stage in state.visited:
            parts.append((f"✓ {stage}  ", "$success"))
        elif stage == state.stage:
            parts.append((f"✗ {stage}  ", "$error"))
        else:
            parts.append((f"○ {stage}  ", "$muted"))
    return styled(*parts)[:-2]


class StatusLine(Static):
    """The one line that says what goes on now, or what the last key did."""

    def show(self, playback: Playback, message: str) -> None:
        width = self.app.size.width - 2
        self.update(fit(status(playback, message, width), width), layout=False)


def status(playback: Playback, message: str, width: int) -> Content:
    """Message of the last key, else the place in the run, else the end, else what is waited for, else the last decision."""
    state, line = playback.state, playback.timeline
    if message:
        return styled(("▌", "$accent"), message)
    if playback.live and not playback.playing:
        return styled(
            ("‖ ", "bold $accent"),
            f"view paused at event {line.position:,} of {len(line):,}; ",
            "the search goes on; space follows it again",
        )
    if not playback.live:
        sign = "▶" if playback.playing else "■" if playback.over else "‖"
        full, empty = bar(line.position / max(1, len(line)), max(10, min(60, width - 50)))
        place = styled(
            (f"{sign} ", "bold $accent"),
            (f"{playback.speed:g}× ", "bold"),
            (full, "$primary"),
            (empty, "$line"),
            f" event {line.position:,} of {len(line):,}",
        )
        return styled(place, *_outcome(state, width - place.cell_length))
    if state.finished:
        return styled(*_outcome(state, width))[1:]
    if state.patch:
        return styled(
            ("✓ ", "bold $success"),
            "found, and the search waits: a applies it, d drops it and looks for another",
        )
    if state.decisions:
        return decision_line(state.decisions[-1])
    if state.notes:
        return styled((cut(state.notes[-1].text, width), "$muted"))
    return styled(("running the tests once to see what fails", "$muted"))


def _outcome(state: RunState, width: int) -> list[str | tuple[str, str]]:
    finished = state.finished
    if finished is None or width < 12:
        return []
    good = finished.status in ("fixed", "green")
    sign, style = ("✓", "$success") if good else ("✗", "$error")
    if finished.status == "partly_fixed":
        sign, style = "◐", "$warning"
    text = finished.message or f"{finished.status}: {plural(finished.tried, 'candidate')} tried"
    if finished.hint:
        text += f" · hint: {finished.hint}"
    return [(f" {sign} ", f"bold {style}"), cut(text, width - 3)]
