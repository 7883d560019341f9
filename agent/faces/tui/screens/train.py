"""The train screen: curves, figures, and what the network proposes for functions that it never saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from agent.faces.tui.training import Training, smooth
from agent.faces.tui.widgets.panel import LinePanel, bar, clock, cut, ends, fit, styled
from agent.faces.tui.widgets.plot import number, plotted
from agent.faces.tui.widgets.recursion import emphasised

WAITING = "compiling the first step …"
CURVES: tuple[tuple[str, str, str, bool], ...] = (
    # id, title, colour, a share of one
    ("loss", "Loss", "$accent", False),
    ("top1", "Right place", "$primary", True),
    ("exact", "Right edit", "$success", True),
    ("reward", "Reward", "$primary", True),
    ("right", "Right edits", "$success", True),
)
FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("positions_per_second", "tokens a second", lambda v: f"{v:,.0f}"),
    ("mfu", "of the peak (MFU)", lambda v: f"{v:.1%}"),
    ("examples", "examples seen", lambda v: f"{v:,.0f}"),
    ("executions", "edits executed", lambda v: f"{v:,.0f}"),
    ("learning_rate", "learning rate", lambda v: f"{v:.2e}"),
    ("gradient", "gradient norm", number),
    ("start", "loss: where", number),
    ("length", "loss: how long", number),
    ("content", "loss: what", number),
    ("halt", "loss: when to stop", number),
    ("slot_top1", "right token first", lambda v: f"{v:.1%}"),
)


class TrainPanel(LinePanel):
    """A panel that shows a part of a `Training`."""

    EMPTY = Training


class CurvePanel(TrainPanel):
    """One figure over the steps, as wide as the panel; of two names the first that is reported."""

    def __init__(self, *names: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.names = names

    def _curve(self, state: Training) -> tuple[tuple[str, str, str, bool], list[tuple[int, float]]]:
        known = [entry for entry in CURVES if entry[0] in self.names]
        for entry in known:
            if found := state.curve(entry[0]):
                return entry, found
        return known[0], []

    def slice_of(self, state: Training) -> Hashable:
        return len(state.reports), state.last.get("step")

    def title(self, state: Training) -> str:
        (_, title, _, share), curve = self._curve(state)
        if not curve:
            return title
        value = curve[-1][1]
        return f"{title} · {value:.1%}" if share else f"{title} · {number(value)}"

    def lines(self, state: Training, width: int, height: int) -> Sequence[Content]:
        (_, _, style, share), curve = self._curve(state)
        if not curve:
            return [styled((cut(WAITING, width), "$muted"))]
        rows, room = max(1, height - 1), max(4, width - 8)
        if share:
            # From nothing up to a round number: a share may not look like progress by its scale alone.
            top = next(
                t for t in (0.05, 0.1, 0.25, 0.5, 1.0) if t >= min(1.0, max(v for _, v in curve))
            )
            drawn = plotted(smooth(curve, room * 2), rows, style, "{:.0%}".format, 0.0, top)
        else:
            drawn = plotted(smooth(curve, room * 2), rows, style)
        first, last = f"step {curve[0][0]:,}", f"{curve[-1][0]:,}"
        return [*drawn, ends(styled((" " * 6 + first, "$muted")), styled((last, "$muted")), width)]


class FiguresPanel(TrainPanel):
    """The newest report in numbers."""

    BORDER = "Now"

    def slice_of(self, state: Training) -> Hashable:
        return len(state.reports), state.last.get("step"), state.saved_at

    def lines(self, state: Training, width: int, height: int) -> Sequence[Content]:
        if not state.last:
            return [styled((cut(WAITING, width), "$muted"))]
        rows = []
        left = state.left()
        rows.append(_pair("time left", clock(left) if left is not None else "not known yet"))
        saved = f"step {state.saved_at:,}" if state.saved_at else "not yet"
        rows.append(_pair("last saved", saved))
        rows += [
            _pair(name, shown(float(state.last[key])))
            for key, name, shown in FIGURES
            if key in state.last and math.isfinite(state.last[key])
        ]
        return [fit(row, width) for row in rows]


def _pair(name: str, value: str) -> Content:
    return styled((f"{name:<19}", "$muted"), (value, "bold"))


class SamplesPanel(TrainPanel):
    """Functions that are never trained on, broken on purpose, and the network's first proposal for each."""

    def slice_of(self, state: Training) -> Hashable:
        return state.samples, state.sampled_at, state.last == {}

    def title(self, state: Training) -> str:
        if not state.samples:
            return "On functions it never saw"
        right = sum(sample.hit for sample in state.samples)
        return f"On functions it never saw · {right} of {len(state.samples)} right · step {state.sampled_at:,}"

    def lines(self, state: Training, width: int, height: int) -> Sequence[Content]:
        if not state.samples:
            return [styled((cut("shown after the first save", width), "$muted"))]
        rows: list[Content] = []
        for sample in state.samples:
            sign, style = ("✓", "$success") if sample.hit else ("✗", "$error")
            rows.append(
                styled(
                    (f"{sign} ", f"bold {style}"),
                    (sample.name, "bold"),
                    (f"  {sample.probability:.0%} sure", "$muted"),
                )
            )
            rows.append(
                styled(
                    ("  broken    ", "$muted"), emphasised(sample.broken, sample.right, "$error")
                )
            )
            proposed = (
                emphasised(sample.proposed, sample.broken, style) if sample.proposed else "no edit"
            )
            rows.append(styled(("  proposed  ", "$muted"), proposed))
            if not sample.hit:
                rows.append(
                    styled(
                        ("  right     ", "$muted"),
                        emphasised(sample.right, sample.broken, "$success"),
                    )
                )
        return rows


