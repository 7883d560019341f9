"""The terminal app of `trm-agent bisect`, and of `trm-agent replay` for its runs.

    result = run_bisect_app(events, stop=..., title="shop", theme="dark")
    for line in result.summary: print(line)          # on the main screen, after the app has gone

`events` and `stop` are as in `agent.faces.tui.app`. Nothing here writes a file or asks a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.events import Event
from agent.faces.tui.live import RunApp, RunResult, run_fed_app
from agent.faces.tui.playback import Playback
from agent.faces.tui.screens.bisect import BisectScreen
from agent.faces.tui.screens.help import BISECT
from agent.faces.tui.state import RunState, Timeline
from agent.faces.tui.summary import bisect_lines


class BisectApp(RunApp[RunResult]):
    """Only shows: what is found is a commit, and nothing is done about it here."""

    PAGE = BISECT

    def result(self, state: RunState) -> RunResult:
        return RunResult(state.finished, tuple(bisect_lines(state)))


def bisect_app(
    events: Iterator[Event], *, stop: Callable[[], object], title: str = "", theme: str = "dark"
) -> BisectApp:
    """The app of `run_bisect_app`, not yet running."""
    screen = BisectScreen(Playback(Timeline(), live=True), title)
    return BisectApp(screen, events=events, stop=stop, theme=theme)


def run_bisect_app(
    events: Iterator[Event],
    *,
    stop: Callable[[], object],
    title: str = "",
    theme: str = "dark",
    mouse: bool = True,
) -> RunResult:
    """Run the bisect screen until the user leaves. `theme` is dark, light or ansi.

    Raises what `events` raised, and ValueError for an unknown theme.
    """
    return run_fed_app(bisect_app(events, stop=stop, title=title, theme=theme), mouse)
