"""Where in a run the screen is: following a live one, or walking through a recorded one."""

from __future__ import annotations

import time

from agent.events import Event
from agent.faces.tui.state import RunState, Timeline

GLANCE = 2.0
"""Seconds that a replay shows a patch for which the run waited longer."""
SPEEDS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Playback:
    """A position in a `Timeline` that moves by itself while `playing`.

    Live: playing means to show the newest event; pausing stops the view, never the search. Replay: playing moves a clock of
    `speed` recorded seconds a second over the events.
    """

    def __init__(self, timeline: Timeline, *, live: bool, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.timeline = timeline
        self.live = live
        self.playing = True
        self.speed = speed
        self._now = 0.0
        self._arrived = time.monotonic()

    @property
    def state(self) -> RunState:
        return self.timeline.state

    def take(self, event: Event) -> None:
        """A live run's newest event; shown at the next tick."""
        self.timeline.append(event)
        self._arrived = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of the search at the place shown; those since the newest event count while a live search goes on."""
        state = self.state
        if state.finished:
            return state.finished.seconds or state.seconds
        if not (self.live and self.playing) or state.waiting:
            return state.seconds
        return state.seconds + time.monotonic() - self._arrived

    @property
    def over(self) -> bool:
        """A replay that has shown everything."""
        return not self.live and self.timeline.at_end

    def tick(self, seconds: float) -> bool:
        """Let `seconds` of wall time pass; True if the state changed."""
        if not self.playing:
            return False
        before = self.timeline.position
        if self.live:
            self.timeline.seek(len(self.timeline))
        else:
            self._now += seconds * self.speed
            events = self.timeline.events
            while not self.timeline.at_end and self._due(events[self.timeline.position]):
                waited = self.state.waiting
                self.timeline.forward()
                if waited:
                    self._now = self.state.seconds
            if self.timeline.at_end:
                self.playing = False
        return self.timeline.position != before

    def _due(self, event: Event) -> bool:
        """Whether it is time for the next event; nobody waits again for as long as a user took to answer."""
        state = self.state
        if state.waiting:
            return state.seconds + min(event.at - state.at, GLANCE) <= self._now
        return event.at - state.idle <= self._now

    def toggle(self) -> None:
        """Pause or go on; a replay that is over starts again."""
        if not self.playing and self.over:
            self.timeline.seek(0)
        self._now = self.state.seconds
        self.playing = not self.playing

    def step(self, events: int) -> None:
        """Pause and move by so many events."""
        self._go(self.timeline.position + events)

    def milestone(self, direction: int) -> None:
        """Pause and move to the next or previous event that is not mere progress."""
        self._go(self.timeline.milestone(direction))

    def home(self) -> None:
        self._go(0)

    def end(self) -> None:
        """To the newest event; a live run is followed again."""
        self._go(len(self.timeline))
        self.playing = self.live

    def _go(self, position: int) -> None:
        self.playing = False
        self.timeline.seek(position)
        self._now = self.state.seconds

    def faster(self, direction: int) -> None:
        """The next (+1) or previous (-1) speed of `SPEEDS`."""
        others = [s for s in SPEEDS if (s > self.speed if direction > 0 else s < self.speed)]
        if others:
            self.speed = others[0] if direction > 0 else others[-1]
