"""Colours and signs. Every meaning has a sign too, so that nothing depends on colour."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pygments.token import Token
from textual.highlight import HighlightTheme
from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="trm-dark",
    dark=True,
    background="#0e1116",
    surface="#0e1116",
    panel="#1b212b",
    foreground="#d3dae3",
    primary="#6cb6ff",
    secondary="#8ddbdb",
    accent="#f0b457",
    success="#7bd88f",
    warning="#f0b457",
    error="#ff7b82",
    variables={"muted": "#7d8896", "line": "#2d3541", "heat": "#e5883a", "bit": "#6cb6ff"},
)
LIGHT = Theme(
    name="trm-light",
    dark=False,
    background="#fbfbfa",
    surface="#fbfbfa",
    panel="#eceef1",
    foreground="#22272e",
    primary="#1f5fbf",
    secondary="#0f6e6e",
    accent="#9a5b00",
    success="#17723a",
    warning="#9a5b00",
    error="#c0262d",
    variables={"muted": "#626b76", "line": "#d0d5db", "heat": "#f2a33c", "bit": "#1f5fbf"},
)
# The terminal's own sixteen colours, on its own background, light or dark.
ANSI = replace(BUILTIN_THEMES["ansi-dark"], name="trm-ansi", accent="ansi_magenta")
# Values for every theme that does not bring its own, Textual's ANSI themes among them.
VARIABLES = {
    "muted": "ansi_bright_black",
    "line": "ansi_bright_black",
    "heat": "ansi_yellow",
    "bit": "ansi_blue",
}

THEMES = {"dark": "trm-dark", "light": "trm-light", "ansi": "trm-ansi"}
"""Names that the command line takes, and the app's own theme names."""

OUTCOMES: dict[str, tuple[str, str]] = {
    "passed": ("✓", "$success"),
    "failed": ("✗", "$error"),
    "error": ("!", "$warning"),
    "timeout": ("∞", "$warning"),
    "crashed": ("†", "$warning"),
    "skipped": ("–", "$muted"),
}
"""Sign and style of a tools.runner outcome; anything else is shown with '·'."""


def outcome(name: str) -> tuple[str, str]:
    """Sign and style of an outcome."""
    return OUTCOMES.get(name, ("·", "$muted"))


class PythonHighlight(HighlightTheme):
    """Few colours: keywords, literals, definitions; the heat must stay the loudest thing in the code."""

    STYLES: ClassVar[dict[tuple[str, ...], str]] = {
        Token.Comment: "$muted italic",
        Token.Keyword: "$primary",
        Token.Keyword.Constant: "$secondary",
        Token.Literal.Number: "$secondary",
        Token.Literal.String: "$success",
        Token.Literal.String.Doc: "$muted italic",
        Token.Name.Function: "bold",
        Token.Name.Class: "bold",
        Token.Name.Decorator: "$secondary",
        Token.Operator.Word: "$primary",
    }
