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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from agent.events import (
    CandidateTried,
    Event,
    PatchFound,
    PatchRejected,
    Started,
    Suspect,
)
from agent.faces.tui.base import told
from agent.faces.tui.bisect_app import BisectApp
from agent.faces.tui.live import RunApp, RunResult, run_fed_app
from agent.faces.tui.playback import Playback
from agent.faces.tui.screens.bisect import BisectScreen
from agent.faces.tui.screens.edit import EditScreen
from agent.faces.tui.screens.fix import FixScreen
from agent.faces.tui.screens.help import FIX as PAGE
from agent.faces.tui.state import RunState, Timeline
from agent.faces.tui.summary import summary_lines

Deed = Callable[[PatchFound], str]
Attempt = Callable[[Started, Sequence[str], Suspect, str, int, float], Sequence[Event]]
Open = Callable[[Path, int], object]
Decided = Literal["", "applied", "committed", "dropped"]

DONE: dict[str, Decided] = {"apply": "applied", "commit": "committed", "drop": "dropped"}


@dataclass(frozen=True)
class FixResult(RunResult):
    """Also what the user decided: "" if they left without deciding; `message` is what the callback said."""

    decision: Decided
    message: str
    patch: PatchFound | None


class FixApp(RunApp[FixResult]):
    """Routes keys to the callbacks."""

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
        self.fix_screen = FixScreen(playback, title)
        super().__init__(self.fix_screen, events=events, stop=stop, theme=theme)
        self._deeds = deeds or {}
        self._reject, self._attempt, self._open = on_reject, on_attempt, on_open
        self._texts: dict[Suspect, str] = {}
        self._latest: PatchFound | None = None
        self._wanted: tuple[str, PatchFound] | None = None
        self._decision: Decided = ""
        self._decision_message = ""

    # -- events in

    def took(self, item: Event) -> None:
        super().took(item)
        self._note(item)

    def _note(self, event: Event) -> None:
        """Which patch is the newest."""
        if isinstance(event, PatchFound):
            self._latest = event
        elif isinstance(event, PatchRejected):
            self._latest = None

    def ended(self) -> None:
        if self._wanted is not None and self.feed is not None and self.feed.error is None:
            kind, patch = self._wanted
            self._wanted = None
            self._perform(kind, patch)
        else:
            super().ended()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        patch = self.playback.state.patch
        if action == "deed":
            kind = str(parameters[0])
            able = self._deeds.get(kind) is not None or kind == "drop"
            decided = bool(self._decision) or self._busy or self._wanted is not None
            return self.playback.live and able and patch is not None and not decided
        if action in ("edit", "open"):
            able = (self._attempt if action == "edit" else self._open) is not None
            free = not (self._decision or self._busy)
            return able and free and bool(self.playback.state.suspects)
        return super().check_action(action, parameters)

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
            work = partial(
                self._attempt, started, red, suspect, text, state.tried + 1, state.seconds
            )
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
            self.playback.take(event)
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

    async def action_cancel(self) -> None:
        if self._searching and not self._stopping:
            self._wanted = None
        await super().action_cancel()

    def result(self, state: RunState) -> FixResult:
        decided = self._decision if self.playback.live else "replayed"
        summary = summary_lines(state, decided, self._decision_message)
        return FixResult(
            finished=state.finished,
            summary=tuple(summary),
            decision=self._decision,
            message=self._decision_message,
            patch=state.patch,
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
) -> RunApp[Any]:
    """The app of `run_replay_app`, not yet running."""
    timeline = Timeline(events)
    playback = Playback(timeline, live=False, speed=speed)
    first = timeline.events[0] if timeline.events else None
    if isinstance(first, Started) and first.rank == "bisect":
        return BisectApp(BisectScreen(playback, title), theme=theme)
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
    return run_fed_app(app, mouse)


def run_replay_app(
    events: Iterable[Event],
    *,
    title: str = "",
    speed: float = 1.0,
    theme: str = "dark",
    mouse: bool = True,
) -> RunResult:
    """Replay a recorded run on the screen that it had. Raises ValueError for an unknown theme or a speed that is not above 0."""
    return run_fed_app(replay_app(events, title=title, speed=speed, theme=theme), mouse)
