"""The terminal app of `trm-agent fix` and `trm-agent replay`.

What the CLI calls (import it late; this module imports textual):

    result = run_fix_app(events, stop=..., on_apply=..., on_commit=..., on_drop=..., title="shop", theme="dark")
    result = run_replay_app(recorded_events, title="20260101-120000", speed=1.0)
    for line in result.summary: print(line)          # on the main screen, after the app has gone

- `events` is a (blocking) iterator of `agent.events.Event` that ends after its `Finished`. It runs in a thread of its own;
  what it raises comes out of `run_fix_app` after the terminal is restored, so that the CLI's error handling is the only one.
- `stop()` asks the search to end soon. It is called from the app's thread, must return at once, may be called more than once.
- `on_apply(patch)`, `on_commit(patch)`, `on_drop(patch)` get the very `PatchFound` that was on the screen, after the search
  has ended, in a thread; they return one line for the user ("applied to src/shop/cart.py; trm-agent undo takes it back").
  What they raise is shown (with its `hint`, if it has one) and the patch can still be applied, copied or dropped. Without
  `on_commit` there is no key to commit; dropping needs no callback.
- `on_reject()` makes a search that waits at a patch go on for another; without it dropping a patch ends the search.
- `on_attempt(started, red, suspect, text, number, at)` runs the tests with the user's text in the suspect's place, in a thread,
  and returns the events that tell of it; `on_open(path, line)` opens a file in an editor while the app stands aside.
- Nothing here writes a file, asks a question, or opens a socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from agent.events import (
    CandidateTried,
    Event,
    Finished,
    PatchFound,
    PatchRejected,
    Started,
    Suspect,
)
from agent.faces.tui.base import BaseApp, run_app, told
from agent.faces.tui.feed import Feed
from agent.faces.tui.playback import Playback
from agent.faces.tui.screens.edit import EditScreen
from agent.faces.tui.screens.fix import FixScreen
from agent.faces.tui.screens.help import FIX as PAGE
from agent.faces.tui.state import Timeline
from agent.faces.tui.summary import summary_lines

Deed = Callable[[PatchFound], str]
Attempt = Callable[[Started, Sequence[str], Suspect, str, int, float], Sequence[Event]]
Open = Callable[[Path, int], object]
Decided = Literal["", "applied", "committed", "dropped"]

REFRESH = 1 / 20
"""Seconds between two redraws at least."""
DRAIN_SECONDS = 0.015
"""Time that one redraw may spend on taking events in; the rest waits for the next one."""
DRAIN_EVENTS = 200

DONE: dict[str, Decided] = {"apply": "applied", "commit": "committed", "drop": "dropped"}


@dataclass(frozen=True)
class FixResult:
    """What the user decided. `decision` is "" if they left without deciding; `message` is what the callback said.

    `finished` is None if they left before the run's end (exit code 130 then). `summary` are plain lines to print.
    """

    decision: Decided
    message: str
    patch: PatchFound | None
    finished: Finished | None
    summary: tuple[str, ...]


class FixApp(BaseApp[FixResult]):
    """Routes events to the screen and keys to the callbacks."""

    PAGE = PAGE

    def __init__(
        self,
        playback: Playback,
        *,
        events: Iterator[Event] | None = None,
        stop: Callable[[], object] = lambda: None,
        deeds: dict[str, Deed | None] | None = None,
        on_reject: Callable[[], object] | None = None,
        on_attempt: Attempt | None = None,
        on_open: Open | None = None,
        title: str = "",
        theme: str = "dark",
    ) -> None:
        super().__init__(theme)
        self.playback = playback
        self.fix_screen = FixScreen(playback, title)
        self.feed = Feed(events, self.post_message) if events is not None else None
        self._stop = stop
        self._deeds = deeds or {}
        self._reject, self._attempt, self._open = on_reject, on_attempt, on_open
        self._texts: dict[Suspect, str] = {}
        self._latest: PatchFound | None = None
        self._wanted: tuple[str, PatchFound] | None = None
        self._busy = False
        self._stopping = False
        self._leaving = False
        self._decision: Decided = ""
        self._decision_message = ""
        self._drawn_at = 0.0
        self._scheduled = False
        self._began = time.monotonic()

    def say(self, message: str) -> None:
        self.fix_screen.say(message)

    def on_mount(self) -> None:
        self.push_screen(self.fix_screen)
        if self.feed is not None:
            self.feed.start()
            self.set_interval(1.0, self._second)
        else:
            self._ticked = time.monotonic()
            self.set_interval(REFRESH, self._replay_tick)

    # -- events in

    def on_feed_arrived(self) -> None:
        """Events wait: take them at the next redraw, at most one every `REFRESH` seconds."""
        if not self._scheduled:
            self._scheduled = True
            wait = self._drawn_at + REFRESH - time.monotonic()
            self.set_timer(max(0.001, wait), self._drain)

    def _drain(self) -> None:
        assert self.feed is not None
        self._scheduled = False
        deadline = time.monotonic() + DRAIN_SECONDS
        ended = self.feed.ended  # before taking: what came before the end is then certainly taken
        while self.feed.waiting and time.monotonic() < deadline:
            for event in self.feed.take(DRAIN_EVENTS):
                self.playback.timeline.append(event)
                self._note(event)
            self.playback.tick(0)
        self._drawn_at = time.monotonic()
        self.fix_screen.show()
        if self.feed.waiting:
            self.on_feed_arrived()
        elif ended:
            self._search_over()

    def _note(self, event: Event) -> None:
        """Which patch is the newest."""
        if isinstance(event, PatchFound):
            self._latest = event
        elif isinstance(event, PatchRejected):
            self._latest = None

    def _search_over(self) -> None:
        assert self.feed is not None
        if self.feed.error is not None:
            self._leave()
        elif self._wanted is not None:
            kind, patch = self._wanted
            self._wanted = None
            self._perform(kind, patch)
        elif self._leaving:
            self._leave()
        elif self._stopping:
            self.say("")

    def _second(self) -> None:
        if not self._searching:
            return
        self.fix_screen.seconds = time.monotonic() - self._began
        if self.fix_screen.is_attached and self.fix_screen.is_mounted:
            self.fix_screen.show_bars()

    def _replay_tick(self) -> None:
        now = time.monotonic()
        passed, self._ticked = now - self._ticked, now
        if self.playback.tick(passed):
            self.fix_screen.show()

    @property
    def _searching(self) -> bool:
        return self.feed is not None and not (self.feed.ended and not self.feed.waiting)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        patch = self.playback.state.patch
        if action == "copy_diff":
            return patch is not None
        if action == "deed":
            kind = str(parameters[0])
            able = self._deeds.get(kind) is not None or kind == "drop"
            decided = bool(self._decision) or self._busy or self._wanted is not None
            return self.playback.live and able and patch is not None and not decided
        if action in ("edit", "open"):
            able = (self._attempt if action == "edit" else self._open) is not None
            free = not (self._decision or self._busy)
            return able and free and bool(self.playback.state.suspects)
        return True

    def action_deed(self, kind: str) -> None:
        patch = self.playback.state.patch
        if patch is None or self._busy or self._decision:
            return
        if patch != self._latest:
            self.say("A newer patch was found meanwhile; press end to see it first.")
            return
        if self._searching and kind == "drop" and self._reject and not self._stopping:
            self._reject()
            self.say("Dropped; looking for another patch …")
            return
        if self._searching:
            self._wanted = (kind, patch)
            self._ask_to_stop()
            self.say(f"Stopping the search, then: {kind} …")
            return
        self._perform(kind, patch)

    def _perform(self, kind: str, patch: PatchFound) -> None:
        self._busy = True
        self.say(f"{kind} …")
        self.run_worker(partial(self._deed_in_thread, kind, patch), thread=True, group="deed")

    def _deed_in_thread(self, kind: str, patch: PatchFound) -> None:
        deed = self._deeds.get(kind)
        try:
            message = deed(patch) if deed else "Dropped: nothing was written."
        except Exception as error:  # whatever it is, the user sees it and may choose again
            self.call_from_thread(self._performed, "", told(error))
        else:
            self.call_from_thread(self._performed, DONE[kind], message)

    def _performed(self, decision: Decided, message: str) -> None:
        self._busy = False
        if decision:
            self._decision, self._decision_message = decision, message
        self.say(f"{message}  q leaves" if decision else message)
        if self._leaving:
            self._leave()

    def action_edit(self) -> None:
        """Change the suspect code in a window; what comes back is run against the tests."""
        suspect = self.fix_screen.suspect
        if suspect is None or isinstance(self.screen, EditScreen):
            return

        def edited(text: str | None) -> None:
            started, state = self.playback.state.started, self.playback.state
            if text is None or started is None or self._attempt is None:
                return
            self._texts[suspect] = text
            self._busy = True
            self.say("Running all tests with your change; nothing is written …")
            red = [test.nodeid for test in state.tests]
            work = partial(self._attempt, started, red, suspect, text, state.tried + 1, state.at)
            self.run_worker(partial(self._try_in_thread, work), thread=True, group="deed")

        line = self.fix_screen.line_of(suspect)
        self.push_screen(EditScreen(suspect, line, self._texts.get(suspect)), edited)

    def _try_in_thread(self, work: Callable[[], Sequence[Event]]) -> None:
        try:
            events = work()
        except Exception as error:  # whatever it is, the user sees it and may go on
            self.call_from_thread(self._performed, "", told(error))
        else:
            self.call_from_thread(self._attempted, events)

    def _attempted(self, events: Sequence[Event]) -> None:
        tried = next(event for event in events if isinstance(event, CandidateTried))
        for event in events:
            self.playback.timeline.append(event)
            self._note(event)
        self.playback.end()
        self.fix_screen.show()
        good = tried.outcome == "passed"
        still = tried.failing_test or tried.outcome
        said = (
            "✓ Every test passes with your change." if good else f"✗ Not yet: {still}; e edits on"
        )
        self._performed("", said)

    def action_open(self) -> None:
        """The suspect's file in the user's own editor, at the suspect line; the app stands aside meanwhile."""
        suspect, started = self.fix_screen.suspect, self.playback.state.started
        if suspect is None or started is None or self._open is None:
            return
        try:
            with self.suspend():
                self._open(Path(started.root) / suspect.path, self.fix_screen.line_of(suspect))
        except Exception as error:
            self.say(told(error))
        else:
            self.say("If you saved a change, this run knows nothing of it: fix again.")

    def action_copy_diff(self) -> None:
        patch = self.playback.state.patch
        if patch is not None:
            self.copy_to_clipboard(patch.diff)
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
            self._wanted = None
            self._ask_to_stop()
            self.say("Stopping the search … Ctrl+C again leaves at once.")
        else:
            self._leave()

    def _leave(self) -> None:
        if self.feed is not None:
            self.feed.abandon()
        timeline = self.playback.timeline
        timeline.seek(len(timeline))
        state = timeline.state
        decided = self._decision if self.playback.live else "replayed"
        summary = summary_lines(state, decided, self._decision_message)
        self.exit(
            FixResult(
                self._decision,
                self._decision_message,
                state.patch,
                state.finished,
                tuple(summary),
            )
        )


def fix_app(
    events: Iterator[Event],
    *,
    stop: Callable[[], object],
    on_apply: Deed,
    on_commit: Deed | None = None,
    on_drop: Deed | None = None,
    on_reject: Callable[[], object] | None = None,
    on_attempt: Attempt | None = None,
    on_open: Open | None = None,
    title: str = "",
    theme: str = "dark",
) -> FixApp:
    """The app of `run_fix_app`, not yet running."""
    return FixApp(
        Playback(Timeline(), live=True),
        events=events,
        stop=stop,
        deeds={"apply": on_apply, "commit": on_commit, "drop": on_drop},
        on_reject=on_reject,
        on_attempt=on_attempt,
        on_open=on_open,
        title=title,
        theme=theme,
    )


def replay_app(
    events: Iterable[Event], *, title: str = "", speed: float = 1.0, theme: str = "dark"
) -> FixApp:
    """The app of `run_replay_app`, not yet running."""
    playback = Playback(Timeline(events), live=False, speed=speed)
    return FixApp(playback, title=title, theme=theme)


def run_fix_app(
    events: Iterator[Event],
    *,
    stop: Callable[[], object],
    on_apply: Deed,
    on_commit: Deed | None = None,
    on_drop: Deed | None = None,
    on_reject: Callable[[], object] | None = None,
    on_attempt: Attempt | None = None,
    on_open: Open | None = None,
    title: str = "",
    theme: str = "dark",
    mouse: bool = True,
) -> FixResult:
    """Run the fix screen until the user leaves. `theme` is dark, light or ansi.

    Raises what `events` raised, and ValueError for an unknown theme.
    """
    app = fix_app(
        events,
        stop=stop,
        on_apply=on_apply,
        on_commit=on_commit,
        on_drop=on_drop,
        on_reject=on_reject,
        on_attempt=on_attempt,
        on_open=on_open,
        title=title,
        theme=theme,
    )
    return _run(app, mouse)


def run_replay_app(
    events: Iterable[Event],
    *,
    title: str = "",
    speed: float = 1.0,
    theme: str = "dark",
    mouse: bool = True,
) -> FixResult:
    """Replay a recorded run on the same screen. Raises ValueError for an unknown theme or a speed that is not above 0."""
    return _run(replay_app(events, title=title, speed=speed, theme=theme), mouse)


def _run(app: FixApp, mouse: bool) -> FixResult:
    result = run_app(app, mouse)
    if app.feed is not None and app.feed.error is not None:
        raise app.feed.error
    return result
