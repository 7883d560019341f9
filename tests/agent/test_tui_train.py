"""A training on the screen: reports into curves and figures, and a clean end; the real program in a process of its own."""

from __future__ import annotations

import json
import math
import queue
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from agent.faces.tui.train_app import TrainApp
from agent.faces.tui.training import Training, smooth
from agent.faces.tui.widgets.plot import braille, number
from agent.watch import earlier, given

SMALL, LARGE = (80, 24), (120, 40)
SAMPLES = {
    "step": 1500,
    "samples": [
        {"name": "bytes.parse_size", "broken": "if value < limit:", "right": "if value <= limit:",
         "proposed": "if value <= limit:", "probability": 0.62, "hit": True},
        {"name": "cache.Cache.evict", "broken": "for key in order[n:]:", "right": "for key in order[:n]:",
         "proposed": "", "probability": 0.18, "hit": False},
    ],
}  # fmt: skip


def report(number: int, **more: Any) -> dict[str, Any]:
    """A report as trm.metrics writes it, of a training that learns."""
    noise = random.Random(number).random()
    return {
        "step": number * 50, "seconds": number * 20.0, "positions_per_second": 9600, "examples": number * 3200,
        "learning_rate": 1.5e-3, "start": 1.2, "length": 0.2, "content": 1.8, "halt": 0.33, "slot_top1": 0.55,
        "loss": 1.2 + 7 * math.exp(-number / 9) + 0.3 * noise, "top1": 0.7 * (1 - math.exp(-number / 12)),
        "exact": 0.4 * (1 - math.exp(-number / 18)), "gradient": 0.8, "saved": number % 10 == 0, **more,
    }  # fmt: skip


class World:
    """A training in the hands of a test."""

    def __init__(self, *reports: Mapping[str, Any]) -> None:
        self.queue: queue.Queue[Mapping[str, Any] | Exception | None] = queue.Queue()
        self.stops = 0
        for one in reports:
            self.queue.put(one)

    def reports(self) -> Iterator[Mapping[str, Any]]:
        while (one := self.queue.get(timeout=60)) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    def stop(self) -> None:
        self.stops += 1

    def app(self, **changes: Any) -> TrainApp:
        given: dict[str, Any] = {"stop": self.stop, "title": "runs/big", "steps": 5000.0, **changes}
        return TrainApp(self.reports(), **given)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("reports", [0, 30])
async def test_the_train_screen_is_the_golden_one(
    eyes: Any, reports: int, size: tuple[int, int], theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.faces.tui.screens.train.clock", lambda seconds: "0:42")
    world = World(*map(report, range(1, reports + 1)), *([SAMPLES] if reports else []))
    app = world.app(theme=theme)
    async with app.run_test(size=size) as pilot:
        await eyes.until(pilot, lambda: len(app.training.reports) == reports)
        await eyes.until(pilot, lambda: "Quit" in eyes.rows(app)[-1])
        await pilot.pause(0.2)
        eyes.same(app, f"train_{reports}_{size[0]}x{size[1]}_{theme}")
        world.queue.put(None)


async def test_q_asks_to_save_waits_for_the_end_and_leaves(eyes: Any) -> None:
    world = World(report(1))
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await eyes.until(pilot, lambda: app.training.reports)
        await pilot.press("q")
        await eyes.until(
            pilot, lambda: any("Saving, then leaving" in row for row in eyes.rows(app))
        )
        assert world.stops == 1 and app.return_value is None
        world.queue.put(report(2, saved=True))
        world.queue.put(None)
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert app.return_value is not None and app.return_value.saved_at == 100


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_a_second_time_leaves_at_once(eyes: Any, key: str) -> None:
    world = World(report(1))
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await eyes.until(pilot, lambda: app.training.reports)
        await pilot.press(key, key)
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert world.stops == 1
    world.queue.put(None)


async def test_what_the_training_raises_ends_the_app_and_is_kept(eyes: Any) -> None:
    world = World(report(1))
    world.queue.put(ValueError("out of memory"))
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert str(app.feed.error) == "out of memory"


# -- what is shown, without a terminal


def test_a_resumed_training_goes_on_and_steps_taken_again_replace_the_old_ones() -> None:
    training = Training()
    training.load([report(k) for k in range(1, 6)])
    assert training.now == []
    training.apply(report(4, loss=0.5))
    assert [r["step"] for r in training.reports] == [50, 100, 150, 200]
    assert training.curve("loss")[-1] == (200, 0.5) and len(training.now) == 1


def test_time_left_is_that_of_the_nearer_end() -> None:
    by_steps = Training(steps=1000)
    for k in (1, 2):
        by_steps.apply(report(k))
    assert by_steps.left() == pytest.approx((1000 - 100) * 20 / 50)
    both = Training(steps=1000, seconds=100)
    for k in (1, 2):
        both.apply(report(k))
    assert both.left() == pytest.approx(60)
    assert Training(steps=1000).left() is None


def test_figures_that_are_not_numbers_are_left_out_of_a_curve() -> None:
    training = Training()
    for k, loss in enumerate((1.0, math.nan, 3.0), 1):
        training.apply(report(k, loss=loss))
    assert training.curve("loss") == [(50, 1.0), (150, 3.0)]


def test_a_curve_is_fitted_into_columns_of_equal_steps() -> None:
    assert smooth([(0, 1.0), (10, 3.0), (90, 5.0), (100, 7.0)], 3) == [2.0, 2.0, 6.0]
    assert smooth([], 3) == []


def test_a_curve_is_drawn_from_its_lowest_to_its_highest_dot() -> None:
    rows = braille([1.0, None, 0.0, 0.0], 0.0, 1.0, 2)
    assert [len(row) for row in rows] == [2, 2]
    assert ord(rows[0][0]) - 0x2800 == 0x01  # the topmost dot at the left
    assert (ord(rows[1][1]) - 0x2800) & 0xC0 == 0xC0  # both lowest dots at the right


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "4e-04"), (0.25, "0.25"), (3.14159, "3.14"), (31.4159, "31.4"), (1204, "1,204"), (0, "0.00"), (250_000, "250k")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


# -- from the command line


def test_the_process_gets_the_options_that_were_given_and_no_others() -> None:
    from agent.cli import app

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    asked = ["--data", "a", "--data", "b", "--out", "o", "--steps", "7", "--set", "train.slots=512",
             "--no-resume", "--theme", "light", "--rl"]  # fmt: skip
    with command.make_context("train", list(asked)) as context:
        again = given(context)
    with command.make_context("train", list(again)) as context:
        parsed = context.params
    assert "--theme" not in again
    assert [str(path) for path in parsed["data"]] == ["a", "b"] and parsed["steps"] == 7
    assert parsed["resume"] is False and parsed["rl"] is True and parsed["assignments"] == ["train.slots=512"]  # fmt: skip


def test_earlier_reports_are_read_and_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    assert earlier(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text(json.dumps(report(1)) + "\n[1]\n" + '{"step": 100, "lo')
    assert earlier(tmp_path) == [report(1)]
