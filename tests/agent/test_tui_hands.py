"""What the user does about a patch beside taking it: another one, a change of their own, their editor."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.widgets import TextArea

from agent import events as ev
from agent.faces.tui.app import FixApp, fix_app, replay_app
from agent.faces.tui.screens.bisect import BisectScreen
from agent.faces.tui.screens.edit import EditScreen
from agent.faces.tui.screens.fix import FixScreen
from agent.faces.tui.screens.forms import LinesScreen, TrainForm
from agent.faces.tui.screens.help import HelpScreen
from agent.faces.tui.screens.home import HomeScreen
from agent.faces.tui.screens.train import TrainScreen

FIXTURES = Path(__file__).parent.parent / "fixtures"
SMALL, LARGE = (80, 24), (120, 40)
FIXED = [
    ev.loads(line) for line in (FIXTURES / "events" / "fixed.jsonl").read_text("utf-8").split("\n") if line
]  # fmt: skip
PATCH = next(event for event in FIXED if isinstance(event, ev.PatchFound))


class World:
    """A search that waits at its patch, and what is asked of it."""

    def __init__(self, events: Sequence[ev.Event] = FIXED[:-1]) -> None:
        self.queue: queue.Queue[ev.Event | None] = queue.Queue()
        self.stops = self.rejections = 0
        self.done: list[tuple[str, ev.PatchFound]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.answer: Sequence[ev.Event] | Exception = ()
        self.opened: list[tuple[Path, int]] = []
        for event in events:
            self.queue.put(event)

    def events(self) -> Iterator[ev.Event]:
        while (event := self.queue.get(timeout=60)) is not None:
            yield event

    def stop(self) -> None:
        self.stops += 1
        self.queue.put(FIXED[-1])
        self.queue.put(None)

    def reject(self) -> None:
        self.rejections += 1
        self.queue.put(ev.PatchRejected(at=99.0))

    def attempt(self, *given: Any) -> Sequence[ev.Event]:
        self.attempts.append(given)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def app(self, theme: str = "dark") -> FixApp:
        def apply(patch: ev.PatchFound) -> str:
            self.done.append(("apply", patch))
            return "applied."

        return fix_app(
            self.events(),
            stop=self.stop,
            on_apply=apply,
            on_reject=self.reject,
            on_attempt=self.attempt,
            on_open=lambda path, line: self.opened.append((path, line)),
            theme=theme,
        )


async def ready(
    eyes: Any, pilot: Any, app: FixApp, events: Sequence[ev.Event] = FIXED[:-1]
) -> None:
    await eyes.until(pilot, lambda: app.playback.timeline.position == len(events))
    await eyes.until(pilot, lambda: "Quit" in eyes.rows(app)[-1])


async def test_dropping_a_patch_makes_the_search_go_on_and_the_next_one_can_be_taken(
    eyes: Any,
) -> None:
    world = World()
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app)
        assert any("Verified patch" in row for row in eyes.rows(app))
        assert any("d drops it and looks for another" in row for row in eyes.rows(app))
        await pilot.press("d")
        await eyes.until(pilot, lambda: not any("Verified patch" in row for row in eyes.rows(app)))
        assert (world.rejections, world.stops) == (1, 0)
        await pilot.press("a")  # there is nothing to apply now
        other = ev.PatchFound("other", PATCH.paths, PATCH.turned_green, 70, 9.0, "pytest", at=99.5)
        world.queue.put(other)
        await eyes.until(pilot, lambda: app.playback.state.patch == other)
        await pilot.press("a")
        await eyes.until(pilot, lambda: any("applied." in row for row in eyes.rows(app)))
    assert world.done == [("apply", other)] and world.stops == 1


async def test_dropping_after_the_end_is_the_end(eyes: Any) -> None:
    world = World(FIXED)
    world.queue.put(None)
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app, FIXED)
        await pilot.press("d")
        await eyes.until(
            pilot, lambda: any("Dropped: nothing was written" in row for row in eyes.rows(app))
        )
        await pilot.press("q")
    assert world.rejections == 0
    assert app.return_value is not None and app.return_value.decision == "dropped"


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
async def test_the_window_of_the_editor_is_the_golden_one(
    eyes: Any, size: tuple[int, int], theme: str, monkeypatch
) -> None:
    world = World(FIXED[:40])
    app = world.app(theme)
    monkeypatch.setattr(app, "_second", lambda: None)  # the clock stays where the events left it
    async with app.run_test(size=size) as pilot:
        await ready(eyes, pilot, app, FIXED[:40])
        await pilot.press("e")
        await eyes.until(pilot, lambda: isinstance(app.screen, EditScreen))
        await eyes.still(pilot, app)
        eyes.same(app, f"edit_{size[0]}x{size[1]}_{theme}")
        world.queue.put(None)


async def test_a_change_by_hand_is_run_and_becomes_the_patch(eyes: Any) -> None:
    world = World(FIXED[:40])
    app = world.app()
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app, FIXED[:40])
        state = app.playback.state
        suspect = state.suspects[0]
        await pilot.press("e")
        await eyes.until(pilot, lambda: isinstance(app.screen, EditScreen))
        area = app.screen.query_one(TextArea)
        step = state.steps[-1]
        assert area.cursor_location[0] == step.proposal_line - suspect.first_line
        area.load_text(suspect.source.replace("quantity >", "quantity >="))
        number = state.tried + 1
        mine = ev.PatchFound(
            "--- mine", ("src/shop/pricing.py",), PATCH.turned_green, number, 5.0, "pytest"
        )
        world.answer = [
            ev.CandidateTried(number, "src/shop/pricing.py", 50, ">", ">=", "by hand", 1.0, "passed", "", 0.5),
            mine,
        ]  # fmt: skip
        await pilot.press("ctrl+r")
        await eyes.until(
            pilot,
            lambda: any("Every test passes with your change" in row for row in eyes.rows(app)),
        )
        assert world.done == []
        await pilot.press("a")
        await eyes.until(pilot, lambda: world.done)
    assert world.done == [("apply", mine)]
    ((_, red, given, text, asked, _),) = world.attempts
    assert red == [test.nodeid for test in state.tests] and asked == number
    assert given == suspect and "quantity >= tier" in text


async def test_a_change_that_fails_is_said_and_is_there_when_the_editor_opens_again(
    eyes: Any,
) -> None:
    world = World(FIXED[:40])
    app = world.app()
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app, FIXED[:40])
        for answer, said in (
            ([ev.CandidateTried(9, "a.py", 1, "x", "y", "by hand", 1.0, "failed", "t::one", 0.5)], "✗ Not yet: t::one"),
            (ValueError("not Python, line 3"), "✗ not Python, line 3"),
        ):  # fmt: skip
            world.answer = answer
            await pilot.press("e")
            await eyes.until(pilot, lambda: isinstance(app.screen, EditScreen))
            area = app.screen.query_one(TextArea)
            assert said == "✗ Not yet: t::one" or area.text == "tried before"
            area.load_text("tried before")
            await pilot.press("ctrl+r")
            await eyes.until(pilot, lambda said=said: any(said in row for row in eyes.rows(app)))
        await pilot.press("e", "escape")
        await pilot.pause(0.2)
        world.queue.put(None)
    assert len(world.attempts) == 2 and world.done == []


async def test_o_opens_the_suspect_in_the_users_editor(
    eyes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(FIXED[:40])
    app = world.app()
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app, FIXED[:40])
        await pilot.press("o")  # this driver cannot stand aside, which is said
        await eyes.until(pilot, lambda: any("✗" in row for row in eyes.rows(app)[-2:]))
        assert world.opened == []
        monkeypatch.setattr(app, "suspend", nullcontext)
        await pilot.press("o")
        await eyes.until(pilot, lambda: world.opened)
        world.queue.put(None)
    started = app.playback.state.started
    assert started is not None
    assert world.opened == [
        (Path(started.root) / "src/shop/pricing.py", app.playback.state.steps[-1].proposal_line)
    ]


async def test_a_replay_changes_nothing(eyes: Any) -> None:
    app = replay_app(FIXED)
    app.playback.step(len(FIXED))
    async with app.run_test(size=SMALL) as pilot:
        await eyes.until(pilot, lambda: "Quit" in eyes.rows(app)[-1])
        await pilot.press("e", "o", "d")
        await pilot.pause(0.1)
        assert not isinstance(app.screen, EditScreen)
        assert "Edit" not in eyes.rows(app)[-1]


async def test_the_palette_knows_the_keys_of_the_fix_screen(eyes: Any) -> None:
    world = World()
    app = world.app()
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app)
        names = {command.title for command in app.get_system_commands(app.screen)}
        world.queue.put(None)
    assert {
        "Apply",
        "Copy",
        "Drop",
        "Edit",
        "Open in $EDITOR",
        "Pause",
        "Zoom code",
        "Help",
    } <= names
    assert not names & {"Commit", "Faster"}  # no callback; not a replay


def test_no_key_is_one_that_a_terminal_may_keep() -> None:
    """Ctrl+S and Ctrl+Q stop and start a terminal's output, Ctrl+Z suspends the program."""
    screens = (FixScreen, BisectScreen, HomeScreen, TrainScreen, EditScreen, HelpScreen, LinesScreen, TrainForm)  # fmt: skip
    keys = {
        key.strip()
        for screen in screens
        for binding in Binding.make_bindings(screen.BINDINGS)
        for key in binding.key.split(",")
    }
    assert "space" in keys and "ctrl+r" in keys
    assert not keys & {"ctrl+s", "ctrl+q", "ctrl+z"}
