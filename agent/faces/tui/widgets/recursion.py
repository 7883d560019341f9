"""The recursion: halt probability with its 0/1 decision, and y's proposal from step to step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from agent.events import RecursionStep
from agent.faces.tui.state import RunState
from agent.faces.tui.widgets.bits import BitsField, flipped
from agent.faces.tui.widgets.panel import (
    LinePanel,
    bar,
    cut,
    framed_title,
    percent,
    spark,
    styled,
)


def changes(steps: Sequence[RecursionStep]) -> list[list[RecursionStep]]:
    """Consecutive steps grouped by proposal, oldest first: a new group is a change of mind."""
    groups: list[list[RecursionStep]] = []
    for step in steps:
        if groups and groups[-1][-1].proposal == step.proposal:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def proposal_lines(proposal: str) -> tuple[list[str], list[str]]:
    """Removed and added lines of a small diff, without signs and file headers, least indentation stripped."""
    rows = [r for r in proposal.split("\n") if not r.startswith(("---", "+++", "@@"))]
    removed = [r[1:].expandtabs(4) for r in rows if r.startswith("-")]
    added = [r[1:].expandtabs(4) for r in rows if r.startswith("+")]
    filled = [r for r in removed + added if r.strip()]
    margin = min((len(r) - len(r.lstrip()) for r in filled), default=0)
    return [r[margin:] for r in removed], [r[margin:] for r in added]


def emphasised(line: str, other: str, style: str, ansi: bool = False) -> Content:
    """The line, with the part that differs from `other` bold on a tint (underlined, a '>' would read as '≥').

    ansi: the terminal's own colours are in use, of which there are no tints: the part is reversed.
    """
    head = 0
    while head < min(len(line), len(other)) and line[head] == other[head]:
        head += 1
    tail = 0
    while tail < min(len(line), len(other)) - head and line[-1 - tail] == other[-1 - tail]:
        tail += 1
    mark = "bold reverse" if ansi else f"bold on {style} 28%"
    return styled((line, style)).stylize(mark, head, len(line) - tail)


def small_diff(proposal: str, width: int, ansi: bool = False, most: int = 4) -> list[Content]:
    """A proposal as '-' and '+' lines, at most `most` of each."""
    removed, added = proposal_lines(proposal)
    if not removed and not added:
        return [styled((cut(proposal.strip() or "no edit", width), "$muted"))]
    pairs = len(removed) == len(added)
    rows: list[Content] = []
    for sign, style, side, other in (
        ("- ", "$error", removed, added),
        ("+ ", "$success", added, removed),
    ):
        for k, line in enumerate(side[:most]):
            text = emphasised(line, other[k], style, ansi) if pairs else styled((line, style))
            rows.append(styled((sign, style), text))
        if len(side) > most:
            rows.append(styled((f"{sign}… {len(side) - most} more lines", "$muted")))
    return rows


class HaltGauge(LinePanel, can_focus=False):
    """Step, halt probability against the threshold of one half, the bit, and the history of both."""

    ALLOW_MAXIMIZE = False

    def slice_of(self, state: RunState) -> Hashable:
        last = state.steps[-1] if state.steps else None
        return state.rollout, last, len(state.steps), state.started, self.has_class("-compact")

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.steps:
            rank = state.started.rank if state.started else ""
            off = rank not in ("", "trm", "untrained")
            text = f"off: --rank {rank}" if off else "not started yet"
            return [styled((text, "$muted"))]
        step, moved = state.steps[-1], flipped(state.steps)
        narrow = width < 32
        full, empty = bar(step.halt, max(8, width - 1 if narrow else min(width - 20, 24)))
        middle = (len(full) + len(empty)) // 2
        strip = styled((full, "$primary"), (empty, "$line"))
        # The threshold, so that the bit can be read off the bar.
        strip = styled(strip[:middle], ("┃", "$accent"), strip[middle + 1 :])
        number = styled(
            (f"{step.halt:.2f}", "bold"),
            (f" {'≥' if step.halt >= 0.5 else '<'} 0.50", "$muted"),
        )
        label = ("done? ", "$muted")
        gauge = [styled(label, number), strip] if narrow else [styled(label, strip, " ", number)]
        said = " stop" if narrow else " stop thinking"
        if not step.halted:
            said = " go on" if narrow else " think on"
        elif step.halt < 0.5 and not narrow:
            said = " stop: the last step"
        verdict = styled(
            ("stop? ", "$muted"),
            (f" {int(step.halted)} ", "bold reverse $accent" if step.halted else "bold reverse"),
            said,
        )
        if self.has_class("-compact"):
            return [gauge[0], verdict]
        flips = f"{sum(moved)}/{len(moved)} flipped"
        if not narrow:
            flips = f"{sum(moved)} of {len(moved)} bits flipped"
        shown = state.steps[-max(1, width - 7) :]
        pairs = zip(state.steps[:-1], state.steps[1:], strict=True)
        rates = [0.0] + [_share(a, b) for a, b in pairs]
        rates = rates[-len(shown) :]
        top = max(rates) or 1.0
        return [
            styled(("step  ", "$muted"), (f"{step.step}", "bold"), f" of {step.steps}"),
            *gauge,
            verdict,
            *([] if narrow else [styled("")]),
            styled(("state ", "$muted"), flips),
            styled(("flips ", "$muted"), ("".join(spark(r / top) for r in rates), "$accent")),
            styled(("done? ", "$muted"), ("".join(spark(s.halt) for s in shown), "$primary")),
            styled(("stop? ", "$muted"), "".join(str(int(s.halted)) for s in shown)),
        ]


def _share(before: RecursionStep, after: RecursionStep) -> float:
    if len(before.bits) != len(after.bits) or not after.bits:
        return 0.0
    return sum(a != b for a, b in zip(before.bits, after.bits, strict=True)) / len(after.bits)


class ProposalList(LinePanel):
    """y's proposals, newest first; steps that agreed share an entry."""

    def slice_of(self, state: RunState) -> Hashable:
        last = state.steps[-1] if state.steps else None
        return last, state.rollout, self.has_class("-compact")

    def lines(self, state: RunState, width: int, height: int) -> Sequence[Content]:
        if not state.steps:
            return []
        rows: list[Content] = []
        compact, ansi = self.has_class("-compact"), self.app.native_ansi_color
        for k, group in enumerate(reversed(changes(state.steps))):
            first, last = group[0].step, group[-1].step
            span = f"{first}" if first == last else f"{first}–{last}"
            trend = "".join(spark(s.probability) for s in group[-8:])
            head = styled(
                ("▸ " if k == 0 else "  ", "bold $accent"),
                ("step ", "$muted"),
                (f"{span:<6}", "bold" if k == 0 else "$muted"),
                (percent(group[-1].probability) + " ", "bold" if k == 0 else ""),
                (trend, "$primary"),
            )
            if compact:
                rows.append(styled(head))
                rows += small_diff(group[-1].proposal, width, ansi, most=1)
                continue
            rows.append(head)
            rows += [styled("    ", r) for r in small_diff(group[-1].proposal, width - 4, ansi)]
        return rows

    def after_rebuild(self) -> None:
        self.scroll_home(animate=False)


