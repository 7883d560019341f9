"""The edit: replace the leaves [start, end) of one file by a list of tokens.

One type covers everything a repair writes. An insertion has start == end, a deletion has no tokens, whole statements
and guards use the layout tokens, and moving a line into or out of a block is the same replacement
with the line and the INDENT or DEDENT swapped. Bytes outside the span stay as they are.
"""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass
from textwrap import dedent

from tools.source.leaves import DEDENT, INDENT, LAYOUT, NEWLINE, Module, Unit


class EditError(ValueError):
    """The edit does not fit the file: out of range, or it leaves the block structure unbalanced."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace leaves [start, end) of the file `path` (relative, POSIX) by `tokens`."""

    start: int
    end: int
    tokens: tuple[str, ...]
    path: str = ""

    @property
    def is_insertion(self) -> bool:
        """Whether nothing is removed."""
        return self.start == self.end

    @property
    def is_deletion(self) -> bool:
        """Whether nothing is written."""
        return not self.tokens


Patch = tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Splice:
    """The edit in bytes: data[start:end] becomes `text`. Exact, hence invertible."""

    start: int
    end: int
    text: bytes

    def apply(self, data: bytes) -> bytes:
        """The edited file."""
        return data[: self.start] + self.text + data[self.end :]

    def invert(self, data: bytes) -> Splice:
        """The splice that turns the edited file back into `data`, byte for byte."""
        return Splice(self.start, self.start + len(self.text), data[self.start : self.end])


_WORD = re.compile(r"\w")
_NO_SPACE_AFTER = frozenset({"(", "[", "{", ".", "~", "@"})
_NO_SPACE_BEFORE = frozenset({")", "]", "}", ",", ":", ".", ";"})
_SIGNS = frozenset({"-", "+", "*", "**", "~"})
_F_STRING_PARTS = frozenset({"string_start", "string_content", "string_end"})


def _is_operand_end(token: str) -> bool:
    """Whether a sign after `token` is binary: it follows a name, a literal or a closing bracket."""
    if token in (")", "]", "}"):
        return True
    if token in ("None", "True", "False", "..."):
        return True
    return bool(token) and (token[0].isalnum() or token[0] in "_\"'") and not keyword.iskeyword(token)


def _separator(before: str, token: str, after_sign: bool, brackets: list[str]) -> str:
    """PEP 8's blank between two inserted tokens ("" or " ").

    `after_sign` says that `before` is a unary sign, `brackets` are those open around the two tokens.
    """
    inner = brackets[-1] if brackets else ""
    if not before or after_sign:
        return ""
    if before in _NO_SPACE_AFTER:
        return " " if before == "@" and inner else ""
    if token in _NO_SPACE_BEFORE:
        return " " if token == "." and (before[0].isdigit() or before in ("import", "from")) else ""
    if before == ":" and inner == "[":
        return ""
    if inner == "(" and "=" in (before, token):
        return ""
    if token in ("(", "["):
        callee = _is_operand_end(before) and before not in ("None", "True", "False")
        return "" if callee else " "
    return " "


