"""The home screen: the suite, its failing tests, the last runs, and what can be done about them."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from agent import events as ev
from agent.faces.tui.home import Home, PastRun, SuiteWatch, ago
from agent.faces.tui.screens.base import PanelScreen
from agent.faces.tui.summary import plural
from agent.faces.tui.widgets.panel import bar, cut, ends, fit, framed_title, styled
from agent.faces.tui.widgets.pick import Pick, Row

STATUS = {
    "fixed": ("✓", "$success"),
    "green": ("✓", "$success"),
    "found": ("✓", "$success"),
    "partly_fixed": ("◐", "$warning"),
    "not_fixed": ("✗", "$error"),
    "interrupted": ("–", "$muted"),
    "unfinished": ("–", "$muted"),
}
DEEDS: tuple[tuple[str, str, str], ...] = (
    ("f", "Fix all", "a patch with which every test passes"),
    ("enter", "Fix marked", "the marked test alone; none may break"),
    ("r", "Run tests", "the whole suite once, no repair"),
    ("b", "Bisect", "which commit made it fail"),
    ("u", "Undo", "take the newest applied patch back"),
    ("p", "Replay", "watch the marked run again"),
    ("n", "Train", "train the network on a corpus"),
    ("d", "Doctor", "what works on this machine"),
)
"""Key, name and explanation of what can be done."""


class HomeScreen(PanelScreen):
    """Shows a `Home` and, while the tests run, a `SuiteWatch`. What the keys do is the app's business."""

    FOCUS = "#failing"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"app.deed('{name}')", name, key_display="⏎" if key == "enter" else key)
            for key, name, _ in DEEDS
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.home: Home | None = None
        self.watched: SuiteWatch | None = None
        self.problem = ""

    def panels(self) -> ComposeResult:
        with Vertical(id="left"):
            yield Static(id="suite", classes="frame")
            yield Pick("", id="failing", classes="frame")
            yield Static(id="detail", classes="frame")
        with Vertical(id="right"):
            yield Static(id="deeds", classes="frame")
            yield Pick("none yet: f makes the first", id="runs", classes="frame")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(30.0, self.show)  # "4 min ago" grows old

    @property
    def tests(self) -> tuple[ev.FailingTest, ...]:
        """The failing tests shown: of the run in progress, else of the last one."""
        if self.watched is not None:
            return tuple(self.watched.tests)
        return self.home.suite.tests if self.home else ()

    @property
    def marked_test(self) -> ev.FailingTest | None:
        """The test under the mark."""
        at = self.query_one("#failing", Pick).marked
        return self.tests[at] if at is not None and at < len(self.tests) else None

    @property
    def marked_run(self) -> PastRun | None:
        """The run under the mark."""
        at = self.query_one("#runs", Pick).marked
        return (
            self.home.runs[at]
            if self.home and at is not None and at < len(self.home.runs)
            else None
        )

    # -- drawing

    def draw(self) -> None:
        failing = f"Failing · {len(self.tests):,}" if self.tests else "Failing"
        for name, title in (("suite", "Tests"), ("failing", failing), ("detail", "Marked test"),
                            ("deeds", "What can be done"), ("runs", "Last runs here")):  # fmt: skip
            panel = self.query_one(f"#{name}")
            panel.border_title = framed_title(panel, title)
        self.query_one("#suite", Static).update(self._suite())
        tests = self.query_one("#failing", Pick)
        tests.empty = self._none_failing()
        tests.show([_test_row(test) for test in self.tests])
        runs = self.home.runs if self.home else ()
        self.query_one("#runs", Pick).show([_run_row(run, time.time()) for run in runs])
        self._show_deeds()
        self._show_detail()
        self.refresh_bindings()

    def show_progress(self) -> None:
        """Only what changes while the tests run."""
        self.query_one("#suite", Static).update(self._suite(), layout=False)

    def heading(self, width: int) -> tuple[Content, Content]:
        name = PurePath(self.home.root).name if self.home else "…"
        right = ""
        if self.home:
            right = "  ".join(part for part in (self.home.python, self.home.git) if part)
        left = styled(("trm-agent ", "bold $primary"), f"home · {name}")
        right = cut(right, max(0, width - left.cell_length - 4))
        return left, styled((right, "$muted"))

    def status(self, width: int) -> Content:
        return Content("")

    def _suite(self) -> Content:
        width = max(10, self.query_one("#suite").content_region.width)
        if self.problem:
            return styled(("✗ ", "bold $error"), self.problem)
        if self.home is None:
            return styled(("Looking at the project …", "$muted"))
        if self.watched is not None:
            return self._in_progress(self.watched, width)
        suite = self.home.suite
        when = f"seen {ago(time.time() - suite.seen)}"
        if suite.source and width >= 70:
            when += f", {suite.source}"
        if suite.state == "unknown":
            return styled(
                ("○ ", "bold $muted"),
                "Not run here yet: ",
                ("r", "bold $primary"),
                " runs the tests.",
            )
        if suite.state == "broken":
            first = styled(("✗ ", "bold $error"), ("The tests cannot run: ", "bold"), suite.message)
            hint = (
                styled(("hint: ", "bold $primary"), suite.hint)
                if suite.hint
                else styled((when, "$muted"))
            )
            return fit(first, width).append("\n").append(fit(hint, width))
        total = suite.passed + len(suite.tests)
        if suite.state == "green":
            first = styled(("✓ ", "bold $success"), (f"All {plural(total, 'test')} pass", "bold"))
        else:
            first = styled(
                ("✗ ", "bold $error"),
                (f"{len(suite.tests):,} of {plural(total, 'test')} fail", "bold"),
            )
        first = ends(first, styled((when, "$muted")), width)
        return first.append("\n").append(_share(suite.passed, len(suite.tests), width))

    def _in_progress(self, watch: SuiteWatch, width: int) -> Content:
        count = f"{watch.done:,} of {watch.total:,}" if watch.total else "starting"
        first = ends(
            styled(("● ", "bold $accent"), ("Running the tests", "bold"), f" · {count}"),
            styled(("r or ctrl+c stops", "$muted")),
            width,
        )
        full, empty = bar(watch.done / watch.total if watch.total else 0, width)
        return first.append("\n").append(styled((full, "$primary"), (empty, "$line")))

    def _none_failing(self) -> str:
        if self.watched is not None:
            return "none so far"
        state = self.home.suite.state if self.home else "unknown"
        return {"green": "none: there is nothing to fix", "broken": "unknown"}.get(
            state, "not known yet"
        )

    def _show_deeds(self) -> None:
        panel = self.query_one("#deeds", Static)
        width = max(10, panel.content_region.width)
        short = self.has_class("-short")
        rows: list[Content] = []
        for key, name, text in DEEDS:
            able = bool(self.app.check_action("deed", (name,)))
            style = ("bold $primary", "bold", "$muted") if able else ("$line", "$line", "$line")
            row = styled(
                (f" {'⏎' if key == 'enter' else key} ", style[0]), (f"{name:<12}", style[1])
            )
            if not short:
                row = styled(row, (text, style[2]))
            rows.append(fit(row, width))
        if short:  # two rows of four
            half = [rows[k : k + 4] for k in (0, 4)]
            rows = [styled(*part) for part in half]
        panel.update(Content("\n").join(rows))

    def _show_detail(self) -> None:
        test = self.marked_test
        panel = self.query_one("#detail", Static)
        panel.display = test is not None and not self.has_class("-short")
        if test is None:
            return
        width = max(10, panel.content_region.width)
        rows = [fit(styled((test.nodeid, "bold")), width)]
        if test.expected or test.actual:
            rows.append(fit(styled(("expected  ", "$muted"), cut(test.expected, 400)), width))
            rows.append(
                fit(styled(("got       ", "$muted"), (cut(test.actual, 400), "$error")), width)
            )
        said = f"{test.exception}: {test.message}" if test.message else test.exception
        rows += [styled((cut(line, width), "$error")) for line in said.split("\n")]
        panel.update(Content("\n").join(rows))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_list.id == "failing":
            self._show_detail()