LEGEND = "the network's state: ■ one  · zero  ◆ ◇ just flipped"


class ThinkingPanel(Container):
    """Bits, gauge and proposals in one frame."""

    ALLOW_MAXIMIZE = True
    can_focus = False

    def compose(self) -> ComposeResult:
        yield BitsField(id="bits")
        yield HaltGauge(id="halt")
        yield ProposalList(id="proposals")

    def show(self, state: RunState) -> None:
        """The frame for this state; the parts are panels of the screen like all others."""
        self.border_title = framed_title(self, self._title(state))
        self.border_subtitle = "" if self.has_class("-compact") else LEGEND

    def _title(self, state: RunState) -> str:
        if not state.steps:
            return "Thinking"
        step = state.steps[-1]
        again = f" · pass {state.rollout}" if state.rollout > 1 else ""
        if not self.has_class("-compact"):
            return f"Thinking · {cut(step.unit, 40, left=True)}{again}"
        moved = flipped(state.steps)
        return f"Thinking · step {step.step} of {step.steps} · {sum(moved)} bits flipped{again}"

    def compact(self, on: bool) -> None:
        """Small form for small terminals."""
        widgets: list[Widget] = [self, *self.query(LinePanel)]
        if self.has_class("-compact") == on:
            return
        for widget in widgets:
            widget.set_class(on, "-compact")
        for part in self.query(LinePanel):
            part.rebuild()