@dataclass(frozen=True, slots=True)
class _Writer:
    """State shared by the rendering steps of one edit."""

    module: Module
    edit: Edit

    def splice(self) -> Splice:
        module, edit = self.module, self.edit
        leaves = module.leaves
        before = leaves[edit.start - 1] if edit.start else None
        after = leaves[edit.end] if edit.end < len(leaves) else None
        self._check_balance()
        at_line_start = before is None or before.is_layout
        brackets = list(module.depths[edit.start]) if edit.start < len(leaves) else []
        indents = list(before.indents) if before else [""]
        if before is None and after is not None:
            indents = list(after.indents)

        out: list[str] = []
        line_open = not at_line_start
        previous = before.text if before and not before.is_layout else ""
        penultimate = ""
        if edit.start >= 2 and not leaves[edit.start - 2].is_layout:
            penultimate = leaves[edit.start - 2].text
        for token in edit.tokens:
            if token == NEWLINE:
                out.append(module.newline)
                line_open, previous, penultimate = False, "", ""
            elif token == INDENT:
                indents.append(indents[-1] + module.indent_unit)
            elif token == DEDENT:
                if len(indents) == 1:
                    raise EditError("DEDENT below the first column")
                indents.pop()
            else:
                if token in (")", "]", "}") and brackets:
                    brackets.pop()
                if not line_open:
                    out.append(indents[-1])
                elif out or not at_line_start:
                    out.append(self._between(previous, token, penultimate, brackets, bool(out)))
                out.append(token)
                line_open = True
                penultimate, previous = previous, token
                if token in ("(", "[", "{"):
                    brackets.append(token)
        return self._join(out, before, after, at_line_start, line_open, previous, penultimate, brackets)

    def _between(
        self, previous: str, token: str, penultimate: str, brackets: list[str], inside: bool
    ) -> str:
        leaves, edit = self.module.leaves, self.edit
        if not inside and leaves[edit.start - 1].kind in _F_STRING_PARTS:
            return ""
        sign = previous in _SIGNS and not _is_operand_end(penultimate)
        return _separator(previous, token, sign, brackets)

    def _check_balance(self) -> None:
        removed = [leaf.kind for leaf in self.module.leaves[self.edit.start : self.edit.end]]
        level = removed.count(INDENT) - removed.count(DEDENT)
        if self.edit.tokens.count(INDENT) - self.edit.tokens.count(DEDENT) != level:
            raise EditError("the edit changes the indentation of what follows it")

    def _join(
        self, out: list[str], before, after, at_line_start: bool, line_open: bool,
        previous: str, penultimate: str, brackets: list[str],
    ) -> Splice:  # fmt: skip
        """Fit the rendered text between the bytes that stay."""
        module, edit = self.module, self.edit
        source, leaves = module.source, module.leaves
        has_span = edit.start < edit.end
        first = leaves[edit.start] if has_span else after
        # Where the replaced bytes begin.
        if at_line_start:
            if first is None:
                begin = len(source)
            elif first.is_layout:
                begin = before.end if before else 0
            else:
                begin = module.line_start(first.line)
        else:
            begin = before.end
        whole_lines = at_line_start and not line_open
        if whole_lines:
            # complete lines: cut at the next line's first byte
            if has_span:
                if not leaves[edit.end - 1].is_layout:
                    raise EditError("the edit ends in the middle of a line")
                end = self._line_after(edit.end)
            else:
                end = begin
            return self._encode(begin, end, "".join(out))
        if not line_open:  # text before, NEWLINE last: what follows must begin a line
            if after is not None and after.is_layout and after.kind == NEWLINE:
                raise EditError("the edit writes an empty line")
            if not (has_span and leaves[edit.end - 1].is_layout):
                # the rest of the line moves to a line of its own
                out.append((before.indents if before else ("",))[-1])
                return self._encode(begin, after.start if after else len(source), "".join(out))
            return self._encode(begin, self._line_after(edit.end), "".join(out))
        # the last written token is followed on its own line by `after`
        if after is None:
            return self._encode(begin, len(source), "".join(out))
        joined = has_span and leaves[edit.end - 1].is_layout
        gap_end = after.start
        last_end = leaves[edit.end - 1].end if has_span else begin
        if after.kind == NEWLINE:
            tail_from = last_end if has_span else (before.end if before else 0)
            if at_line_start and not has_span:
                raise EditError("the edit writes before an empty line")
            return self._encode(begin, tail_from, self._lead(begin, out) + "".join(out[1:]))
        if after.is_layout:
            raise EditError("the edit leaves a line without its end")
        if joined:
            text = "".join(out) + self._to_after(after, previous, penultimate, brackets)
            return self._encode(begin, gap_end, text)
        if at_line_start:
            begin = first.start  # the indentation stays as it is
            if not edit.tokens:
                return self._encode(begin, gap_end, "")
            out[0] = ""
            tail = source[last_end:gap_end].decode() if has_span else None
            tail = self._to_after(after, previous, penultimate, brackets) if tail is None else tail
            return self._encode(begin, gap_end, "".join(out) + tail)
        if not edit.tokens:
            return self._deleted(before, after, brackets)
        if has_span:
            return self._encode(begin, last_end, self._lead(begin, out) + "".join(out[1:]))
        gap = source[begin:gap_end]
        glue = self._to_after(after, previous, penultimate, brackets)
        if gap.strip() == b"" and gap and (b"\n" in gap or out[0] or before.text in ("(", "[", "{")):
            out[0] = ""
            return self._encode(gap_end, gap_end, "".join(out) + glue)
        if not gap:
            return self._encode(begin, gap_end, "".join(out) + glue)
        return self._encode(begin, begin, "".join(out))

    def _lead(self, begin: int, out: list[str]) -> str:
        """The blank before the first written token: the file's own where a span is replaced."""
        leaves, edit = self.module.leaves, self.edit
        if edit.start < edit.end and edit.tokens and edit.start:
            own = self.module.source[begin : leaves[edit.start].start].decode()
            first = leaves[edit.start].text
            same_kind = bool(_WORD.match(first[-1:])) == bool(_WORD.match(edit.tokens[0][:1]))
            if own.strip() or "\n" in own or (own and out[0]) or (same_kind and not out[0]):
                return own
            if own == out[0]:
                return own
        return out[0] if out else ""

    def _to_after(self, after, previous: str, penultimate: str, brackets: list[str]) -> str:
        if after.kind in _F_STRING_PARTS:
            return ""
        sign = previous in _SIGNS and not _is_operand_end(penultimate)
        inside = list(brackets)
        if after.text in (")", "]", "}") and inside:
            inside.pop()
        return _separator(previous, after.text, sign, inside)

    def _deleted(self, before, after, brackets: list[str]) -> Splice:
        source, leaves, edit = self.module.source, self.module.leaves, self.edit
        left = source[before.end : leaves[edit.start].start].decode()
        right = source[leaves[edit.end - 1].end : after.start].decode()
        if left.strip() or right.strip() or "\n" in left + right:
            kept = left + right.lstrip(" \t") if left[-1:].isspace() else left + right
            return self._encode(before.end, after.start, kept)
        penultimate = leaves[edit.start - 2].text if edit.start >= 2 else ""
        return self._encode(
            before.end, after.start, self._to_after(after, before.text, penultimate, brackets)
        )

    def _line_after(self, index: int) -> int:
        """The byte where the lines that follow leaf index - 1 begin."""
        leaves = self.module.leaves
        last = leaves[index - 1]
        if last.kind != INDENT:
            return last.end
        return self.module.line_start(leaves[index].line)

    def _encode(self, start: int, end: int, text: str) -> Splice:
        return Splice(start, max(start, end), text.encode("utf-8"))


