"""The fix screen driven by keys, fed with recorded events or with a live iterator; one behaviour a test."""

from __future__ import annotations

import html
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets._footer import FooterKey

from agent import events as ev
from agent.faces.tui.app import FixApp, fix_app, replay_app, run_fix_app
from agent.faces.tui.screens.fix import FixScreen
from agent.faces.tui.screens.help import PANELS, HelpScreen
from agent.faces.tui.widgets.code import COLD
from agent.faces.tui.widgets.panel import LinePanel

FIXTURES = Path(__file__).parent.parent / "fixtures"
SMALL, LARGE = (80, 24), (160, 48)


def read(name: str) -> list[ev.Event]:
    text = (FIXTURES / "events" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [ev.loads(line) for line in text.split("\n") if line]


def rows(app: App[object]) -> list[str]:
    """The screen as lines of text, taken from the SVG that Textual exports."""
    svg = app.export_screenshot()
    grid: dict[float, list[tuple[float, str]]] = {}
    for tag, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        place = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if "-matrix" not in svg or "clip-path" in tag:
            cells = html.unescape(text).replace("\xa0", " ")
            grid.setdefault(float(place["y"]), []).append((float(place["x"]), cells))
    return ["".join(t for _, t in _filled(sorted(grid[y]))).rstrip() for y in sorted(grid)]


def _filled(parts: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Text pieces of a row with the gaps between them as spaces (a cell is 12.2 units wide)."""
    out: list[tuple[float, str]] = []
    at = 0
    for x, text in parts:
        column = round(x / 12.2)
        out.append((x, " " * (column - at) + text))
        at = column + len(text)
    return out


class Live:
    """A live run in the hands of a test: push events, end it, see what was asked of it."""

    def __init__(self, events: list[ev.Event] | None = None, *, stubborn: bool = False) -> None:
        self._queue: queue.Queue[ev.Event | BaseException | None] = queue.Queue()
        self.stops = 0
        self.deeds: list[tuple[str, ev.PatchFound]] = []
        self._stubborn = stubborn
        for event in events or []:
            self.push(event)

    def push(self, event: ev.Event | BaseException | None) -> None:
        self._queue.put(event)

    def end(self) -> None:
        self.push(None)

    def stop(self) -> None:
        self.stops += 1
        if not self._stubborn:
            self.push(ev.Finished("interrupted", 130, "Stopped.", at=99.0))
            self.end()

    def __iter__(self) -> Iterator[ev.Event]:
        while (event := self._queue.get(timeout=60)) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    def deed(self, name: str) -> Callable[[ev.PatchFound], str]:
        def do(patch: ev.PatchFound) -> str:
            self.deeds.append((name, patch))
            return f"{name}: done."

        return do

    def app(self, **changes: object) -> FixApp:
        given = {"on_apply": self.deed("apply"), "on_commit": self.deed("commit"), **changes}
        return fix_app(iter(self), stop=self.stop, **given)  # type: ignore[arg-type]


async def until(pilot: Pilot[object], condition: Callable[[], object]) -> None:
    """Wait until the condition holds; a test that waits for nothing fails after a minute."""
    for _ in range(1200):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.05)
    raise AssertionError("the condition never held")


async def settle(pilot: Pilot[object], app: App[object]) -> None:
    """Wait until messages are handled and the footer, which is composed late, is there."""
    await pilot.pause(0.05)
    await until(pilot, lambda: len(app.screen.query(FooterKey)) or app.screen.is_modal)
    await pilot.pause()


async def shown(pilot: Pilot[object], app: FixApp, events: list[ev.Event]) -> None:
    await until(pilot, lambda: app.playback.timeline.position == len(events))


def still(name: str, position: int | None = None, theme: str = "dark") -> FixApp:
    """A replay that is paused after `position` events (all by default)."""
    events = read(name)
    app = replay_app(events, theme=theme)
    app.playback.step(len(events) if position is None else position)
    return app


# -- what it looks like


@pytest.mark.parametrize("size", [SMALL, (100, 50), LARGE], ids=["80x24", "100x50", "160x48"])
@pytest.mark.parametrize(
    ("name", "position"),
    [("fixed", 8), ("fixed", 40), ("fixed", 85), ("fixed", None), ("not_fixed", None)],
)
async def test_the_screen_is_the_golden_one(
    name: str, position: int | None, size: tuple[int, int]
) -> None:
    """Set UPDATE_GOLDEN=1 to write the files anew, and read the difference before committing it."""
    golden = FIXTURES / "golden" / f"tui_{name}_{position or 'end'}_{size[0]}x{size[1]}.txt"
    app = still(name, position)
    async with app.run_test(size=size) as pilot:
        await settle(pilot, app)
        text = "\n".join(rows(app)) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [SMALL, (100, 30), (120, 40), LARGE, (200, 60), (40, 12)])
async def test_awkward_text_is_shortened_never_clipped(size: tuple[int, int]) -> None:
    app = still("awkward")
    async with app.run_test(size=size) as pilot:
        await settle(pilot, app)
        for panel in app.screen.query(LinePanel):
            if panel.display and panel.size.width > 4:
                width = panel.scrollable_content_region.width
                for y in range(panel.size.height):
                    assert panel.render_line(y).cell_length == width


async def test_markup_in_the_users_code_is_shown_as_it_is() -> None:
    app = still("awkward")
    async with app.run_test(size=LARGE) as pilot:
        await settle(pilot, app)
        assert any("if werte[0] == '[bold red]':" in row for row in rows(app))


@pytest.mark.parametrize("theme", ["dark", "light", "ansi"])
async def test_themes_change_colours_and_not_a_single_character(theme: str) -> None:
    plain, themed = still("fixed", 85), still("fixed", 85, theme)
    async with plain.run_test(size=LARGE) as pilot:
        await settle(pilot, plain)
        expected = rows(plain)
    async with themed.run_test(size=LARGE) as pilot:
        await settle(pilot, themed)
        assert rows(themed) == expected


async def test_the_ansi_theme_uses_the_terminals_own_colours_only() -> None:
    app = still("fixed", 40, "ansi")
    async with app.run_test(size=LARGE) as pilot:
        await settle(pilot, app)
        styles = [
            segment.style
            for panel in app.screen.query(LinePanel)
            for y in range(panel.size.height)
            for segment in panel.render_line(y)
            if segment.style
        ]
    colours = {c for s in styles for c in (s.color, s.bgcolor) if c is not None}
    assert colours
    assert not [c for c in colours if c.triplet is not None]


async def test_heat_in_the_ansi_theme_never_paints_a_background() -> None:
    app = still("fixed", 22, "ansi")
    async with app.run_test(size=LARGE) as pilot:
        await settle(pilot, app)
        step = app.playback.state.steps[-1]
        assert sum(heat[3] > COLD for heat in step.token_heat) > 1
        code = app.screen.query_one("#code", LinePanel)
        segments = [s for y in range(code.size.height) for s in code.render_line(y) if s.style]
    painted = {str(s.style.bgcolor.name) for s in segments if s.style and s.style.bgcolor}
    assert painted <= {"default"}
    assert [s.text for s in segments if s.style and s.style.reverse] == ["-"]


async def test_an_unknown_theme_is_named() -> None:
    with pytest.raises(ValueError, match="unknown theme 'pink': choose dark, light, ansi"):
        replay_app([], theme="pink")


async def test_t_goes_round_the_themes() -> None:
    app = still("fixed")
    async with app.run_test(size=SMALL) as pilot:
        seen = []
        for _ in range(3):
            await pilot.press("t")
            seen.append(app.theme)
    assert seen == ["trm-light", "trm-ansi", "trm-dark"]


async def test_another_theme_recolours_what_is_already_on_the_screen() -> None:
    changed, fresh = still("fixed", 85), still("fixed", 85, "light")
    async with changed.run_test(size=LARGE) as pilot:
        await settle(pilot, changed)
        await pilot.press("t")
        await settle(pilot, changed)
        pictures = [changed.export_screenshot(title="x")]
    async with fresh.run_test(size=LARGE) as pilot:
        await settle(pilot, fresh)
        pictures.append(fresh.export_screenshot(title="x"))
    colours = [sorted(re.findall(r"fill: (#[0-9a-f]{6})", picture)) for picture in pictures]
    assert colours[0] == colours[1]


async def test_the_keys_of_a_found_patch_fit_into_80_columns() -> None:
    live, events = Live(read("fixed")), read("fixed")
    live.end()
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await settle(pilot, app)
        footer = rows(app)[-1]
    for key in ("a Apply", "c Commit", "y Copy", "d Drop", "space Pause", "? Help", "q Quit"):
        assert key in footer


# -- the patch


async def test_apply_hands_over_the_very_patch_that_was_shown() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("a")
        await until(pilot, lambda: any("apply: done." in row for row in rows(app)))
        await pilot.press("q")
    patch = next(e for e in events if isinstance(e, ev.PatchFound))
    assert live.deeds == [("apply", patch)]
    assert app.return_value is not None
    assert app.return_value.decision == "applied" and app.return_value.patch == patch
    assert app.return_value.summary[-1] == "apply: done."


async def test_a_decided_patch_is_not_applied_twice() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("a", "a", "c")
        await until(pilot, lambda: live.deeds)
        await pilot.press("c", "a")
        await settle(pilot, app)
    assert [name for name, _ in live.deeds] == ["apply"]


async def test_drop_writes_nothing() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("d")
        await until(pilot, lambda: any("Dropped" in row for row in rows(app)))
        await pilot.press("q")
    assert live.deeds == []
    assert app.return_value is not None and app.return_value.decision == "dropped"


async def test_leaving_without_a_decision_applies_nothing() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("q")
    assert live.deeds == [] and live.stops == 0
    assert app.return_value is not None and app.return_value.decision == ""
    assert app.return_value.summary[-1].startswith("Nothing was written")


async def test_a_failing_apply_is_shown_with_its_hint_and_can_be_tried_again() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    tries: list[ev.PatchFound] = []

    class Changed(Exception):
        hint = "run fix again"

    def apply(patch: ev.PatchFound) -> str:
        tries.append(patch)
        if len(tries) == 1:
            raise Changed("pricing.py changed meanwhile")
        return "applied at last."

    app = live.app(on_apply=apply)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("a")
        message = "✗ pricing.py changed meanwhile · hint: run fix again"
        await until(pilot, lambda: any(message in row for row in rows(app)))
        await pilot.press("a")
        await until(pilot, lambda: any("applied at last." in row for row in rows(app)))
    assert len(tries) == 2


async def test_without_a_commit_callback_there_is_no_key_for_it() -> None:
    events = read("fixed")
    live = Live(events)
    live.end()
    app = live.app(on_commit=None)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("c")
        await settle(pilot, app)
        assert "Commit" not in rows(app)[-1]
    assert live.deeds == []


async def test_nothing_can_be_applied_before_a_patch_is_there() -> None:
    live = Live(read("fixed")[:60])
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 60)
        await pilot.press("a", "c", "d", "y")
        await settle(pilot, app)
        assert "Apply" not in rows(app)[-1]
    assert live.deeds == [] and live.stops == 0


async def test_applying_while_the_search_goes_on_stops_it_first() -> None:
    events = read("fixed")[:-1]
    live = Live(events)
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("a")
        await until(pilot, lambda: live.deeds)
        assert live.stops == 1
    assert [name for name, _ in live.deeds] == ["apply"]


async def test_a_patch_that_is_not_the_newest_is_not_applied() -> None:
    events = read("fixed")[:-1]
    patch = next(e for e in events if isinstance(e, ev.PatchFound))
    newer = ev.PatchFound("other", patch.paths, patch.turned_green, 70, 9.0, "pytest", at=50.0)
    live = Live(events)
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, app, events)
        await pilot.press("space")
        live.push(newer)
        await until(pilot, lambda: len(app.playback.timeline) == len(events) + 1)
        await pilot.press("a")
        await settle(pilot, app)
        assert any("A newer patch was found" in row for row in rows(app))
        await pilot.press("end", "a")
        await until(pilot, lambda: live.deeds)
    assert live.deeds == [("apply", newer)]


async def test_copy_puts_the_whole_diff_on_the_clipboard() -> None:
    app = still("fixed")
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("y")
        assert app.playback.state.patch is not None
        assert app.clipboard == app.playback.state.patch.diff


# -- leaving


async def test_q_stops_the_search_and_leaves_when_it_has_ended() -> None:
    live = Live(read("fixed")[:50])
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 50)
        await pilot.press("q")
        await until(pilot, lambda: app.return_value is not None)
    assert live.stops == 1
    assert app.return_value is not None and app.return_value.finished is not None
    assert app.return_value.finished.status == "interrupted"


async def test_q_twice_leaves_even_if_the_search_does_not_end() -> None:
    live = Live(read("fixed")[:50], stubborn=True)
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 50)
        await pilot.press("q")
        await settle(pilot, app)
        assert app.return_value is None
        assert any("Stopping the search" in row for row in rows(app))
        await pilot.press("q")
    live.end()
    assert app.return_value is not None and app.return_value.finished is None
    assert app.return_value.summary[0].startswith("Left before the end")


async def test_ctrl_c_stops_the_search_and_stays_then_leaves() -> None:
    live = Live(read("fixed")[:50])
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 50)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.playback.state.finished)
        assert app.return_value is None
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.return_value is not None)
    assert live.stops == 1


async def test_an_abandoned_iterator_is_closed() -> None:
    closed = threading.Event()
    gate = threading.Event()

    def events() -> Iterator[ev.Event]:
        try:
            while True:
                yield ev.Note("a")
                gate.wait(30)
        finally:
            closed.set()

    app = fix_app(events(), stop=lambda: None, on_apply=lambda patch: "")
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 1)
        await pilot.press("q", "q")
    gate.set()
    assert closed.wait(30)


def test_what_the_iterator_raises_comes_out_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoPytest(Exception):
        pass

    live = Live(read("fixed")[:3])
    live.push(NoPytest("pytest is not installed"))
    monkeypatch.setattr(FixApp, "run", partialmethod(App.run, headless=True, size=SMALL))
    with pytest.raises(NoPytest, match="pytest is not installed"):
        run_fix_app(iter(live), stop=live.stop, on_apply=live.deed("apply"))


# -- load, size, time


async def test_thousands_of_candidates_take_few_redraws_and_none_is_lost() -> None:
    flood = [
        ev.CandidateTried(k, "a.py", 1, "x", "y", "op", 0.0, "failed", "t", 0.01, at=k / 1000)
        for k in range(1, 5001)
    ]
    live = Live([*read("fixed")[:30], *flood])
    live.end()
    app = live.app()
    async with app.run_test(size=LARGE) as pilot:
        await shown(pilot, app, [*read("fixed")[:30], *flood])
        await settle(pilot, app)
        assert app.playback.state.outcomes["failed"] == 5000 + sum(
            isinstance(e, ev.CandidateTried) and e.outcome == "failed" for e in read("fixed")[:30]
        )
        assert any("5,000 tried" in row for row in rows(app))
        # A redraw takes 200 events at least while more are waiting.
        assert app.fix_screen.refreshes <= 5030 / 200 + 10


async def test_keys_work_in_the_middle_of_a_flood() -> None:
    flood = [
        ev.CandidateTried(k, "a.py", 1, "x", "y", "op", 0.0, "failed", "t", 0.01)
        for k in range(1, 5001)
    ]
    live = Live([])
    app = live.app()
    async with app.run_test(size=LARGE) as pilot:
        for event in flood:
            live.push(event)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.playback.state.tried == 5000)
        assert isinstance(app.screen, FixScreen)
        live.end()


async def test_a_panel_whose_part_did_not_change_is_not_drawn_again() -> None:
    live = Live(read("fixed")[:30])
    app = live.app()
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 30)
        await settle(pilot, app)
        code, table = app.screen.query_one("#code"), app.screen.query_one("#candidates")
        assert isinstance(code, LinePanel) and isinstance(table, LinePanel)
        before = code.draws, table.draws
        live.push(ev.CandidateTried(9, "a.py", 1, "x", "y", "op", 0.0, "failed", "t", 0.1, at=9.0))
        await until(pilot, lambda: app.playback.timeline.position == 31)
        await settle(pilot, app)
        assert code.draws == before[0] and table.draws > before[1]
        live.end()


async def test_resizing_between_events_lays_out_anew() -> None:
    events = read("fixed")
    live = Live(events[:40])
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 40)
        await pilot.resize_terminal(*LARGE)
        await settle(pilot, app)
        assert app.screen.query_one("#decisions").display
        for event in events[40:]:
            live.push(event)
        live.end()
        await shown(pilot, app, events)
        await settle(pilot, app)
        large = rows(app)
        await pilot.resize_terminal(*SMALL)
        await settle(pilot, app)
        small = rows(app)
    assert any("Verified patch" in row for row in large)
    assert any("Verified patch" in row for row in small) and len(small) <= SMALL[1]
    assert not any("╭" in row for row in small)


async def test_a_paused_view_stands_still_while_the_search_goes_on() -> None:
    events = read("fixed")
    live = Live(events[:40])
    app = live.app()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.timeline.position == 40)
        await pilot.press("space")
        for event in events[40:]:
            live.push(event)
        live.end()
        await until(pilot, lambda: len(app.playback.timeline) == len(events))
        assert app.playback.timeline.position == 40
        assert any("view paused at event 40 of 127" in row for row in rows(app))
        await pilot.press("space")
        await settle(pilot, app)
        assert app.playback.timeline.position == len(events)


# -- replay, zoom, help


async def test_arrows_step_through_a_replay_and_shift_jumps_to_decisions() -> None:
    app = still("fixed", 60)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("right", "right", "left")
        assert app.playback.timeline.position == 61
        await pilot.press("shift+right")
        position = app.playback.timeline.position
        assert position > 61 and not app.playback.timeline.events[position - 1].progress
        await pilot.press("home")
        assert app.playback.timeline.position == 0
        await pilot.press("end")
        assert app.playback.timeline.at_end


async def test_plus_and_minus_change_the_speed_of_a_replay() -> None:
    app = still("fixed", 10)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("plus", "plus")
        assert app.playback.speed == 4.0
        await pilot.press("minus")
        assert any("2× " in row for row in rows(app))


async def test_a_replay_runs_by_itself_to_its_end() -> None:
    app = replay_app(read("green"), speed=64.0)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.playback.over)
        await settle(pilot, app)
        assert any("All 41 tests pass: nothing to fix." in row for row in rows(app))


async def test_a_replay_offers_nothing_to_apply() -> None:
    app = still("fixed")
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("a", "c", "d")
        await settle(pilot, app)
        assert "Apply" not in rows(app)[-1]
        await pilot.press("q")
    assert app.return_value is not None and app.return_value.decision == ""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("1", "test_free_shipping_after_discount"),
        ("4", "64 :50"),
        ("5", "smallest edit found"),
        ("6", "@@ -47,7"),
    ],
)
async def test_a_number_shows_its_panel_alone_and_back(key: str, text: str) -> None:
    app = still("fixed")
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press(key)
        await settle(pilot, app)
        alone = rows(app)
        await pilot.press(key)
        await settle(pilot, app)
        assert app.screen.maximized is None
    assert any(text in row for row in alone)
    assert sum("╭" in row for row in alone) <= 1


async def test_the_other_suspect_can_be_read() -> None:
    app = still("fixed", 30)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.press("right_square_bracket")
        await settle(pilot, app)
        assert any("cart_total · suspect 2 of 2" in row for row in rows(app))


async def test_help_explains_every_panel_and_closes() -> None:
    app = still("fixed", 60)
    async with app.run_test(size=(110, 70)) as pilot:
        await pilot.press("question_mark")
        await settle(pilot, app)
        text = "\n".join(rows(app))
        await pilot.press("escape")
        assert isinstance(app.screen, FixScreen)
    for name, _ in PANELS:
        assert name.strip() in text


async def test_m_gives_the_mouse_to_the_terminal_and_takes_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = still("fixed")
    calls: list[str] = []
    driver = SimpleNamespace(
        _enable_mouse_support=lambda: calls.append("on"),
        _disable_mouse_support=lambda: calls.append("off"),
    )
    async with app.run_test(size=SMALL) as pilot:
        with monkeypatch.context() as patched:
            patched.setattr(app, "_driver", driver)
            app.action_mouse()
            app.action_mouse()
        await pilot.pause()
    assert calls == ["off", "on"]
