"""A window to change the suspect code by hand. Nothing is written: the text goes to be run against the tests."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from agent.events import Suspect


class EditScreen(ModalScreen["str | None"]):
    """Gives the new text of the suspect, or None. cursor: the line of the file to begin at; text: an earlier attempt."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", priority=True),
        Binding("ctrl+r", "try", "Run the tests on it", priority=True),
    ]

    def __init__(self, suspect: Suspect, cursor: int, text: str | None = None) -> None:
        super().__init__()
        self._suspect, self._cursor = suspect, cursor
        self._text = suspect.source if text is None else text

    def compose(self) -> ComposeResult:
        with Vertical(id="by-hand", classes="window") as box:
            box.border_title = f"Change by hand · {self._suspect.path} · {self._suspect.name}"
            box.border_subtitle = "ctrl+r: run the tests on it · escape: back"
            area = TextArea(self._text, id="area", tab_behavior="indent", show_line_numbers=True)
            area.line_number_start = self._suspect.first_line
            yield area
            yield Static(
                "Nothing is written to your files; every test is run with this text in place.",
                classes="quiet",
            )

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor((max(0, self._cursor - self._suspect.first_line), 0))
        area.focus()

    def action_try(self) -> None:
        self.dismiss(self.query_one(TextArea).text)