def splice(module: Module, edit: Edit) -> Splice:
    """The byte splice of `edit` in `module`.

    Raises:
      EditError: indices out of range, unbalanced INDENT/DEDENT, or a line broken in its middle.
    """
    if not 0 <= edit.start <= edit.end <= len(module.leaves):
        raise EditError(f"span [{edit.start}, {edit.end}) is not in 0..{len(module.leaves)}")
    if not edit.tokens and edit.is_insertion:
        raise EditError("the edit changes nothing")
    return _Writer(module, edit).splice()


def apply_edit(module: Module, edit: Edit) -> bytes:
    """The file after `edit`. Raises EditError as `splice` does."""
    return splice(module, edit).apply(module.source)


def token_texts(module: Module, start: int = 0, end: int | None = None) -> tuple[str, ...]:
    """The token texts of leaves [start, end)."""
    return tuple(leaf.text for leaf in module.leaves[start:end])


def unit_source(module: Module, unit: Unit, edit: Edit | None = None) -> str:
    """The text of a unit, dedented, after `edit` (which must lie within it) if one is given."""
    start = module.line_start(unit.first_line)
    last = module.leaves[unit.end - 1]
    end = max(last.end, start)
    data, shift = module.source, 0
    if edit is not None:
        cut = splice(module, edit)
        data = cut.apply(data)
        shift = len(cut.text) - (cut.end - cut.start)
    return dedent(data[start : end + shift].decode("utf-8").expandtabs(8))


def parses(module: Module, unit: Unit, edit: Edit) -> bool:
    """Whether the unit still is valid Python after `edit`: only the unit is parsed, not the file.

    A method is parsed inside a function so that `return`, `yield` and `await` are judged as in the file; what depends on
    the rest of the file (`nonlocal`, `break` outside) is left to the compiler of the worker.
    """
    try:
        text = unit_source(module, unit, edit)
        ast.parse(text)
    except (EditError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


__all__ = ["LAYOUT", "Edit", "EditError", "Patch", "Splice", "apply_edit", "parses", "splice",
           "token_texts", "unit_source"]  # fmt: skip
