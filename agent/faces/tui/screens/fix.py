"""The fix screen: composes the panels, lays them out for the terminal's size, and moves through the run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from agent.events import Suspect
from agent.faces.tui.playback import Playback
from agent.faces.tui.state import RunState, unit_is
from agent.faces.tui.widgets.bars import StatusLine, TopBar
from agent.faces.tui.widgets.candidates import CandidatesPanel
from agent.faces.tui.widgets.code import CodePanel
from agent.faces.tui.widgets.diff import DiffPanel
from agent.faces.tui.widgets.interval import IntervalPanel
from agent.faces.tui.widgets.log import DecisionsPanel
from agent.faces.tui.widgets.panel import LinePanel
from agent.faces.tui.widgets.recursion import ThinkingPanel
from agent.faces.tui.widgets.tests import TestsPanel

ZOOM = ("tests", "code", "thinking", "candidates", "decisions", "diff")
WIDE = 120
ROOMY = 150
TALL = 34


class FixScreen(Screen[None]):
    """Shows a `Playback`. What to do about a patch is the app's business."""

    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [
        (0, "-narrow"),
        (WIDE, "-wide"),
    ]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-short"), (TALL, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "app.deed('apply')", "Apply"),
        Binding("c", "app.deed('commit')", "Commit"),
        Binding("y", "app.copy_diff", "Copy"),
        Binding("d", "app.deed('drop')", "Drop"),
        Binding("e", "app.edit", "Edit"),
        Binding("o", "app.open", "Open in $EDITOR", show=False),
        Binding("space", "pause", "Pause"),
        Binding("left", "step(-1)", "Back", key_display="←"),
        Binding("right", "step(1)", "Step", key_display="→"),
        Binding("shift+left", "milestone(-1)", "Previous decision", show=False),
        Binding("shift+right", "milestone(1)", "Next decision", show=False),
        Binding("home", "first", "First event", show=False),
        Binding("end", "newest", "Newest event", show=False),
        Binding("plus,equals_sign", "faster(1)", "Faster", key_display="+"),
        Binding("minus", "faster(-1)", "Slower", key_display="-"),
        Binding("left_square_bracket", "suspect(-1)", "Previous suspect", show=False),
        Binding("right_square_bracket", "suspect(1)", "Next suspect", show=False),
        *(
            Binding(str(k + 1), f"zoom('{name}')", f"Zoom {name}", show=False)
            for k, name in enumerate(ZOOM)
        ),
    ]

    def __init__(self, playback: Playback, title: str) -> None:
        super().__init__()
        self.playback = playback
        self.run_title = title
        self.message = ""
        self.seconds: float | None = None
        self.refreshes = 0
        self._offered: tuple[bool | None, ...] = ()

    def compose(self) -> ComposeResult:
        yield TopBar(id="top")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield TestsPanel(id="tests")
                yield CodePanel(id="code")
                yield IntervalPanel(id="interval")
                yield DiffPanel(id="diff")
                yield DecisionsPanel(id="decisions")
            with Vertical(id="right"):
                yield ThinkingPanel(id="thinking")
                yield CandidatesPanel(id="candidates")
        yield StatusLine(id="status")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(CodePanel).focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        self.call_after_refresh(self.show)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    # -- drawing

    def show(self) -> None:
        """Bring every panel to the playback's state; panels whose part did not change do nothing."""
        if not self.is_mounted or not self.is_attached:
            return
        state = self.playback.state
        self.refreshes += 1
        self.set_class(state.patch is not None or state.finished is not None, "-over")
        self.set_class(self.size.width >= ROOMY, "-roomy")
        self._fit_thinking()
        for panel in self.query("#body > * > LinePanel").results(LinePanel):
            panel.show(state)
        self.query_one(ThinkingPanel).show(state)
        self.show_bars()

    def show_bars(self) -> None:
        """Only the two single lines (the clock ticks without events)."""
        state = self.playback.state
        self.query_one(TopBar).show(state, self._title(state), self._seconds())
        self.query_one(StatusLine).show(self.playback, self.message)
        # The footer is composed anew by a refresh of the bindings, so only when other keys work now.
        offered = tuple(
            self.app.check_action(action, parameters)
            for action, parameters in (
                ("deed", ("apply",)),
                ("deed", ("commit",)),
                ("deed", ("drop",)),
                ("copy_diff", ()),
                ("edit", ()),
            )
        )
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    @property
    def suspect(self) -> Suspect | None:
        """The suspect that is shown."""
        panel = self.query_one(CodePanel)
        rank = panel.rank(self.playback.state)
        return None if rank is None else self.playback.state.suspects[rank]

    def line_of(self, suspect: Suspect) -> int:
        """The line to look at first: where the network would edit, else where a test failed, else the most suspect one."""
        state = self.playback.state
        inside = range(suspect.first_line, suspect.first_line + suspect.source.count("\n") + 1)
        step = state.steps[-1] if state.steps else None
        if step and unit_is(suspect, step.unit) and step.proposal_line in inside:
            return step.proposal_line
        failing = (test.line for test in state.tests if test.path == suspect.path)
        if line := next((line for line in failing if line in inside), 0):
            return line
        scores = suspect.line_scores
        return suspect.first_line + (scores.index(max(scores)) if scores else 0)

    def say(self, message: str) -> None:
        """Put a message into the status line; '' gives the line back to the run."""
        self.message = message
        self.show_bars()

    def _seconds(self) -> float:
        finished = self.playback.state.finished
        if finished and finished.seconds:
            return finished.seconds
        if self.seconds is None or not self.playback.playing:
            return self.playback.now
        return max(self.seconds, self.playback.now)

    def _title(self, state: RunState) -> str:
        word = "fix" if self.playback.live else "replay"
        root = state.started.root.rstrip("/").rpartition("/")[2] if state.started else ""
        return f"{word} · {self.run_title or root or '…'}"

    def _fit_thinking(self) -> None:
        panel = self.query_one(ThinkingPanel)
        zoomed = self.maximized is panel
        panel.compact(not zoomed and self.has_class("-narrow"))

    def _restyle(self) -> None:
        for panel in self.query(LinePanel):
            panel.restyle()
        self.show_bars()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        del parameters
        return not (action == "faster" and self.playback.live)

    def _moved(self) -> None:
        self.message = ""
        self.show()

    def action_pause(self) -> None:
        self.playback.toggle()
        self.playback.tick(0)
        self._moved()

    def action_step(self, events: int) -> None:
        self.playback.step(events)
        self._moved()

    def action_milestone(self, direction: int) -> None:
        self.playback.milestone(direction)
        self._moved()

    def action_first(self) -> None:
        self.playback.home()
        self._moved()

    def action_newest(self) -> None:
        self.playback.end()
        self._moved()

    def action_faster(self, direction: int) -> None:
        self.playback.faster(direction)
        self._moved()

    def action_suspect(self, step: int) -> None:
        self.query_one(CodePanel).pick(step)

    def action_zoom(self, name: str) -> None:
        panel = self.query_one(f"#{name}", Widget)
        if self.maximized is panel:
            self.minimize()
        elif panel.display:
            self.minimize()
            self.maximize(panel, container=False)
        self.call_after_refresh(self.show)

    def key_escape(self) -> None:
        if self.maximized is not None:
            self.minimize()
            self.call_after_refresh(self.show)
