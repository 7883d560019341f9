"""A list to choose from: one line a row, laid out anew for each width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from agent.faces.tui.widgets.panel import fit, styled

Row = Callable[[int], Content]
"""A row in so many cells."""


class Pick(OptionList, inherit_bindings=False):
    """↑ ↓ move the mark, which stays where it was when the rows change. Without rows it shows `empty`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", show=False),
        Binding("down", "cursor_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("enter", "select", show=False),
    ]

    def __init__(self, empty: str, **kwargs: Any) -> None:
        super().__init__(compact=True, markup=False, **kwargs)
        self._rows: Sequence[Row] = ()
        self._signed = 0
        self.empty = empty

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows."""
        self._rows = rows
        self._draw()

    @property
    def marked(self) -> int | None:
        """Index of the marked row, None without rows."""
        return self.highlighted if self._rows else None

    def _draw(self) -> None:
        if self.scrollable_content_region.width <= 4:
            return
        at = self.highlighted or 0
        self.clear_options()
        if not self._rows:
            self.add_option(Option(styled((self.empty, "$muted")), disabled=True))
            return
        at = min(at, len(self._rows) - 1)
        self._signed = at
        self.add_options([Option(self._line(k, k == at)) for k in range(len(self._rows))])
        self.highlighted = at

    def _line(self, index: int, marked: bool) -> Content:
        width = self.scrollable_content_region.width - 4
        return styled(
            ("▸ ", "bold $accent") if marked else "  ", fit(self._rows[index](width), width)
        )

    def watch_highlighted(self, highlighted: int | None) -> None:
        """The mark is a sign too, not only a colour."""
        super().watch_highlighted(highlighted)
        if not self._rows or highlighted is None or highlighted == self._signed:
            return
        for index, marked in ((self._signed, False), (highlighted, True)):
            if index < self.option_count:
                self.replace_option_prompt_at_index(index, self._line(index, marked))
        self._signed = highlighted

    def on_resize(self, event: Resize) -> None:
        del event
        self._draw()
