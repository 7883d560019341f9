"""Apps that show what a blocking iterator brings; among them those that show a run, as it goes on or recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent.events import Event, Finished
from agent.faces.tui.base import BaseApp, Result, run_app
from agent.faces.tui.feed import Feed
from agent.faces.tui.screens.base import RunScreen
from agent.faces.tui.state import RunState
from agent.faces.tui.widgets.code import highlight

Item = TypeVar("Item")
REFRESH = 1 / 20
"""Seconds between two redraws at least."""
DRAIN_SECONDS = 0.015
"""Time that one redraw may spend on taking items in; the rest waits for the next one."""
DRAIN_ITEMS = 200


class FeedApp(BaseApp[Result], Generic[Result, Item]):
    """Takes in what a feed brings, at its own pace. Subclasses say what that means (`took`, `drew`, `ended`)."""

    def __init__(self, theme: str = "dark") -> None:
        super().__init__(theme)
        self.feed: Feed[Item] | None = None
        self._drawn_at = 0.0
        self._scheduled = False

    def took(self, item: Item) -> None:
        """An item came."""
        raise NotImplementedError

    def drew(self) -> None:
        """Some items came: draw."""
        raise NotImplementedError

    def ended(self) -> None:
        """The iterator ended, and all that it brought was taken in."""
        raise NotImplementedError

    def follow(self, items: Iterator[Item]) -> None:
        """Read `items` in a thread from now on."""
        self.feed = Feed(items, self.post_message)
        self.feed.start()

    def on_feed_arrived(self) -> None:
        """Items wait: take them at the next redraw, at most one every `REFRESH` seconds."""
        if not self._scheduled:
            self._scheduled = True
            wait = self._drawn_at + REFRESH - time.monotonic()
            self.set_timer(max(0.001, wait), self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        feed = self.feed
        if feed is None:
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        ended = feed.ended  # before taking: what came before the end is then certainly taken
        while feed.waiting and time.monotonic() < deadline:
            for item in feed.take(DRAIN_ITEMS):
                self.took(item)
        self._drawn_at = time.monotonic()
        self.drew()
        if feed.waiting:
            self.on_feed_arrived()
        elif ended:
            self.ended()


@dataclass(frozen=True)
class RunResult:
    """`finished` is None if the user left before the run's end (exit code 130 then). `summary` are plain lines to print."""

    finished: Finished | None
    summary: tuple[str, ...]


class RunApp(FeedApp[Result, Event]):
    """Shows a run on a `RunScreen`: a live one where `events` are given, else the recorded one of the screen's playback.

    stop() asks a live run to end soon. It is called from the app's thread, must return at once, may be called more than once.
    """

    def __init__(
        self,
        screen: RunScreen,
        *,
        events: Iterator[Event] | None = None,
        stop: Callable[[], object] = lambda: None,
        theme: str = "dark",
    ) -> None:
        super().__init__(theme)
        self.run_screen, self.playback = screen, screen.playback
        self._events = events
        self._stop = stop
        self._busy = False  # with something that is not interrupted, beside the run
        self._stopping = False
        self._leaving = False

    def result(self, state: RunState) -> Result:
        """What the app gives when it is left; `state` is that of the run's end, or of its newest event."""
        raise NotImplementedError

    def say(self, message: str) -> None:
        self.run_screen.say(message)

    def on_mount(self) -> None:
        self.push_screen(self.run_screen)
        if self._events is not None:
            self.follow(_warmed(self._events))
            self.set_interval(1.0, self._second)
        else:
            self._ticked = time.monotonic()
            self.set_interval(REFRESH, self._replay_tick)

    # -- events in

    def took(self, item: Event) -> None:
        self.playback.take(item)
        self.playback.tick(0)

    def drew(self) -> None:
        self.run_screen.show()

    def ended(self) -> None:
        if self._leaving or (self.feed is not None and self.feed.error is not None):
            self._leave()
        elif self._stopping:
            self.say("")

    def _second(self) -> None:
        if self._searching:
            self.run_screen.show_bars()

    def _replay_tick(self) -> None:
        now = time.monotonic()
        passed, self._ticked = now - self._ticked, now
        if self.playback.tick(passed):
            self.run_screen.show()

    @property
    def _searching(self) -> bool:
        return self.feed is not None and not (self.feed.ended and not self.feed.waiting)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        del parameters
        return action != "copy_diff" or bool(self.playback.state.diff)

    def action_copy_diff(self) -> None:
        if diff := self.playback.state.diff:
            self.copy_to_clipboard(diff)
            self.say("Diff copied to the clipboard.")

    def _ask_to_stop(self) -> None:
        self._stopping = True
        self._stop()

    async def action_quit(self) -> None:
        """Stop the search and leave when it has ended; a second time: leave at once."""
        if self._leaving or not (self._searching or self._busy):
            self._leave()
            return
        self._leaving = True
        if self._searching and not self._stopping:
            self._ask_to_stop()
        self.say("Stopping the search … q again leaves at once.")

    async def action_cancel(self) -> None:
        """Stop the search; a second time, or when none runs: leave."""
        if self._searching and not self._stopping:
            self._ask_to_stop()
            self.say("Stopping the search … Ctrl+C again leaves at once.")
        else:
            self._leave()

    def _leave(self) -> None:
        if self.feed is not None:
            self.feed.abandon()
        timeline = self.playback.timeline
        timeline.seek(len(timeline))
        self.exit(self.result(timeline.state))


def _warmed(events: Iterator[Event]) -> Iterator[Event]:
    """The events. Before the first, in the thread that reads them, what colours Python is compiled: no key waits for that."""
    highlight("")
    yield from events


def run_fed_app(app: FeedApp[Result, Any], mouse: bool = True) -> Result:
    """As `run_app`; then raises what the iterator raised."""
    result = run_app(app, mouse)
    if app.feed is not None and app.feed.error is not None:
        raise app.feed.error
    return result
