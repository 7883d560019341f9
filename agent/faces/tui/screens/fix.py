"""The fix screen: composes the panels, lays them out for the terminal's size, and moves through the run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from agent.events import Suspect
from agent.faces.tui.screens.base import WALK, RunScreen, zooms
from agent.faces.tui.state import unit_is
from agent.faces.tui.widgets.candidates import CandidatesPanel
from agent.faces.tui.widgets.code import CodePanel
from agent.faces.tui.widgets.diff import DiffPanel
from agent.faces.tui.widgets.interval import IntervalPanel
from agent.faces.tui.widgets.log import DecisionsPanel
from agent.faces.tui.widgets.recursion import ThinkingPanel
from agent.faces.tui.widgets.tests import TestsPanel

WIDE = 120
ROOMY = 150


class FixScreen(RunScreen):
    """A search for a patch. What to do about a patch is the app's business."""

    WORD = "fix"
    FOCUS = "#code"
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [
        (0, "-narrow"),
        (WIDE, "-wide"),
    ]
    OFFERED = (
        ("deed", ("apply",)),
        ("deed", ("commit",)),
        ("deed", ("drop",)),
        ("copy_diff", ()),
        ("edit", ()),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "app.deed('apply')", "Apply"),
        Binding("c", "app.deed('commit')", "Commit"),
        Binding("y", "app.copy_diff", "Copy"),
        Binding("d", "app.deed('drop')", "Drop"),
        Binding("e", "app.edit", "Edit"),
        Binding("o", "app.open", "Open in $EDITOR", show=False),
        *WALK,
        Binding("left_square_bracket", "suspect(-1)", "Previous suspect", show=False),
        Binding("right_square_bracket", "suspect(1)", "Next suspect", show=False),
        *zooms(("tests", "code", "thinking", "candidates", "decisions", "diff")),
    ]

    def panels(self) -> ComposeResult:
        with Vertical(id="left"):
            yield TestsPanel(id="tests")
            yield CodePanel(id="code")
            yield IntervalPanel(id="interval")
            yield DiffPanel(id="diff")
            yield DecisionsPanel(id="decisions")
        with Vertical(id="right"):
            yield ThinkingPanel(id="thinking")
            yield CandidatesPanel(id="candidates")

    def draw(self) -> None:
        self.set_class(self.size.width >= ROOMY, "-roomy")
        thinking = self.query_one(ThinkingPanel)
        thinking.compact(self.maximized is not thinking and self.has_class("-narrow"))
        thinking.show(self.playback.state)
        super().draw()

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

    def action_suspect(self, step: int) -> None:
        self.query_one(CodePanel).pick(step)
