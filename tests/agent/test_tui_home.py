"""Home: what is known of a project without running it, the screen that shows it, and the keys that act on it."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import events as ev
from agent.apply import apply_diff, undo
from agent.diffs import make_diff
from agent.faces.tui.home import Home, PastRun, Suite, ago
from agent.faces.tui.home_app import HomeApp
from agent.faces.tui.screens.forms import LinesScreen, TrainForm
from agent.home import know, last_suite, past, suite_run
from agent.runs import Recorder, Run, list_runs, new_run, runs_folder
from agent.settings import Settings
from agent.suite import look

SMALL, LARGE = (80, 24), (120, 40)
ONE, TWO = (
    ev.FailingTest(f"test_calc.py::test_{name}", "AssertionError", f"assert {got} == {want}", "calc.py", line, got, want)
    for name, got, want, line in (("one", "1", "2", 3), ("two", "3", "4", 9))
)  # fmt: skip
LAST = "20260102-150405-abcd"


def suites() -> dict[str, Suite]:
    now = time.time()
    return {
        "unknown": Suite(),
        "red": Suite(now - 250, f"run {LAST}", 38, (ONE, TWO)),
        "green": Suite(now - 3, "", 40),
        "broken": Suite(now - 60, "", message="the module 'numpy' is not installed for /usr/bin/python3",
                        hint="/usr/bin/python3 -m pip install numpy"),
    }  # fmt: skip


def home(suite: str) -> Home:
    now = time.time()
    runs = (
        PastRun(LAST, now - 250, "fixed", "fixed: 2 failing tests turned green, 31 candidates in 4.2 s", "found"),
        PastRun("20260102-120000-0002", now - 7300, "fixed", "fixed: 1 failing test turned green", "applied"),
        PastRun("20260101-120000-0001", now - 200_000, "not_fixed", "no fix found: 600 s are over"),
    )  # fmt: skip
    known = suite != "unknown"
    return Home(
        "/home/me/shop",
        "Python 3.12.4 (.venv)",
        "2 uncommitted files",
        suites()[suite],
        runs if known else (),
    )


class World:
    """What home is given, in the hands of a test."""

    def __init__(self, suite: str = "red") -> None:
        self.home: Home | Exception = home(suite)
        self.events: queue.Queue[ev.Event | None] = queue.Queue()
        self.stops = 0
        self.undone: list[str] = []

    def know(self) -> Home:
        if isinstance(self.home, Exception):
            raise self.home
        return self.home

    def suite(self) -> Iterator[ev.Event]:
        while (event := self.events.get(timeout=60)) is not None:
            yield event

    def stop(self) -> None:
        self.stops += 1
        self.events.put(None)

    def undo(self, run: str) -> str:
        self.undone.append(run)
        return "undone: calc.py"

    def app(self, **changes: Any) -> HomeApp:
        given: dict[str, Any] = {
            "know": self.know, "suite": self.suite, "stop": self.stop, "undo": self.undo,
            "checks": lambda: iter(["ok    trm-agent        0.1", "ERROR weights          cut short"]),
        }  # fmt: skip
        return HomeApp(**{**given, **changes})


async def known(pilot: Any, app: HomeApp, eyes: Any) -> None:
    screen = app.home_screen
    await eyes.until(pilot, lambda: screen.home is not None or screen.problem)
    await eyes.until(pilot, lambda: "Quit" in eyes.rows(app)[-1])


# -- what it looks like


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("suite", ["unknown", "red", "green", "broken"])
async def test_home_is_the_golden_one(
    eyes: Any, suite: str, size: tuple[int, int], theme: str
) -> None:
    app = World(suite).app(theme=theme)
    async with app.run_test(size=size) as pilot:
        await known(pilot, app, eyes)
        eyes.same(app, f"home_{suite}_{size[0]}x{size[1]}_{theme}")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(
    ("key", "name"), [("n", "train"), ("d", "doctor"), ("question_mark", "help")]
)
async def test_the_windows_over_home_are_the_golden_ones(
    eyes: Any, key: str, name: str, size: tuple[int, int], theme: str
) -> None:
    app = World().app(theme=theme)
    async with app.run_test(size=size) as pilot:
        await known(pilot, app, eyes)
        await pilot.press(key)
        await eyes.until(pilot, lambda: app.screen.is_modal)
        if name == "doctor":
            await eyes.until(pilot, lambda: any("escape closes" in row for row in eyes.rows(app)))
        await eyes.still(pilot, app)
        eyes.same(app, f"home_{name}_{size[0]}x{size[1]}_{theme}")


async def test_the_mark_is_seen_without_colours(eyes: Any) -> None:
    app = World().app(theme="ansi")
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        assert any("▸ ✗ test_one" in row for row in eyes.rows(app))
        await pilot.press("down")
        await pilot.pause(0.1)
        shown = eyes.rows(app)
    assert any("▸ ✗ test_two" in row for row in shown)
    assert any("  ✗ test_one" in row for row in shown)


# -- the keys


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        (["f"], ("fix", "/home/me/shop", "--theme", "dark")),
        (["enter"], ("fix", "/home/me/shop", "--theme", "dark", "--", f"--deselect={TWO.nodeid}")),
        (["down", "enter"], ("fix", "/home/me/shop", "--theme", "dark", "--", f"--deselect={ONE.nodeid}")),
        (["b"], ("bisect", "/home/me/shop", "--theme", "dark")),
        (["p"], ("replay", LAST, "--theme", "dark")),
        (["tab", "down", "enter"], ("replay", "20260102-120000-0002", "--theme", "dark")),
        (["t", "p"], ("replay", LAST, "--theme", "light")),
        (["q"], ()),
        (["ctrl+c"], ()),
    ],
)  # fmt: skip
async def test_a_key_chooses_a_command(
    eyes: Any, keys: list[str], command: tuple[str, ...]
) -> None:
    app = World().app()
    async with app.run_test(size=LARGE) as pilot:
        await known(pilot, app, eyes)
        await pilot.press(*keys)
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert app.return_value == command


async def test_undo_takes_the_newest_applied_patch_back_and_looks_again(eyes: Any) -> None:
    world = World()
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        assert "Undo" in eyes.rows(app)[-1]
        world.home = home("unknown")
        await pilot.press("u")
        await eyes.until(pilot, lambda: any("undone: calc.py" in row for row in eyes.rows(app)))
        await eyes.until(pilot, lambda: "Undo" not in eyes.rows(app)[-1])
    assert world.undone == ["20260102-120000-0002"]


async def test_what_goes_wrong_is_said_and_home_stays(eyes: Any) -> None:
    class Changed(Exception):
        hint = "undo your changes first"

    def refuse(run: str) -> str:
        raise Changed("calc.py changed since")

    app = World().app(undo=refuse)
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        await pilot.press("u")
        said = "✗ calc.py changed since · hint: undo your changes first"
        await eyes.until(pilot, lambda: any(said in row for row in eyes.rows(app)))
        assert app.return_value is None


async def test_a_folder_without_a_project_says_so_and_offers_what_still_works(eyes: Any) -> None:
    world = World()
    world.home = ValueError("no such folder")
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        assert any("✗ no such folder" in row for row in eyes.rows(app))
        await pilot.press("f", "r", "b", "p", "u")
        assert app.return_value is None
        await pilot.press("d")
        await eyes.until(pilot, lambda: isinstance(app.screen, LinesScreen))


async def test_r_runs_the_tests_with_progress_and_then_shows_them(eyes: Any) -> None:
    world = World("green")
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        await pilot.press("r")
        world.events.put(ev.SuiteProgress("suite", 3, 12))
        await eyes.until(
            pilot, lambda: any("Running the tests · 3 of 12" in row for row in eyes.rows(app))
        )
        await pilot.press("f")  # not while the tests run
        assert app.return_value is None
        for event in (
            ev.SuiteRan(11, 1, 0, 0, 2.0),
            ONE,
            ev.Finished("not_fixed", 1, "1 failing"),
            None,
        ):
            world.events.put(event)
        await eyes.until(pilot, lambda: any("1 of 12 tests fail" in row for row in eyes.rows(app)))
        assert any("✗ test_one" in row for row in eyes.rows(app))
        await pilot.press("enter")
    assert app.return_value == ("fix", "/home/me/shop", "--theme", "dark")


async def test_ctrl_c_stops_the_tests_and_what_was_known_stays(eyes: Any) -> None:
    world = World("red")
    app = world.app()
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        await pilot.press("r", "ctrl+c")
        await eyes.until(pilot, lambda: any("Stopped" in row for row in eyes.rows(app)))
        assert world.stops == 1 and app.return_value is None
        assert any("2 of 40 tests fail" in row for row in eyes.rows(app))


async def test_the_form_of_a_training_takes_a_corpus_only(eyes: Any, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    app = World().app()
    async with app.run_test(size=SMALL) as pilot:
        await known(pilot, app, eyes)
        await pilot.press("n")
        await eyes.until(pilot, lambda: isinstance(app.screen, TrainForm))
        form = app.screen
        form.query_one("#data").value = str(corpus)  # type: ignore[attr-defined]
        form.query_one("#out").value = str(out)  # type: ignore[attr-defined]
        await pilot.press("enter", "enter")
        await eyes.until(pilot, lambda: any("holds no corpus" in row for row in eyes.rows(app)))
        (corpus / "vocab.json").write_text("{}")
        await pilot.press("enter", "enter")
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert app.return_value == (
        "train",
        "--data",
        str(corpus),
        "--out",
        str(out),
        "--theme",
        "dark",
    )


async def test_the_palette_has_every_key_that_works_now(eyes: Any) -> None:
    app = World("unknown").app()
    async with app.run_test(size=LARGE) as pilot:
        await known(pilot, app, eyes)
        names = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Fix all", "Run tests", "Bisect", "Train", "Doctor", "Help", "Quit"} <= names
        assert not names & {"Undo", "Replay", "Fix marked", "Focus Next"}
        await pilot.press("ctrl+p", *"fix all")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await eyes.until(pilot, lambda: app.return_value is not None)
    assert app.return_value == ("fix", "/home/me/shop", "--theme", "dark")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "just now"), (61, "1 min ago"), (3700, "1 h ago"), (170_000, "47 h ago"), (200_000, "2 days ago")],
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert ago(seconds) == text


# -- what is known, from real files


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in list(os.environ):
        if name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("")
    (root / "calc.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 4\n")
    (root / "test_calc.py").write_text(
        "import calc\n\ndef test_one():\n    assert calc.one() == 2\n\ndef test_two():\n    assert calc.two() == 4\n"
    )
    return root


def recorded(project: Path, *events: ev.Event, arguments: tuple[str, ...] = ()) -> Run:
    run = new_run()
    recorder = Recorder(run)
    recorder.write(
        ev.Started(1, run.id, str(project), "python", "why", "3.11", arguments, "trm", "")
    )
    for event in events:
        recorder.write(event)
    recorder.close()
    return run


def found(project: Path, new: str, *green: str) -> ev.PatchFound:
    old = (project / "calc.py").read_bytes()
    return ev.PatchFound(make_diff(project, {"calc.py": (old, new.encode())}), ("calc.py",), green, 1, 1.0, "pytest")  # fmt: skip


def age(run: Run, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(run.folder / "events.jsonl", (at, at))


def test_nothing_is_known_of_a_project_that_was_never_run(project: Path) -> None:
    found = know(project, Settings())
    assert found.root == str(project) and found.runs == () and found.suite.state == "unknown"
    assert not runs_folder().exists()  # looking writes nothing


def test_the_last_run_tells_of_the_suite_and_an_applied_patch_counts_until_undone(
    project: Path,
) -> None:
    patch = found(project, "def one():\n    return 2\n", ONE.nodeid)
    run = recorded(project, ev.SuiteRan(1, 1, 0, 0, 0.1), ONE, patch, ev.Finished("fixed", 0, "fixed: 1 test"))  # fmt: skip
    age(run, 100)
    assert know(project, Settings()).suite.tests == (ONE,)
    assert past(run).patch == "found"
    apply_diff(project, patch.diff, run.folder)
    after = know(project, Settings())
    assert after.suite.state == "green" and after.suite.passed == 2
    assert after.last_applied == past(run) and past(run).patch == "applied"
    undo(run.folder)
    again = know(project, Settings())
    assert again.suite.tests == (ONE,) and again.last_applied is None
    assert again.runs[0].patch == "undone"


def test_what_is_undone_after_the_suite_was_seen_green_fails_again(project: Path) -> None:
    patch = found(project, "def one():\n    return 2\n", ONE.nodeid)
    run = recorded(
        project, ev.SuiteRan(1, 1, 0, 0, 0.1), ONE, patch, ev.Finished("fixed", 0, "fixed")
    )
    age(run, 100)
    apply_diff(project, patch.diff, run.folder)
    looked = suite_run(project)
    looked.folder.mkdir(parents=True)
    recorder = Recorder(looked)
    started = ev.Started(1, "", str(project), "python", "why", "3.11", (), "", "")
    for event in (started, ev.SuiteRan(2, 0, 0, 0, 0.1), ev.Finished("green", 0, "all")):
        recorder.write(event)
    recorder.close()
    age(looked, 1)
    assert know(project, Settings()).suite.state == "green"
    undo(run.folder)
    suite = know(project, Settings()).suite
    assert suite.tests == (ONE,) and suite.passed == 1


def test_a_run_on_a_part_of_the_suite_says_nothing_of_the_whole(project: Path) -> None:
    whole = recorded(project, ev.SuiteRan(0, 2, 0, 0, 0.1), ONE, TWO, ev.Finished("not_fixed", 1, "no"))  # fmt: skip
    recorded(project, ev.SuiteRan(1, 0, 0, 0, 0.1), ev.Finished("green", 0, "all"), arguments=("-k", "one"))  # fmt: skip
    suite = last_suite(list_runs(), suite_run(project), ())
    assert suite.tests == (ONE, TWO) and suite.source == f"run {whole.id}"


def test_runs_of_other_projects_and_damaged_ones_do_no_harm(project: Path, tmp_path: Path) -> None:
    recorded(tmp_path, ev.SuiteRan(0, 1, 0, 0, 0.1), ONE, ev.Finished("not_fixed", 1, "no"))
    broken = recorded(project, ev.SuiteRan(1, 0, 0, 0, 0.1))
    with (broken.folder / "events.jsonl").open("a") as stream:
        stream.write('{"event":"Finished","nonsense":1}\n')
    empty = new_run()
    known = know(project, Settings())
    assert [run.id for run in known.runs] == [broken.id]
    assert known.runs[0].status == "damaged" and known.suite.state == "unknown"
    assert not (empty.folder / "events.jsonl").exists()


def test_a_look_at_the_suite_runs_it_once_and_repairs_nothing(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.glob("*.*")}
    events = list(look(project))
    assert isinstance(events[0], ev.Started) and isinstance(events[-1], ev.Finished)
    (ran,) = [event for event in events if isinstance(event, ev.SuiteRan)]
    (failing,) = [event for event in events if isinstance(event, ev.FailingTest)]
    assert (ran.passed, ran.failed) == (1, 1) and failing.nodeid == ONE.nodeid
    assert (events[-1].status, events[-1].exit_code) == ("not_fixed", 1)
    assert not [event for event in events if isinstance(event, (ev.CandidateTried, ev.PatchFound))]
    assert {path: path.read_bytes() for path in before} == before
