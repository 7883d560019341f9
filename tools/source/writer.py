"""Writing tokens as PEP 8 has them: blanks between tokens, lines and indentation for the layout tokens."""

from __future__ import annotations

import keyword
import re

from tools.source.leaves import DEDENT, INDENT, LAYOUT, NEWLINE, Module


class EditError(ValueError):
    """The edit does not fit the file: out of range, or it leaves the block structure unbalanced."""


_NO_SPACE_AFTER = frozenset({"(", "[", "{", ".", "~"})
_NO_SPACE_BEFORE = frozenset({")", "]", "}", ",", ":", ";"})
_SIGNS = frozenset({"-", "+", "*", "**", "~"})
OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())
QUOTES = ('"', "'", '"""', "'''")
_CONSTANTS = frozenset({"None", "True", "False", "..."})
F_STRING_START = re.compile(r"(?i:[frt]*[ft][frt]*)(\"\"\"|\'\'\'|\"|\')")
_CONTINUATION = re.compile(r"\\\r?\n")


def is_operand_end(token: str) -> bool:
    """Whether a sign after `token` is binary: it follows a name, a literal or a closing bracket."""
    if token in CLOSERS or token in _CONSTANTS:
        return True
    return (
        bool(token)
        and (token[0].isalnum() or token[0] in "_\"'.")
        and token != "."
        and not keyword.iskeyword(token.rpartition(" ")[2])  # of "not in" and "is not" too
    )


def blank_between(earlier: str, before: str, token: str, brackets: list[str]) -> str:
    """PEP 8's blank ("" or " ") between `before` and `token`, of which the first follows `earlier` on its line.

    `brackets` are those open between the two, "string_start" standing for the text of an f-string.
    """
    inner = brackets[-1] if brackets else ""
    if not before or inner == "string_start":
        return ""
    if before in _SIGNS and not is_operand_end(earlier):
        return " " if token in ("*", "**") else ""  # a unary sign
    if before == "@" and not earlier:
        return ""  # a decorator
    if before in _NO_SPACE_AFTER:
        return " " if token == "import" else ""
    if token == ".":
        return (
            " "
            if before[0].isdigit() or (keyword.iskeyword(before) and before not in _CONSTANTS)
            else ""
        )
    if (
        (token[0] == "!" and token != "!=")
        or token in _NO_SPACE_BEFORE
        or (token[0] == ":" and token != ":=")
    ):
        return ""
    if before == ":" and inner == "[":
        return ""
    if inner == "(" and "=" in (before, token):
        glued = token[0] == "=" and before[-1] in "=<>!+-*/%&|^@:"  # "= =" is not "=="
        return " " if glued else ""
    if token in ("(", "["):
        callee = is_operand_end(before) and before not in _CONSTANTS
        return "" if callee else " "
    return " "


class Writer:
    """The written text of an edit, with what is needed to write the next token.

    indents: the stack of indentation strings; brackets: those open; previous and earlier: the last two tokens on the
    line ("" if there is none); is_open: whether the line has a token.
    """

    def __init__(self, module: Module, start: int, end: int) -> None:
        leaves = module.leaves
        self.newline = module.newline
        self.unit = module.indent_unit
        before = leaves[start - 1] if start else None
        self.indents = list(
            before.indents if before else leaves[0].indents[:1] if leaves else ("",)
        )
        self.is_open = before is not None and not before.is_layout
        self.previous = before.text if before is not None and self.is_open else ""
        second = leaves[start - 2] if start >= 2 else None
        self.earlier = (
            second.text if self.is_open and second is not None and not second.is_layout else ""
        )
        self.brackets = list(module.depths[start]) if start < len(leaves) else []
        self.parts: list[str] = []
        # What the replaced leaves had between them is used again where the same two tokens meet.
        self.gaps: dict[tuple[str, str], list[str]] = {}
        self.units: list[str] = []
        for index in range(start, end):
            leaf = leaves[index]
            if leaf.kind == INDENT:
                outer = leaf.indents[-2]
                if leaf.indents[-1].startswith(outer):
                    self.units.append(leaf.indents[-1][len(outer) :])
            elif index > start and not leaves[index - 1].is_layout:
                gap = module.source[leaves[index - 1].end : leaf.start].decode()
                self.gaps.setdefault((leaves[index - 1].text, leaf.text), []).append(gap)

    def blank_before(self, token: str) -> str:
        """PEP 8's blank before `token` if it came next."""
        if token in CLOSERS:
            return ""
        return blank_between(self.earlier, self.previous, token, self.brackets)

    def _gap(self, token: str) -> str | None:
        found = self.gaps.get((self.previous, token))
        if not found:
            return None
        multiline = "\n" in found[0] or "\r" in found[0] or "#" in found[0]
        if multiline and not self.brackets and token != NEWLINE:
            return None
        return found.pop(0)

    def write(self, token: str, lead: str | None = None) -> None:
        """Append a token. `lead` is what comes before it, if that is known.

        Raises:
          EditError: layout tokens out of place.
        """
        if token in LAYOUT and self.brackets:
            raise EditError("the edit writes a line's end inside brackets")
        if token == NEWLINE:
            if not self.is_open:
                raise EditError("the edit writes an empty line")
            self.parts += [self._gap(token) or "", self.newline]
            self.is_open, self.previous, self.earlier = False, "", ""
            return
        if token in (INDENT, DEDENT):
            if self.is_open:
                raise EditError("the edit changes the indentation in the middle of a line")
            if token == DEDENT and len(self.indents) == 1:
                raise EditError("DEDENT below the first column")
            if token == INDENT:
                self.indents.append(
                    self.indents[-1] + (self.units.pop(0) if self.units else self.unit)
                )
            else:
                self.indents.pop()
            return
        if lead is None:
            if not self.is_open:
                lead = self.indents[-1]
            else:
                lead = self._gap(token)
                lead = self.blank_before(token) if lead is None else lead
        self.parts += [lead, token]
        self.is_open = True
        self.earlier, self.previous = self.previous, token
        self._nest(token)

    def _nest(self, token: str) -> None:
        inner = self.brackets[-1] if self.brackets else ""
        if token in CLOSERS:
            if self.brackets:
                self.brackets.pop()
        elif token in OPENERS:
            self.brackets.append(token)
        elif inner == "string_start" and token in QUOTES:
            self.brackets.pop()
        elif inner != "string_start" and F_STRING_START.fullmatch(token):
            self.brackets.append("string_start")

    def __str__(self) -> str:
        return "".join(self.parts)


def can_touch(before: str, token: str) -> bool:
    """Whether the two tokens stay two without a blank between them: exactly one is a word, a number or a string."""
    words = [char.isalnum() or char in "_\"'" for char in (before[-1:], token[:1])]
    return words[0] != words[1] and "." not in (before, token)


def fitted_gap(gap: str, old: str, wanted: str, before: str, token: str) -> str:
    """The file's `gap` as it should be between other tokens: `old` is PEP 8's blank for the pair that it was between.

    Where the file follows PEP 8 so does the new gap; where it is denser or wider on purpose, that is kept.
    """
    if gap == old or (not gap and not can_touch(before, token)):
        return wanted
    return gap


def is_blank(gap: str) -> bool:
    """Whether the gap has no comment: blanks and continuations only."""
    return not _CONTINUATION.sub("", gap).strip()