class TrainScreen(Screen[None]):
    """Shows a `Training`."""

    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [
        (0, "-narrow"),
        (110, "-wide"),
    ]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-short"), (34, "-tall")]

    def __init__(self, training: Training, title: str) -> None:
        super().__init__()
        self.training, self.run_title = training, title
        self.message = ""
        self.began = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield CurvePanel("loss", id="loss")
                yield CurvePanel("top1", "reward", id="place")
                yield CurvePanel("exact", "right", id="edit")
            with Vertical(id="right"):
                yield FiguresPanel(id="figures")
                yield SamplesPanel(id="samples")
        yield Static(id="status")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one("#samples").focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        self.set_interval(1.0, self.show_bars)
        self.call_after_refresh(self.show)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Bring every panel to the newest report."""
        if not self.is_mounted or not self.is_attached:
            return
        for panel in self.query(TrainPanel):
            panel.show(self.training)
        self.show_bars()

    def show_bars(self) -> None:
        """Only the two single lines (the clock ticks without reports)."""
        state, width = self.training, max(20, self.size.width - 2)
        step = int(state.last.get("step", 0))
        goal = f" of {state.steps:,.0f}" if 0 < state.steps < 1_000_000 else ""
        right = styled(
            f"step {step:,}{goal}  ", (f"{clock(time.monotonic() - self.began):>5}", "bold")
        )
        left = styled(("trm-agent ", "bold $primary"), f"train · {self.run_title}")
        self.query_one("#top", Static).update(ends(left, right, width), layout=False)
        self.query_one("#status", Static).update(
            fit(self._status(step, width), width), layout=False
        )

    def _status(self, step: int, width: int) -> Content:
        if self.message:
            return styled(("▌", "$accent"), self.message)
        state = self.training
        shares = []
        if 0 < state.steps < 1_000_000:
            shares.append(step / state.steps)
        if state.seconds and state.now:
            shares.append(float(state.last["seconds"]) / state.seconds)
        if not shares:
            return styled(("it goes on until you stop it; q saves and leaves", "$muted"))
        full, empty = bar(max(shares), max(10, min(60, width - 40)))
        left = state.left()
        text = f" {min(1.0, max(shares)):.0%}" + (
            f" · {clock(left)} left" if left is not None else ""
        )
        return styled((full, "$primary"), (empty, "$line"), text)

    def say(self, message: str) -> None:
        """Put a message into the status line; '' gives the line back to the training."""
        self.message = message
        if self.is_mounted:
            self.show_bars()

    def _restyle(self) -> None:
        for panel in self.query(TrainPanel):
            panel.restyle()
        self.show_bars()
