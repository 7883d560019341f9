"""The bisect screen: the failing tests, the suspects that are left, the questions asked, and what was found."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from agent.faces.tui.screens.base import WALK, RunScreen, zooms
from agent.faces.tui.widgets.diff import DiffPanel
from agent.faces.tui.widgets.log import DecisionsPanel
from agent.faces.tui.widgets.narrowing import NarrowingPanel, ProbesPanel, SuspectsPanel
from agent.faces.tui.widgets.tests import TestsPanel


class BisectScreen(RunScreen):
    """A search for the change that turned a test red."""

    WORD = "bisect"
    FOCUS = "#suspects"
    OFFERED = (("copy_diff", ()),)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "app.copy_diff", "Copy"),
        *WALK,
        *zooms(("tests", "narrowing", "suspects", "probes", "decisions", "diff")),
    ]

    def panels(self) -> ComposeResult:
        with Vertical(id="left"):
            yield TestsPanel(id="tests")
            yield NarrowingPanel(id="narrowing")
            yield DiffPanel(id="diff")
            yield DecisionsPanel(id="decisions")
        with Vertical(id="right"):
            yield SuspectsPanel(id="suspects")
            yield ProbesPanel(id="probes")
