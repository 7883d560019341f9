"""A bisect: what is still in question, the questions asked, and how each answer made the rest smaller."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from textual.content import Content

from agent.events import Narrowing, Probe
from agent.faces.tui.state import RunState
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.interval import extent
from agent.faces.tui.widgets.panel import LinePanel, cut, ends, fit, pad, styled

NOUNS = {
    "revision": "earlier revision",
    "commit": "commit",
    "hunk": "changed block",
    "line": "changed line",
    "token": "changed word",
}
"""What people call the items of a Narrowing."""
VERDICTS = {
    "running": ("?", "$accent"),
    "passes": ("✓", "$success"),
    "fails": ("✗", "$error"),
    "unclear": ("–", "$muted"),
}
ABOUT = 15
"""Cells of 'N left' before a bar."""


class BisectPanel(LinePanel):
    """A panel that shows a part of a bisect."""

    def slice_of(self, state: RunState) -> Hashable:
        return len(state.narrowed), len(state.probes), state.running, state.finished

    def waiting(self, state: RunState) -> list[Content]:
        """Instead of what is not there yet."""
        over = state.finished is not None
        text = "nothing was asked" if over else "waiting for the first test run …"
        return [styled((text, "$muted"))]


class NarrowingPanel(BisectPanel):
    """A bar an answer, newest first, over all items from the oldest (left) to the newest; ✓ and ✗ stand where it was asked."""

    def title(self, state: RunState) -> str:
        if not state.narrowed:
            return "Narrowing down"
        narrowing, (first, last) = state.narrowed[-1], state.left
        noun, left, total = NOUNS[narrowing.level], last - first + 1, len(narrowing.items)
        if state.finished is not None:
            return "Narrowing down"
        if narrowing.level == "revision":
            return "Looking back for a revision where it passes"
        if total == 1:
            return f"Narrowing down · the only {noun}"
        return f"Narrowing down · {left:,} of {plural(total, noun)} left"

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        rows: list[Content] = []
        for narrowing in reversed(state.narrowed):
            probes = _probes(state, narrowing)
            if narrowing.level == "revision" and narrowing is not state.narrowed[-1]:
                rows.append(_settled(narrowing, probes, width))
            elif len(narrowing.items) > 1:
                rows += [_bar(narrowing, probe, width) for probe in reversed(probes)]
                rows.append(_whole(narrowing, width))
        return rows or self.waiting(state)


def _probes(state: RunState, narrowing: Narrowing) -> list[Probe]:
    return [probe for level, probe in state.probes if level is narrowing]


def _bar(narrowing: Narrowing, probe: Probe, width: int) -> Content:
    """What was left after an answer."""
    room, high = max(8, width - ABOUT), len(narrowing.items) - 1
    start, end = extent(probe.first, probe.last, 0, high, room)
    cells = ["╌"] * start + ["━"] * (end - start) + ["╌"] * (room - end)
    at, _ = extent(probe.item, probe.item, 0, high, room)
    sign, style = VERDICTS[probe.verdict]
    bar = styled(
        ("".join(cells[:start]), "$line"),
        ("".join(cells[start:end]), "$accent"),
        ("".join(cells[end:]), "$line"),
    )
    left = f"{probe.last - probe.first + 1:,} left"
    return styled(f"{left:<{ABOUT}}", bar[:at], (sign, f"bold {style}"), bar[at + 1 :])


def _whole(narrowing: Narrowing, width: int) -> Content:
    total = plural(len(narrowing.items), NOUNS[narrowing.level].split()[-1])
    return styled((f"{total:<{ABOUT}}", "$muted"), ("━" * max(8, width - ABOUT), "$muted"))


def _left(narrowing: Narrowing, probes: Sequence[Probe]) -> tuple[int, int]:
    """First and last item that these probes left in question."""
    return (probes[-1].first, probes[-1].last) if probes else (0, len(narrowing.items) - 1)


def _settled(narrowing: Narrowing, probes: Sequence[Probe], width: int) -> Content:
    """What a search that is over found."""
    first, last = _left(narrowing, probes)
    revision = narrowing.level == "revision"
    more = "" if revision or last == first else f" or {last - first} before it"
    label = "passes at" if revision else NOUNS[narrowing.level].split()[-1]
    row = styled(("✓ ", "bold $success"), (pad(label, 10), "$muted"))
    room = max(4, width - row.cell_length - len(more))
    return fit(styled(row, item_line(narrowing, first if revision else last, room), more), width)


class SuspectsPanel(BisectPanel):
    """The items that are still in question; the one that is asked about now is marked."""

    def title(self, state: RunState) -> str:
        if not state.narrowed:
            return "Suspects"
        narrowing, (first, last) = state.narrowed[-1], state.left
        if narrowing.level == "revision":
            return "Suspects · first: where did it still pass?"
        if state.finished is not None and state.finished.status == "found":
            return "Culprit"
        return f"Suspects · {plural(last - first + 1, NOUNS[narrowing.level])}"

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.narrowed:
            return self.waiting(state)
        found = state.finished is not None and state.finished.status == "found"
        over = [n for n in state.narrowed[: None if found else -1] if n.level != "revision"]
        rows: list[Content] = []
        told = ""
        for narrowing in over:
            probes = _probes(state, narrowing)
            if (found_here := narrowing.items[_left(narrowing, probes)[1]]) != told:
                rows.append(_settled(narrowing, probes, width))
            told = found_here  # a block of one line is told of once
        if found:
            return rows
        narrowing, (first, last) = state.narrowed[-1], state.left
        shown = list(range(first, last + 1))
        if narrowing.level == "commit":  # as git log has them
            shown.reverse()
        asked = state.running.item if state.running else None
        return rows + [
            styled(
                ("▸ " if item == asked else "  ", "bold $accent"),
                item_line(narrowing, item, width - 2),
            )
            for item in shown
        ]


def item_line(narrowing: Narrowing, item: int, width: int) -> Content:
    """One item of a Narrowing: a commit with who made it at the right edge, or a changed place with its two sides."""
    text = narrowing.items[item]
    if narrowing.level in ("revision", "commit"):
        name, _, rest = text.partition(" ")
        subject, separator, who = rest.rpartition(" (")
        if not separator:
            subject, who = rest, ""
        left = styled((name, "bold $accent"), " ", subject)
        return ends(left, styled((who.removesuffix(")"), "$muted")), width) if who else left
    where, _, change = text.partition(": ")
    removed, _, written = change.partition(" → ")
    return fit(
        styled(
            (where, "$muted"), " ", (removed, "$error"), (" → ", "$muted"), (written, "$success")
        ),
        width,
    )


class ProbesPanel(BisectPanel):
    """The questions, newest first: verdict, what was tried, what was left after it, time."""

    GROWS = True

    def title(self, state: RunState) -> str:
        if not state.probes and state.running is None:
            return "Test runs"
        text = f"Test runs · {len(state.probes):,}"
        if state.finished is None and state.narrowed[-1].level != "revision":
            first, last = state.left
            if more := math.ceil(math.log2(last - first + 1)):
                text += f" · about {more} more to name the {NOUNS[state.narrowed[-1].level]}"
        return text

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        rows = []
        if state.running is not None:
            rows.append(probe_row(len(state.probes) + 1, state.narrowed[-1], state.running, width))
        numbered = list(enumerate(state.probes, 1))
        rows += [probe_row(k, level, probe, width) for k, (level, probe) in reversed(numbered)]
        return rows or self.waiting(state)


def probe_row(number: int, narrowing: Narrowing, probe: Probe, width: int) -> Content:
    """One question in `width` cells."""
    sign, style = VERDICTS[probe.verdict]
    left = styled((f"{number:>3} ", "$muted"), (f"{sign} {pad(probe.verdict, 8)}", style))
    running = probe.verdict == "running"
    time = (
        ""
        if running
        else f"{probe.seconds:.1f} s"
        if probe.seconds >= 1
        else f"{probe.seconds * 1000:.0f} ms"
    )
    right = styled((f"{time:>8}", "$muted"))
    room = max(4, width - left.cell_length - right.cell_length - 2)
    name = narrowing.items[probe.item]
    if narrowing.level in ("revision", "commit"):
        name = name.rpartition(" (")[0] or name
    return ends(styled(left, cut(name, room)), right, width)