def _share(passed: int, failed: int, width: int) -> Content:
    """Passed and failed tests as one bar; a single failing one among thousands is still seen."""
    red = 0 if not failed else max(1, round(width * failed / (passed + failed)))
    return styled(("━" * red, "$error"), ("━" * (width - red), "$success"))


def _test_row(test: ev.FailingTest) -> Row:
    def row(width: int) -> Content:
        where = f"{test.path}:{test.line}" if test.line else test.path
        name = test.nodeid.rpartition("::")[2]
        right = styled((cut(where, max(12, width // 3), left=True), "$muted"))
        return ends(
            styled(("✗ ", "$error"), (name, "bold"), ("  " + test.exception, "$error")),
            right,
            width,
        )

    return row


def _run_row(run: PastRun, now: float) -> Row:
    def row(width: int) -> Content:
        sign, style = STATUS.get(run.status, ("!", "$warning"))
        patch = {
            "applied": ("● applied", "$success"),
            "undone": ("○ undone", "$muted"),
            "found": ("○ not applied", "$muted"),
        }
        right = styled(patch[run.patch]) if run.patch else Content("")
        when = f"{ago(now - run.began):<11} "
        return ends(
            styled((f"{sign} ", f"bold {style}"), (when, "$muted"), run.message), right, width
        )

    return row
