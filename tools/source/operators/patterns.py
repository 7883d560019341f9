"""Changes within regular expressions: what is optional, repeated, anchored, escaped, of which class."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator

from tools.source.operators.base import operator
from tools.source.operators.scope import Scope
from tools.source.operators.view import Change, Item, View

_STRING = re.compile(r"([rRbBuU]{0,2})(\"\"\"|'''|\"|')(.*)\2", re.DOTALL)
_FUNCTIONS = frozenset(
    {"compile", "match", "search", "fullmatch", "findall", "finditer", "sub", "subn", "split"}
)
_PIECE = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?P<\w+>|\(\?<[=!]|\(\?[:=!]|\(\?[a-zA-Z]+\)|[*+?]\??|\{\d*,?\d*\}\??|.",
    re.DOTALL,
)
_CLASSES = ("\\d", "\\w", "\\s")
_REPEATED = ("?", "*", "+")
_MOST = 200  # edits of a string
_LONGEST = 120  # signs


@operator(
    "pattern",
    "constant",
    2,
    "string",
    ("f(r'a+b')", "f(r'a*b')"),
    ("f(r'a+b')", "f(r'a+b$')"),
    ("f(r'a+b')", "f(r'a+?b')"),
    ("f(r'(a).b')", "f(r'(a)\\.b')"),
    ("re.match('[^a]b', c)", "re.match('[a]b', c)"),
    ("re.match('a\\\\d', c)", "re.match('a\\\\w', c)"),
    ("re.match('ab', c)", "re.match('ab?', c)"),
)
def pattern(view: View, scope: Scope, item: Item) -> Iterator[Change]:
    """A regular expression with one piece more, less or another."""
    match = _STRING.fullmatch(view.texts[item.start])
    if not item.load or match is None or item.end - item.start != 1:
        return
    prefix, quote, body = match.groups()
    raw = "r" in prefix.lower()
    if not body or len(body) > _LONGEST or not (raw or _is_pattern(view, item)):
        return
    written = body if raw else body.replace("\\\\", "\\")
    if not raw and written.replace("\\", "\\\\") != body:
        return  # it has escapes of another kind
    for other in _varied(written):
        text = other if raw else other.replace("\\", "\\\\")
        yield item.start, item.end, (f"{prefix}{quote}{text}{quote}",)


def _is_pattern(view: View, item: Item) -> bool:
    """Whether the string is the first argument of a function of `re`."""
    arguments = item.parent
    call = arguments.parent if arguments is not None and arguments.kind == "argument_list" else None
    if call is None or item.number or call.kind != "call":
        return False
    return view.texts[call.children[0].end - 1] in _FUNCTIONS and view.texts[call.start] in (
        "re",
        "regex",
    )


@functools.lru_cache(maxsize=256)
def _varied(body: str) -> tuple[str, ...]:
    """Regular expressions that differ from `body` in one piece."""
    pieces = _PIECE.findall(body)
    found: dict[str, None] = {}
    for ends in (f"^{body}", f"{body}$", rf"\b{body}", rf"{body}\b", rf"{body}\Z", f"(?i){body}"):
        found[ends] = None
    for at, piece in enumerate(pieces):
        before, after = "".join(pieces[:at]), "".join(pieces[at + 1 :])
        for other in _instead(piece, pieces[at + 1] if at + 1 < len(pieces) else ""):
            found[before + other + after] = None
    found.pop(body, None)
    return tuple(text for text in found if _compiles(text))[:_MOST]


def _instead(piece: str, following: str) -> Iterator[str]:
    """What a piece may be replaced by; `following`: the next one."""
    if piece[0] in "*+?{":
        yield from ("", *(other for other in _REPEATED if other != piece))
        yield piece[:-1] if len(piece) > 1 and piece[-1] == "?" else piece + "?"
        return
    if piece in ("(", ")", "|") or piece.startswith("(?"):
        if piece == "(":
            yield "(?:"
        return
    yield ""
    if piece == ".":
        yield "\\."
    elif piece == "\\.":
        yield "."
    elif piece in _CLASSES:
        yield from (other for other in _CLASSES if other != piece)
    elif piece[0] == "[" and len(piece) > 2:
        yield f"[{piece[2:]}" if piece[1] == "^" else f"[^{piece[1:]}"
        yield from (f"{piece[:-1]}{sign}]" for sign in ("_", "-", ".", "'") if sign not in piece)
    if piece not in ("^", "$", "\\b", "\\Z") and following[:1] not in ("*", "+", "?", "{"):
        yield from (piece + sign for sign in _REPEATED)


def _compiles(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError):
            return False
    return True
