"""What every app of ours has: the three themes, the mouse that can be released, help, and a palette of all keys."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterable
from functools import partial
from typing import ClassVar, TypeVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from agent.faces.hangup import let_go
from agent.faces.tui.screens.help import HelpScreen, Page
from agent.faces.tui.themes import ANSI, DARK, LIGHT, THEMES, VARIABLES

Result = TypeVar("Result")
# Moving the focus and the like is no command.
_TEXTUALS = frozenset(Binding.make_bindings(Screen.BINDINGS))


class BaseApp(App[Result]):
    """Subclasses say how messages are shown (`say`), what `?` explains (`PAGE`), and how the app is left."""

    CSS_PATH = "styles.tcss"
    TITLE = "trm-agent"
    ENABLE_COMMAND_PALETTE = True
    PAGE: ClassVar[Page]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "next_theme", "Theme: dark, light, ANSI", show=False),
        Binding("m", "mouse", "Mouse to the terminal and back", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "cancel", "Cancel", show=False, priority=True),
        # Textual's own quit key would leave a running search behind.
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, theme: str = "dark") -> None:
        if theme not in THEMES:
            raise ValueError(f"unknown theme {theme!r}: choose {', '.join(THEMES)}")
        super().__init__()
        for known in (DARK, LIGHT, ANSI):
            self.register_theme(known)
        self.theme = THEMES[theme]
        self._mouse_on = True

    def say(self, message: str) -> None:
        """Show the user one line; '' takes it away."""
        raise NotImplementedError

    @property
    def theme_name(self) -> str:
        """The theme as the command line calls it; dark for one of Textual's own."""
        names = {ours: name for name, ours in THEMES.items()}
        return names.get(self.theme, "dark")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLES

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every key that works now, by its name. Textual's own commands would offer a second way to each."""
        seen: set[str] = set()
        for found in screen.active_bindings.values():
            binding = found.binding
            name = binding.description
            ours = found.node is self or binding not in _TEXTUALS
            if not name or name in seen or not found.enabled or not ours or binding.system:
                continue
            seen.add(name)
            key = self.get_key_display(binding)
            run = partial(self.run_action, binding.action, found.node)
            yield SystemCommand(name, f"key {key}", run)

    def action_next_theme(self) -> None:
        names = list(THEMES.values())
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    def action_mouse(self) -> None:
        """Give the mouse to the terminal (to select text) and take it back. Textual has no public call for it."""
        self._mouse_on = not self._mouse_on
        name = "_enable_mouse_support" if self._mouse_on else "_disable_mouse_support"
        switch = getattr(self._driver, name, None)
        if switch is not None:
            switch()
        self.say("" if self._mouse_on else "The mouse is the terminal's now; m takes it back.")

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.PAGE))


def told(error: BaseException) -> str:
    """An error in one line, with its hint if it has one."""
    hint = getattr(error, "hint", "")
    return f"✗ {error}" + (f" · hint: {hint}" if hint else "")


def run_app(app: BaseApp[Result], mouse: bool = True) -> Result:
    """Run an app until it is left.

    Raises:
      KeyboardInterrupt: SIGTERM came, and the terminal is as before; or it was closed.
      RuntimeError: Textual itself failed and has printed why.
    """
    ended = False
    gc.freeze()  # modules stay as they are: the collector need not go through them while a key waits

    def end(number: int, _: object) -> None:
        nonlocal ended
        ended = True
        if number != signal.SIGTERM:  # the terminal was closed
            # Its end comes with a SIGCONT, at which Textual would start to draw, and to read, anew.
            signal.signal(signal.SIGCONT, lambda *_: None)
            let_go()
        signal.raise_signal(signal.SIGINT)  # asyncio's own way out, which restores the terminal

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        result = app.run(mouse=mouse)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if result is None:
        if ended:
            raise KeyboardInterrupt
        raise RuntimeError("the terminal app ended without a result; --no-tui does without it")
    return result
