"""Plain lines and JSON lines, from recorded and made-up events."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.events import (
    CandidateTried,
    Decision,
    FailingTest,
    Finished,
    Note,
    PatchFound,
    SearchProgress,
    Started,
    SuiteProgress,
    SuiteRan,
    Suspect,
    event_types,
    loads,
)
from agent.faces import jsonl
from agent.faces.console import _SHOW, ConsoleFace, clean

ROOT = Path(__file__).parents[2]
RECORDED = sorted((Path(__file__).parents[1] / "fixtures" / "events").glob("*.jsonl"))


def recorded(name: str) -> list:
    path = next(path for path in RECORDED if path.stem == name)
    return [loads(line) for line in path.read_text("utf-8").splitlines()]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(events: list, verbose: bool = False, **options) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    ConsoleFace(out, err, verbose, **options).show(events)
    return out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_every_event_has_its_line() -> None:
    assert set(_SHOW) == set(event_types().values()) - {Finished}


def test_a_fix_is_told_with_its_tests_and_the_diff_alone_is_on_stdout() -> None:
    events = recorded("fixed")
    out, err = shown(events)
    assert out == events[-1].diff
    patch = next(event for event in events if isinstance(event, PatchFound))
    for nodeid in patch.turned_green:
        assert nodeid in err
    assert f"{patch.candidates} candidates" in err
    assert f"{patch.seconds:.1f} s" in err
    assert events[0].python in err
    assert events[0].python_reason in err
    assert "\x1b" not in err
    assert "\r" not in err
    assert patch.diff not in err


def test_what_could_not_be_fixed_names_the_likeliest_lines() -> None:
    events = recorded("not_fixed")
    out, err = shown(events)
    assert out == ""
    for suspect in events[-1].suspects:
        assert suspect in err
    assert f"{events[-1].tried} candidates tried" in err
    assert f"hint: {events[-1].hint}" in err
    assert "not fixed" in err


def test_an_error_is_one_line_and_a_hint() -> None:
    events = recorded("error")
    _, err = shown(events)
    assert err.splitlines()[-2:] == [f"error: {events[-1].message}", f"hint: {events[-1].hint}"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_runs_are_shown_whole_in_both_styles(path: Path) -> None:
    events = [loads(line) for line in path.read_text("utf-8").splitlines()]
    for verbose in (False, True):
        _, err = shown(events, verbose)
        assert events[-1].message in err
    screen = Terminal()
    finished = ConsoleFace(Terminal(), screen).show(events)
    assert finished == events[-1]
    assert "\x1b[" in screen.getvalue()


def test_no_colour_loses_no_word(monkeypatch) -> None:
    events = [event for event in recorded("fixed") if not event.progress]
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    screen = Terminal()
    ConsoleFace(io.StringIO(), screen).show(events)
    assert "\x1b[3" not in screen.getvalue()
    assert screen.getvalue() == shown(events)[1]


MOVES = re.compile(r"\x1b\[(\?25|[0-9]*[AJKG])|\r")  # hides the cursor, goes back, clears


@pytest.mark.parametrize(
    ("environ", "terminal", "colour", "moves"),
    [
        ({}, True, True, True),
        ({}, False, False, False),
        ({"NO_COLOR": "1"}, True, False, True),
        ({"FORCE_COLOR": "1"}, False, True, False),  # a log that shows colours is no terminal
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False, False),
        ({"TERM": "dumb"}, True, False, False),
        ({"CI": "1"}, True, True, False),
    ],
    ids=str,
)
def test_colour_and_movement_are_the_users_choice(
    monkeypatch, environ: dict[str, str], terminal: bool, colour: bool, moves: bool
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    events = recorded("fixed")
    out, err = io.StringIO(), Terminal() if terminal else io.StringIO()
    ConsoleFace(out, err).show(events)
    text = err.getvalue()
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) is colour
    assert bool(MOVES.search(text)) is moves
    assert out.getvalue() == events[-1].diff  # a pipe gets a patch, whatever colours are forced
    assert events[0].python_reason in text


def test_lines_are_not_broken_and_help_fits_the_columns(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "x" * 100
    assert f"note      {long}\n" in shown([Note(long), Finished("green", 0, "")])[1]
    environ = {**os.environ, "COLUMNS": "60"}
    done = subprocess.run(
        [sys.executable, "-c", "from agent.cli import main; main(['fix', '--help'])"],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    widths = [len(line) for line in done.stdout.splitlines()]
    assert max(widths) <= 60
    assert "\x1b" not in done.stdout


def test_progress_without_a_terminal_is_rare_and_ever_rarer() -> None:
    now = [0.0]
    events = []

    def stream():
        for tick in range(1200):  # ten a second for two minutes
            now[0] = tick / 10
            event = SearchProgress(tick, 5, 10.0, 60.0)
            events.append(event)
            yield event
        yield Finished("not_fixed", 1, "no")

    _, err = shown(stream(), clock=lambda: now[0])  # type: ignore[arg-type]
    lines = [line for line in err.splitlines() if line.startswith("search")]
    assert 10 < len(lines) < 40
    tried = [int(re.findall(r"(\d+) tried", line)[0]) for line in lines]
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert min(gaps) >= 10  # at most one a second
    assert gaps[-1] > 3 * gaps[0]


def test_progress_of_the_tests_says_how_long_it_will_take() -> None:
    ticks = itertools.count(0, 100)  # a line for each event
    events = [SuiteProgress("suite", 10, 100, at=1.0), SuiteProgress("suite", 20, 100, at=3.0),
              SuiteProgress("check", 50, 100, at=9.0), Finished("green", 0, "")]  # fmt: skip
    _, err = shown(events, clock=lambda: float(next(ticks)))  # type: ignore[arg-type]
    lines = [line.split(" ", 5)[-1].strip() for line in err.splitlines() if "tests" in line]
    assert lines == ["suite 10/100", "suite 20/100, 16 s left", "check 50/100"]


def test_lists_are_cut_and_say_so() -> None:
    failing = [FailingTest(f"t.py::test_{i}", "AssertionError", "", "a.py", i) for i in range(25)]
    _, err = shown([*failing, SuiteRan(3, 25, 0, 0, 1.0), Finished("not_fixed", 1, "no")])
    assert "t.py::test_9" in err
    assert "t.py::test_10" not in err
    assert "and 15 more" in err
    assert "3 passed, 25 failed in 1.00 s" in err
    assert "t.py::test_24" in shown([*failing, Finished("not_fixed", 1, "no")], verbose=True)[1]


def test_rejections_and_candidates_are_for_the_verbose() -> None:
    events = [
        CandidateTried(1, "a.py", 3, "<", "<=", "compare", -1.0, "failed", "t", 0.01),
        Decision("accept", 0, 0.9, "test_f still fails"),
        Decision("accept", 1, 1.0, "all tests pass"),
        Decision("side", 0, 0.2, "the failure did not change"),
        Finished("fixed", 0, "done"),
    ]
    _, err = shown(events)
    assert "still fails" not in err
    assert "1 accept (margin 1.00): all tests pass" in err
    assert "0 left (margin 0.20): the failure did not change" in err
    _, err = shown(events, verbose=True)
    assert "0 reject (margin 0.90): test_f still fails" in err
    assert "a.py:3 '<' -> '<=' [compare] failed" in err


def test_the_suspect_is_named_at_its_most_suspicious_line() -> None:
    events = [
        Suspect(0, "a.py", "f", 10, "def f(): ...", (0.1, 0.9, 0.3)),
        Finished("green", 0, ""),
    ]
    assert "a.py:11 f (suspicion 0.90)" in shown(events)[1]


def test_foreign_text_cannot_steer_the_terminal() -> None:
    evil = "a\x1b[2Jb\x9bc\x07\rd\nx\udcff"
    assert clean(evil) == "a\ufffd[2Jb\ufffdc\ufffd d x\ufffd"
    failing = FailingTest(evil, evil, evil, evil, 1, evil, evil)
    out, screen = Terminal(), Terminal()
    ConsoleFace(out, screen).show([failing, Finished("fixed", 0, evil, evil, "+" + evil + "\n")])
    for text in (out.getvalue(), screen.getvalue()):
        assert "\x1b[2J" not in text
        assert "\x9b" not in text
        assert "\x07" not in text


def test_the_diff_goes_out_byte_for_byte() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8")
    diff = "--- a/x\n+++ b/x\n-caf\udce9\r\n+café\x0c\r\n"
    ConsoleFace(out, io.StringIO()).show([Finished("fixed", 0, "", diff=diff)])
    assert raw.getvalue() == diff.encode("utf-8", "surrogateescape")


def test_markup_in_foreign_text_is_text() -> None:
    _, err = shown([Note("[bold]x[/bold] [/]"), Finished("green", 0, "[red]")])
    assert "[bold]x[/bold] [/]" in err
    assert "[red]" in err


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_json_lines_are_the_events_and_nothing_else(path: Path) -> None:
    events = [loads(line) for line in path.read_text("utf-8").splitlines()]
    out = io.StringIO()
    assert jsonl.show(events, out) == events[-1]
    assert [loads(line) for line in out.getvalue().splitlines()] == events


def test_json_lines_are_valid_text_whatever_they_carry() -> None:
    out = io.StringIO()
    event = Note("\udcff \u2028 ü")
    jsonl.show([event], out)
    out.getvalue().encode("utf-8")
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["text"] == event.text


def test_json_lines_come_one_by_one() -> None:
    out = io.StringIO()

    def stream():
        yield Started(1, "r", "/", "p", "why", "3", (), "trm", "")
        assert out.getvalue().count("\n") == 1  # before the next is asked for
        yield Finished("green", 0, "")

    assert isinstance(jsonl.show(stream(), out), Finished)
