"""The base of all panels: a titled list of lines, rendered one at a time, scrollable, never wrapped and never cut without '…'."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events as textual_events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from agent.faces.tui.state import RunState

CACHED_STRIPS = 1000


class LinePanel(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows one slice of a `RunState` (or of another state, whose empty one `EMPTY` makes).

    Subclasses say what the slice is (`slice_of`, compared by equality: an equal slice is not drawn again) and turn it into
    lines (`lines`). `draws` counts the redraws, for tests.
    """

    EMPTY: ClassVar[type[Any]] = RunState
    BORDER = ""
    LEGEND = ""
    """What the signs mean, in the lower border where there is room."""
    ALLOW_MAXIMIZE = True
    GROWS = False
    # Left, right, home and end move through the run, not through a panel.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", show=False),
        Binding("down", "scroll_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
    ]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state: Any = self.EMPTY()
        self.draws = 0
        self._slice: Hashable = None
        self._lines: Sequence[Content] = ()
        self._width = 0
        self._title = ""
        self._strips: dict[Hashable, Strip] = {}

    # -- what subclasses define

    def slice_of(self, state: Any) -> Hashable:
        """The part of the state shown here."""
        raise NotImplementedError

    def lines(self, state: Any, width: int, height: int) -> Sequence[Content]:
        """The lines to show at this content size (cells)."""
        raise NotImplementedError

    def title(self, state: Any) -> str:
        """Text in the border."""
        del state
        return self.BORDER

    def after_rebuild(self) -> None:
        """Called after the lines changed (to scroll somewhere)."""

    # -- what screens call

    def show(self, state: Any) -> None:
        """Show this state; draws only if the slice changed."""
        self.state = state
        new = self.slice_of(state)
        if new == self._slice:
            return
        self._slice = new
        self.rebuild()

    def rebuild(self) -> None:
        """Make the lines again and draw."""
        width, height = self._space()
        self._width = width
        title = framed_title(self, self.title(self.state))
        if title.plain != self._title:
            self._title, self.border_title = title.plain, title
        if self.LEGEND:
            self.border_subtitle = self.LEGEND if width > len(self.LEGEND) else ""
        if width <= 0:
            return
        before = len(self._lines)
        self._lines = self.lines(self.state, width, height)
        self.draws += 1
        rows = len(self._lines)
        if self.GROWS and rows > 2 * height > 0:
            # Each change of the virtual size lays out the whole screen: let a growing list grow in leaps.
            rows = -(-rows // 32) * 32
        self.virtual_size = Size(width, rows)
        if len(self._lines) != before and self.styles.auto_dimensions:
            self.refresh(layout=True)
        else:
            self.refresh()
        self.after_rebuild()
        # here, where a screen can stop between two panels: it paints all of them in one turn
        for y in range(height):
            self.render_line(y)

    def restyle(self) -> None:
        """Draw with the colours of a new theme."""
        self._strips.clear()
        self.rebuild()

    def _space(self) -> tuple[int, int]:
        region = self.scrollable_content_region
        return region.width, region.height

    def room(self) -> int:
        """Lines that fit at most, for panels whose height follows their lines."""
        limit = self.styles.max_height
        if limit is None or self.has_class("-maximized"):
            return self.scrollable_content_region.height or 1000
        return int(limit.value) - self.gutter.height

    def on_resize(self, event: textual_events.Resize) -> None:
        del event
        self.rebuild()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        del container, viewport
        # Measuring must not touch what is drawn: this width may still include the scrollbar's.
        return len(self.lines(self.state, width, 0)) if width > 0 else 0

    def render_line(self, y: int) -> Strip:
        index = self.scroll_offset.y + y
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            self._lines = self.lines(self.state, width, self.scrollable_content_region.height)
        style = self.visual_style
        if index >= len(self._lines):
            return Strip.blank(width, style.rich_style)
        line = fit(self._lines[index], width)
        # Most lines of a new drawing are those of the last one, at another place.
        key = (line.plain, tuple(line.spans), width, style)
        if (strip := self._strips.get(key)) is None:
            strips = Visual.to_strips(self, line, width, 1, style, pad=True)
            strip = strips[0] if strips else Strip.blank(width, style.rich_style)
            if len(self._strips) >= CACHED_STRIPS:
                self._strips.clear()
            self._strips[key] = strip
        return strip


def framed_title(widget: Widget, title: str) -> Content:
    """A border title with a space at both ends; Textual adds them only where there are corners."""
    bare = widget.styles.border_left[0] in ("", "none", "hidden")
    return Content(f" {title} " if bare and title else title)


# -- lines


def fit(line: Content, width: int) -> Content:
    """The line in at most `width` cells; what does not fit is replaced by '…'."""
    return line if line.cell_length <= width else line.truncate(width, ellipsis=True)


def cut(text: str, width: int, *, left: bool = False) -> str:
    """Plain text in at most `width` cells, with '…' at the end (or at the start, for paths)."""
    text = text.replace("\t", "    ").replace("\n", "↵")
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    if left:
        while text and cell_len(text) > width - 1:
            text = text[1:]
        return "…" + text
    return set_cell_size(text, width - 1).rstrip() + "…"


def pad(text: str, width: int) -> str:
    """Plain text in exactly `width` cells."""
    return set_cell_size(cut(text, width), width)


def styled(*parts: str | tuple[str, str] | Content) -> Content:
    """One line of text, (text, style) and Content parts; markup in the text is never read."""
    return Content.assemble(*(Content(p) if isinstance(p, str) else p for p in parts))


def ends(left: Content, right: Content, width: int) -> Content:
    """`left` at the left edge and `right` at the right edge; `left` gives way."""
    room = width - right.cell_length - 2
    if room < 4:
        return fit(left, width)
    left = fit(left, room)
    return Content.assemble(left, " " * (width - left.cell_length - right.cell_length), right)


def bar(share: float, width: int) -> tuple[str, str]:
    """Filled and empty part of a bar `width` cells wide."""
    filled = round(max(0.0, min(1.0, share)) * width)
    return "━" * filled, "╌" * (width - filled)


SPARKS = "▁▂▃▄▅▆▇█"


def spark(value: float) -> str:
    """One cell for a value in [0, 1]."""
    return SPARKS[max(0, min(7, round(value * 7)))]


def percent(value: float) -> str:
    """' 7%', '99%', '100%': at least three cells."""
    return f"{value * 100:3.0f}%"


def clock(seconds: float) -> str:
    """'0:07', '12:40', '1:02:03'."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}"
