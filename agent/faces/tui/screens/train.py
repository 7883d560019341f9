"""The train screen: curves, figures, and what the network proposes for functions that it never saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from agent.faces.tui.screens.base import PanelScreen
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
        ansi = self.app.native_ansi_color
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
                    ("  broken    ", "$muted"),
                    emphasised(sample.broken, sample.right, "$error", ansi),
                )
            )
            proposed = (
                emphasised(sample.proposed, sample.broken, style, ansi)
                if sample.proposed
                else "no edit"
            )
            rows.append(styled(("  proposed  ", "$muted"), proposed))
            if not sample.hit:
                rows.append(
                    styled(
                        ("  right     ", "$muted"),
                        emphasised(sample.right, sample.broken, "$success", ansi),
                    )
                )
        return rows


class TrainScreen(PanelScreen):
    """Shows a `Training`."""

    FOCUS = "#samples"

    def __init__(self, training: Training, title: str) -> None:
        super().__init__()
        self.training, self.run_title = training, title
        self.began = time.monotonic()

    def panels(self) -> ComposeResult:
        with Vertical(id="left"):
            yield CurvePanel("loss", id="loss")
            yield CurvePanel("top1", "reward", id="place")
            yield CurvePanel("exact", "right", id="edit")
        with Vertical(id="right"):
            yield FiguresPanel(id="figures")
            yield SamplesPanel(id="samples")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(1.0, self.show_bars)

    def draw(self) -> None:
        for panel in self.query(TrainPanel):
            panel.show(self.training)

    @property
    def _step(self) -> int:
        return int(self.training.last.get("step", 0))

    def heading(self, width: int) -> tuple[Content, Content]:
        steps = self.training.steps
        goal = f" of {steps:,.0f}" if 0 < steps < 1_000_000 else ""
        passed = clock(time.monotonic() - self.began)
        left = styled(("trm-agent ", "bold $primary"), f"train · {self.run_title}")
        return left, styled(f"step {self._step:,}{goal}  ", (f"{passed:>5}", "bold"))

    def status(self, width: int) -> Content:
        state = self.training
        shares = []
        if 0 < state.steps < 1_000_000:
            shares.append(self._step / state.steps)
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
