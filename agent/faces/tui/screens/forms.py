"""Small windows over a screen: the form of a training, and lines that come in one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agent.faces.tui.widgets.panel import styled


class TrainForm(ModalScreen["tuple[str, str] | None"]):
    """Asks for the two folders of a training; gives (data, out), or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Back")]

    def compose(self) -> ComposeResult:
        with Vertical(id="form", classes="window") as box:
            box.border_title = "Train the model"
            box.border_subtitle = "enter: next, then start · escape: back"
            yield Static(
                "The network learns from a corpus of broken functions, which trm-agent data build makes. "
                "What it learned is saved now and then; the same two folders go on from there.",
                classes="text",
            )
            yield Static("Folder of the corpus (--data)", classes="name")
            yield Input(placeholder="corpus", id="data")
            yield Static("Folder for states, weights and metrics (--out)", classes="name")
            yield Input(placeholder="training", id="out")
            yield Static("", id="wrong")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        data, out = (self.query_one(f"#{name}", Input) for name in ("data", "out"))
        wrong = ""
        if event.input is data:
            out.focus()
        elif not out.value.strip():
            wrong = "Where shall it be saved?"
        elif not (Path(data.value.strip()).expanduser() / "vocab.json").is_file():
            wrong = "That folder holds no corpus: trm-agent data build makes one."
            data.focus()
        else:
            folders = (Path(field.value.strip()).expanduser() for field in (data, out))
            self.dismiss((str(next(folders)), str(next(folders))))
        self.query_one("#wrong", Static).update(styled((wrong, "$error")))


class LinesScreen(ModalScreen[None]):
    """Lines of text as they come, from an iterator that may block."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "Close"),
    ]

    def __init__(self, title: str, lines: Callable[[], Iterator[str]]) -> None:
        super().__init__()
        self._heading, self._lines = title, lines

    def compose(self) -> ComposeResult:
        box = VerticalScroll(id="lines", classes="window")
        box.border_title, box.border_subtitle = self._heading, "looking …"
        yield box

    def on_mount(self) -> None:
        self.run_worker(self._read, thread=True)

    def _read(self) -> None:
        lines = self._lines()
        for line in lines:
            if not self.is_attached:
                break
            self.app.call_from_thread(self._add, line)
        getattr(lines, "close", lambda: None)()
        if self.is_attached:
            self.app.call_from_thread(self._end)

    def _add(self, line: str) -> None:
        if self.is_attached:
            self.query_one("#lines").mount(Static(_marked(line), classes="line"))

    def _end(self) -> None:
        if self.is_attached:
            self.query_one("#lines").border_subtitle = "escape closes · ↑ ↓ scroll"


def _marked(line: str) -> Content:
    """A line of `trm-agent doctor` with its verdict as a coloured sign."""
    for word, sign, style in (
        ("ok   ", "✓", "$success"),
        ("warn ", "!", "$warning"),
        ("ERROR", "✗", "$error"),
    ):
        if line.startswith(word):
            name, _, text = line[6:].partition("  ")
            return styled((f"{sign} ", f"bold {style}"), (f"{name:<17}", "bold"), text.strip())
    return Content(line)
