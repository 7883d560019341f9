"""The bisect screen, fed with a recorded run or with a live iterator; one behaviour a test."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import events as ev
from agent.faces.tui.app import replay_app
from agent.faces.tui.bisect_app import BisectApp, bisect_app
from agent.faces.tui.screens.bisect import BisectScreen
from agent.faces.tui.screens.help import BISECT, HelpScreen
from agent.faces.tui.widgets.panel import LinePanel

FIXTURES = Path(__file__).parent.parent / "fixtures"
SMALL, LARGE = (80, 24), (160, 48)
FOUND = [
    ev.loads(line) for line in (FIXTURES / "events" / "bisect.jsonl").read_text("utf-8").split("\n") if line
]  # fmt: skip
ASKED = next(
    k for k, event in enumerate(FOUND, 1)
    if isinstance(event, ev.Probe) and event.verdict == "running" and (event.first, event.last) == (3, 5)
)  # fmt: skip
"""So many events until the third commit is asked about."""


def still(position: int, theme: str = "dark") -> BisectApp:
    """A replay that is paused after `position` events."""
    app = replay_app(FOUND, theme=theme)
    assert isinstance(app, BisectApp)
    app.playback.step(position)
    return app


class World:
    """A live bisect in the hands of a test."""

    def __init__(self, events: Sequence[ev.Event], stubborn: bool = False) -> None:
        self.queue: queue.Queue[ev.Event | None] = queue.Queue()
        self.stops, self._stubborn = 0, stubborn
        for event in events:
            self.queue.put(event)

    def events(self) -> Iterator[ev.Event]:
        while (event := self.queue.get(timeout=60)) is not None:
            yield event

    def stop(self) -> None:
        self.stops += 1
        if not self._stubborn:
            self.queue.put(ev.Finished("interrupted", 130, "Stopped.", at=99.0))
            self.queue.put(None)

    def app(self) -> BisectApp:
        return bisect_app(self.events(), stop=self.stop)


async def ready(eyes: Any, pilot: Any, app: BisectApp, position: int) -> None:
    """Wait until so many events are shown and the footer, which is composed late, is there."""
    await eyes.until(pilot, lambda: app.playback.timeline.position == position)
    await eyes.until(pilot, lambda: "Quit" in eyes.rows(app)[-1])
    await pilot.pause(0.1)


def has(eyes: Any, app: Any, text: str) -> bool:
    return any(text in row for row in eyes.rows(app))


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x48"])
@pytest.mark.parametrize("position", [ASKED, len(FOUND)], ids=["asked", "found"])
async def test_the_bisect_screen_is_the_golden_one(
    eyes: Any, position: int, size: tuple[int, int], theme: str
) -> None:
    app = still(position, theme)
    async with app.run_test(size=size) as pilot:
        await ready(eyes, pilot, app, position)
        name = "found" if position == len(FOUND) else "asked"
        eyes.same(app, f"bisect_{name}_{size[0]}x{size[1]}_{theme}")


@pytest.mark.parametrize("size", [(40, 12), (100, 30), (200, 60)])
async def test_every_line_has_its_width_whatever_was_asked(
    eyes: Any, size: tuple[int, int]
) -> None:
    app = still(0)
    async with app.run_test(size=size) as pilot:
        for position in (4, 9, ASKED, len(FOUND) - 3, len(FOUND)):
            app.playback.step(position - app.playback.timeline.position)
            app.run_screen.show()
            await pilot.pause(0.05)
            for panel in app.screen.query(LinePanel):
                if panel.display and panel.size.width > 4:
                    width = panel.scrollable_content_region.width
                    for y in range(panel.size.height):
                        assert panel.render_line(y).cell_length == width


async def test_a_live_bisect_says_what_it_asks_and_what_it_found(eyes: Any) -> None:
    world = World(FOUND[:ASKED])
    app = world.app()
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app, ASKED)
        question = (
            "does test_discount_starts_at_the_limit pass with the code of 1fe0be13b1 Vouchers"
        )
        assert has(eyes, app, question)
        assert has(eyes, app, "3 of 11 commits left")
        assert not has(eyes, app, "y Copy")
        for event in FOUND[ASKED:]:
            world.queue.put(event)
        world.queue.put(None)
        await ready(eyes, pilot, app, len(FOUND))
        assert has(eyes, app, "✓ Found · ")
        assert has(eyes, app, "+    if members and total > LIMIT and members:")
        await pilot.press("y")
        assert app.clipboard == FOUND[-1].diff  # type: ignore[attr-defined]
        await pilot.press("q")
        await eyes.until(pilot, lambda: app.return_value is not None)
    result = app.return_value
    assert result is not None and result.finished == FOUND[-1] and world.stops == 0
    assert result.summary[0].startswith("d52be97e9f Tidy up pricing: shop/pricing.py:8:")
    assert "+    if members and total > LIMIT and members:" in result.summary


async def test_ctrl_c_stops_the_search_and_stays_then_leaves(eyes: Any) -> None:
    world = World(FOUND[:ASKED])
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app, ASKED)
        await pilot.press("ctrl+c")
        await eyes.until(pilot, lambda: has(eyes, app, "✗ Stopped"))
        assert app.return_value is None and world.stops == 1
        await pilot.press("ctrl+c")
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert app.return_value is not None and app.return_value.summary == ("Stopped.",)


async def test_q_twice_leaves_even_if_the_test_that_runs_does_not_end(eyes: Any) -> None:
    world = World(FOUND[:ASKED], stubborn=True)
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app, ASKED)
        await pilot.press("q")
        await eyes.until(pilot, lambda: has(eyes, app, "q again leaves at once"))
        assert app.return_value is None
        await pilot.press("q")
        await eyes.until(pilot, lambda: app.return_value is not None)
    world.queue.put(None)
    assert app.return_value is not None and app.return_value.finished is None
    assert app.return_value.summary == ("Left before the end: 6 test runs, nothing found.",)


async def test_a_paused_view_stands_still_and_arrows_walk_through_the_answers(eyes: Any) -> None:
    app = still(ASKED)
    async with app.run_test(size=LARGE) as pilot:
        await ready(eyes, pilot, app, ASKED)
        await pilot.press("right")
        assert has(eyes, app, "2 of 11 commits left")
        await pilot.press("left", "left")
        await pilot.pause(0.1)
        assert has(eyes, app, "3 of 11 commits left") and app.playback.state.running is None
        await pilot.press("end")
        await eyes.until(pilot, lambda: has(eyes, app, "✓ Found · "))


@pytest.mark.parametrize(
    ("key", "text"),
    [("1", "Failing tests"), ("2", "Narrowing down"), ("3", "Suspects"), ("4", "Test runs"), ("5", "Decisions")],
)  # fmt: skip
async def test_a_number_shows_its_panel_alone_and_back(eyes: Any, key: str, text: str) -> None:
    app = still(ASKED)
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app, ASKED)
        await pilot.press(key)
        await pilot.pause(0.1)
        panel = app.screen.maximized
        assert (panel is not None) == (key != "5")  # too small for decisions
        assert key == "5" or has(eyes, app, text)
        await pilot.press("escape")
        assert app.screen.maximized is None


async def test_help_explains_every_panel_and_closes(eyes: Any) -> None:
    app = still(ASKED)
    async with app.run_test(size=(110, 60)) as pilot:
        await ready(eyes, pilot, app, ASKED)
        await pilot.press("question_mark")
        await eyes.until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.pause(0.1)
        assert all(has(eyes, app, name) for name, _ in BISECT.panels)
        await pilot.press("escape")
        assert isinstance(app.screen, BisectScreen)


async def test_a_search_that_found_nothing_says_why(eyes: Any) -> None:
    lost = ev.Finished(
        "not_fixed", 1, "no earlier revision was found", "give one with --good REV", tried=4, at=3.0
    )
    world = World([*FOUND[:12], lost])
    world.queue.put(None)
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await ready(eyes, pilot, app, 13)
        assert has(eyes, app, "✗ Not found · 4 test runs")
        assert has(eyes, app, "no earlier revision was found")
        assert has(eyes, app, "give one with --good REV")
