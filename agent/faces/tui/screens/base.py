"""What every full screen of ours has: panels between a bar at the top and a line above the keys."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from agent.faces.tui.playback import Playback
from agent.faces.tui.widgets.bars import stations, status
from agent.faces.tui.widgets.panel import LinePanel, clock, ends, fit, styled

TALL = 34
DRAW_SECONDS = 0.015
"""Time in one turn for panels that have something new; then keys have theirs."""


class PanelScreen(Screen[None]):
    """Subclasses compose `panels`, bring them up to date in `draw`, and say what the two single lines hold.

    FOCUS: selector of what has the focus at first. WIDE: columns from which the screen has the class -wide.
    """

    FOCUS: ClassVar[str]
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [
        (0, "-narrow"),
        (110, "-wide"),
    ]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-short"), (TALL, "-tall")]

    def __init__(self) -> None:
        super().__init__()
        self.message = ""
        self.refreshes = 0

    # -- what subclasses define

    def panels(self) -> ComposeResult:
        """What stands between the two lines."""
        raise NotImplementedError

    def draw(self) -> None:
        """Bring every panel up to date; called only where there is something to draw on."""
        raise NotImplementedError

    def heading(self, width: int) -> tuple[Content, Content]:
        """Left and right part of the line at the top; the left one gives way."""
        raise NotImplementedError

    def status(self, width: int) -> Content:
        """The line above the keys while there is no message."""
        raise NotImplementedError

    # -- what they share

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        with Horizontal(id="body"):
            yield from self.panels()
        yield Static(id="status")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(self.FOCUS).focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        self.call_after_refresh(self.show)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    @property
    def _can_draw(self) -> bool:
        return self.is_mounted and self.is_attached

    def show(self) -> None:
        """Draw what is new."""
        if self._can_draw:
            self.refreshes += 1
            self.draw()
            self.show_bars()

    def show_bars(self) -> None:
        """Only the two single lines (a clock ticks without events)."""
        if not self._can_draw:
            return
        width = max(20, self.app.size.width - 2)
        said = styled(("▌", "$accent"), self.message) if self.message else self.status(width)
        # One line whatever it says: no layout of the whole screen.
        self.query_one("#top", Static).update(ends(*self.heading(width), width), layout=False)
        self.query_one("#status", Static).update(fit(said, width), layout=False)

    def say(self, message: str) -> None:
        """Put a message into the line above the keys; '' gives the line back."""
        self.message = message
        self.show_bars()

    def _restyle(self) -> None:
        for panel in self.query(LinePanel):
            panel.restyle()
        self.show_bars()


WALK: tuple[BindingType, ...] = (
    Binding("space", "pause", "Pause"),
    Binding("left", "step(-1)", "Back", key_display="←"),
    Binding("right", "step(1)", "Step", key_display="→"),
    Binding("shift+left", "milestone(-1)", "Previous decision", show=False),
    Binding("shift+right", "milestone(1)", "Next decision", show=False),
    Binding("home", "first", "First event", show=False),
    Binding("end", "newest", "Newest event", show=False),
    Binding("plus,equals_sign", "faster(1)", "Faster", key_display="+"),
    Binding("minus", "faster(-1)", "Slower", key_display="-"),
)
"""Keys that walk through a run. No binding of `RunScreen` itself: those would come first at the bottom."""


def zooms(names: tuple[str, ...]) -> tuple[BindingType, ...]:
    """Keys 1, 2, … for the panels of these ids."""
    return tuple(
        Binding(str(k + 1), f"zoom('{name}')", f"Zoom {name}", show=False)
        for k, name in enumerate(names)
    )


class RunScreen(PanelScreen):
    """Shows a `Playback`: a run as it goes on, or a recorded one."""

    WORD: ClassVar[str]
    OFFERED: ClassVar[tuple[tuple[str, tuple[object, ...]], ...]] = ()
    """Actions (with parameters) whose keys are at the bottom only where they work."""

    def __init__(self, playback: Playback, title: str) -> None:
        super().__init__()
        self.playback = playback
        self.run_title = title
        self._offered: tuple[bool | None, ...] = ()

    def draw(self) -> None:
        """Panels whose part of the state did not change do nothing. What takes long goes on in the next turn, after the keys."""
        state = self.playback.state
        self.set_class(state.patch is not None or state.finished is not None, "-over")
        until = time.monotonic() + DRAW_SECONDS
        for panel in self.query(LinePanel):
            panel.show(state)
            if time.monotonic() > until:
                self.call_later(self.draw)  # passes over those of this turn: they are up to date
                break

    def show_bars(self) -> None:
        super().show_bars()
        # The footer is composed anew by a refresh of the bindings, so only when other keys work now.
        offered = tuple(self.app.check_action(*action) for action in self.OFFERED)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def heading(self, width: int) -> tuple[Content, Content]:
        state = self.playback.state
        word = self.WORD if self.playback.live else "replay"
        root = state.started.root.rstrip("/").rpartition("/")[2] if state.started else ""
        left = styled(("trm-agent ", "bold $primary"), f"{word} · {self.run_title or root or '…'}")
        right = styled(stations(state), "  ", (f"{clock(self.playback.seconds):>5}", "bold"))
        python = f"  Python {state.started.python_version}" if state.started else ""
        if left.cell_length + len(python) + right.cell_length + 4 <= width:
            left = styled(left, (python, "$muted"))
        return left, right

    def status(self, width: int) -> Content:
        return status(self.playback, width)

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
