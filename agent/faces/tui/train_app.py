"""The terminal app of `trm-agent train`.

    training = run_train_app(reports, stop=..., history=[...], title="out", steps=5000, seconds=0)

`reports` is a (blocking) iterator of reports and samples, see `agent.faces.tui.training`, read in a thread of its own; `stop()`
asks the training to save and end and returns at once. The app is left when the reports end; what the iterator raised is raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from agent.faces.tui.live import FeedApp, run_fed_app
from agent.faces.tui.screens.help import TRAIN
from agent.faces.tui.screens.train import TrainScreen
from agent.faces.tui.training import Training

Report = Mapping[str, Any]


class TrainApp(FeedApp[Training, Report]):
    """Reports to the screen; q and ctrl+c save and stop."""

    PAGE = TRAIN

    def __init__(
        self,
        reports: Iterator[Report],
        *,
        stop: Callable[[], object],
        history: Iterable[Report] = (),
        title: str = "",
        steps: float = math.inf,
        seconds: float = 0.0,
        theme: str = "dark",
    ) -> None:
        super().__init__(theme)
        self.training = Training(steps, seconds)
        self.training.load(history)
        self.train_screen = TrainScreen(self.training, title)
        self._reports = reports
        self._stop = stop
        self._stopping = False

    def on_mount(self) -> None:
        self.push_screen(self.train_screen)
        self.follow(self._reports)

    def took(self, item: Report) -> None:
        self.training.apply(item)

    def drew(self) -> None:
        self.train_screen.show()

    def ended(self) -> None:
        self._leave()

    def say(self, message: str) -> None:
        self.train_screen.say(message)

    async def action_quit(self) -> None:
        """Save, stop, and leave when that is done; a second time: leave, and let it be saved without us."""
        if self._stopping:
            self._leave()
            return
        self._stopping = True
        self._stop()
        self.say("Saving, then leaving … q again leaves at once; it is saved all the same.")

    async def action_cancel(self) -> None:
        await self.action_quit()

    def _leave(self) -> None:
        if self.feed is not None:
            self.feed.abandon()
        self.exit(self.training)


def run_train_app(
    reports: Iterator[Report],
    *,
    stop: Callable[[], object],
    history: Iterable[Report] = (),
    title: str = "",
    steps: float = math.inf,
    seconds: float = 0.0,
    theme: str = "dark",
    mouse: bool = True,
) -> Training:
    """Show a training until it ends or is left. Raises what `reports` raised, KeyboardInterrupt after SIGTERM."""
    app = TrainApp(
        reports, stop=stop, history=history, title=title, steps=steps, seconds=seconds, theme=theme
    )
    return run_fed_app(app, mouse)
