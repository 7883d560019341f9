"""The terminal app of `trm-agent` without a command: home.

    command, theme = run_home_app(know=..., suite=..., stop=..., undo=..., checks=...)

gives the command line that was chosen, () for leaving, and the theme. The callables run in threads: `know()` gives a `Home`,
`suite()` is a (blocking) iterator of the events of one run of the tests, which `stop()` asks to end; `undo(run)` takes a run's
patch back and gives one line; `checks()` are the lines of doctor. What they raise is shown. Nothing here writes a file.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

from textual.widgets import OptionList

from agent.events import Event
from agent.faces.tui.base import run_app, told
from agent.faces.tui.home import Home, SuiteWatch
from agent.faces.tui.live import FeedApp
from agent.faces.tui.screens.forms import LinesScreen, TrainForm
from agent.faces.tui.screens.help import HOME
from agent.faces.tui.screens.home import HomeScreen

Command = tuple[str, ...]


class HomeApp(FeedApp[Command, Event]):
    """Keys into a command line, or into one of the callables."""

    PAGE = HOME

    def __init__(
        self,
        *,
        know: Callable[[], Home],
        suite: Callable[[], Iterator[Event]],
        stop: Callable[[], object],
        undo: Callable[[str], str],
        checks: Callable[[], Iterator[str]],
        theme: str = "dark",
    ) -> None:
        super().__init__(theme)
        self._know, self._suite, self._stop = know, suite, stop
        self._undo, self._checks = undo, checks
        self.home_screen = HomeScreen()
        self._busy = False

    def on_mount(self) -> None:
        self.push_screen(self.home_screen)
        self._look()

    def say(self, message: str) -> None:
        self.home_screen.say(message)

    # -- what is known

    def _look(self) -> None:
        self.run_worker(self._looked, thread=True, group="look")

    def _looked(self) -> None:
        try:
            home = self._know()
        except Exception as error:  # whatever it is, the user sees it
            self.call_from_thread(self._known, None, told(error).removeprefix("✗ "))
        else:
            self.call_from_thread(self._known, home, "")

    def _known(self, home: Home | None, problem: str) -> None:
        self.home_screen.home = home or self.home_screen.home
        self.home_screen.problem = problem
        self.home_screen.show()

    # -- the suite

    def took(self, item: Event) -> None:
        if self.home_screen.watched is not None:
            self.home_screen.watched.apply(item)

    def drew(self) -> None:
        self.home_screen.show_progress()

    def ended(self) -> None:
        feed, watch, home = self.feed, self.home_screen.watched, self.home_screen.home
        if feed is None or watch is None or home is None:
            return
        self.feed = self.home_screen.watched = None
        suite = watch.result(time.time(), "")
        message = told(feed.error) if feed.error else ""
        if suite is not None:
            self.home_screen.home = dataclasses.replace(home, suite=suite)
        elif not message:
            message = "Stopped: nothing is known anew."
        self.say(message)
        self.home_screen.show()

    def _run_tests(self) -> None:
        if self.feed is not None:
            self._stop()
            self.say("Stopping after the test that is running …")
            return
        self.home_screen.watched = SuiteWatch()
        self.follow(self._suite())
        self.home_screen.show()
        self.say("")

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action != "deed":
            return True
        home = self.home_screen.home
        if parameters[0] in ("Train", "Doctor"):
            return True
        if home is None or not self.home_screen.is_mounted:
            return False
        if parameters[0] == "Run tests":
            return True
        if self.feed is not None:
            return False
        return {
            "Fix marked": self.home_screen.marked_test is not None,
            "Undo": home.last_applied is not None and not self._busy,
            "Replay": bool(home.runs),
        }.get(str(parameters[0]), True)

    def action_deed(self, name: str) -> None:
        home = self.home_screen.home
        if name == "Doctor":
            self.push_screen(LinesScreen("Doctor: what works on this machine", self._checks))
        elif name == "Train":
            self.push_screen(TrainForm(), self._train)
        elif home is None:
            return
        elif name == "Run tests":
            self._run_tests()
        elif name == "Undo" and home.last_applied:
            self._busy = True
            run = home.last_applied.id
            self.run_worker(lambda: self._undone(run), thread=True, group="undo")
        else:
            self._choose(name, home)

    def _choose(self, name: str, home: Home) -> None:
        """Leave with a command line."""
        theme = ("--theme", self.theme_name)
        if name == "Fix all":
            self.exit(("fix", home.root, *theme))
        elif name == "Bisect":
            self.exit(("bisect", home.root, *theme))
        elif name == "Replay" and (run := self.home_screen.marked_run):
            self.exit(("replay", run.id, *theme))
        elif name == "Fix marked" and (test := self.home_screen.marked_test):
            # All other tests are run, so that none of them breaks; those that fail as well are not asked to pass.
            others = (t.nodeid for t in self.home_screen.tests if t.nodeid != test.nodeid)
            left_out = [f"--deselect={nodeid}" for nodeid in others]
            self.exit(("fix", home.root, *theme, *(("--", *left_out) if left_out else ())))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter in a list: fix the marked test, replay the marked run."""
        self.action_deed("Replay" if event.option_list.id == "runs" else "Fix marked")

    def _train(self, folders: tuple[str, str] | None) -> None:
        if folders is not None:
            self.exit(
                ("train", "--data", folders[0], "--out", folders[1], "--theme", self.theme_name)
            )

    def _undone(self, run: str) -> None:
        try:
            message = self._undo(run)
        except Exception as error:  # shown; the files are as they were
            message = told(error)
        self.call_from_thread(self._after_undo, message)

    def _after_undo(self, message: str) -> None:
        self._busy = False
        self.say(message)
        self._look()

    async def action_quit(self) -> None:
        self._leave()

    async def action_cancel(self) -> None:
        """Stop the tests; when none run: leave."""
        if self.feed is not None:
            self._run_tests()
        else:
            self._leave()

    def _leave(self) -> None:
        self.exit(())


def run_home_app(
    *,
    know: Callable[[], Home],
    suite: Callable[[], Iterator[Event]],
    stop: Callable[[], object],
    undo: Callable[[str], str],
    checks: Callable[[], Iterator[str]],
    theme: str = "dark",
) -> tuple[Command, str]:
    """Show home until a command is chosen. Gives it, () for leaving, and the theme in use.

    Raises KeyboardInterrupt after SIGTERM, and ValueError for an unknown theme.
    """
    app = HomeApp(know=know, suite=suite, stop=stop, undo=undo, checks=checks, theme=theme)
    command = run_app(app)
    if app.feed is not None:
        app.feed.abandon()
    return command, app.theme_name
