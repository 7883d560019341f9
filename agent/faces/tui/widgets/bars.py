"""What the two single lines of a run say: its stations at the top, what goes on above the keys."""

from __future__ import annotations

from textual.content import Content

from agent.events import Probe
from agent.faces.tui.playback import Playback
from agent.faces.tui.state import RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.log import decision_line
from agent.faces.tui.widgets.panel import bar, cut, styled


def stations(state: RunState) -> Content:
    """✓ passed through, ● here, ○ to come."""
    over = state.finished is not None
    parts: list[tuple[str, str]] = []
    for stage in state.stages:
        if stage == state.stage and not over:
            parts.append((f"● {stage}  ", "bold $accent"))
        elif stage in state.visited:
            parts.append((f"✓ {stage}  ", "$success"))
        elif stage == state.stage:
            parts.append((f"✗ {stage}  ", "$error"))
        else:
            parts.append((f"○ {stage}  ", "$muted"))
    return styled(*parts)[:-2]


def status(playback: Playback, width: int) -> Content:
    """The place in the run, else the end, else what is waited for, else the last decision."""
    state, line = playback.state, playback.timeline
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
    if state.running:
        return _asked(state, state.running)
    if state.decisions:
        return decision_line(state.decisions[-1])
    if state.notes:
        return styled((cut(state.notes[-1].text, width), "$muted"))
    return styled(("running the tests once to see what fails", "$muted"))


def _asked(state: RunState, probe: Probe) -> Content:
    """The question whose answer the tests are about to give."""
    narrowing = state.narrowed[-1]
    where = (
        "with the code of" if narrowing.level in ("revision", "commit") else "with the change up to"
    )
    test = narrowing.test.rpartition("::")[2] or "a failing test"
    name = narrowing.items[probe.item]
    return styled(("? ", "bold $accent"), f"does {test} pass {where} ", (name, "bold"))


def _outcome(state: RunState, width: int) -> list[str | tuple[str, str]]:
    finished = state.finished
    if finished is None or width < 12:
        return []
    good = finished.status in ("fixed", "green", "found")
    sign, style = ("✓", "$success") if good else ("✗", "$error")
    if finished.status == "partly_fixed":
        sign, style = "◐", "$warning"
    text = finished.message or f"{finished.status}: {plural(finished.tried, 'candidate')} tried"
    if finished.hint:
        text += f" · hint: {finished.hint}"
    return [(f" {sign} ", f"bold {style}"), cut(text, width - 3)]
