"""The edit: replace the leaves [start, end) of one file by a list of tokens.

One type covers everything a repair writes. An insertion has start == end, a deletion has no tokens, whole statements
and guards use the layout tokens, and moving a line into or out of a block is the same replacement
with the line and the INDENT or DEDENT swapped. Bytes outside the span stay as they are.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

from tools.source import syntax
from tools.source.leaves import DEDENT, INDENT, LAYOUT, NEWLINE, Leaf, Module, Unit
from tools.source.writer import (
    CLOSERS,
    F_STRING_START,
    OPENERS,
    QUOTES,
    EditError,
    Writer,
    blank_between,
    fitted_gap,
    is_blank,
    is_operand_end,
)


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


_TEXT = "string_content"  # of an f-string


class _Fitter:
    """Finds the bytes that an edit replaces and the text that goes there.

    `before` and `after` are the leaves that stay at both sides, `first` and `last` those replaced; each may be None. A
    gap is what lies between two leaves: blanks, comments, continuations. The gaps at both ends are kept where they can be.
    """

    def __init__(self, module: Module, edit: Edit) -> None:
        leaves = module.leaves
        self.module, self.edit, self.source = module, edit, module.source
        self.before = leaves[edit.start - 1] if edit.start else None
        self.after = leaves[edit.end] if edit.end < len(leaves) else None
        self.first = leaves[edit.start] if edit.start < edit.end else None
        self.last = leaves[edit.end - 1] if edit.start < edit.end else None
        self.text = Writer(module, edit.start, edit.end)
        self.starts_open = self.text.is_open

    def splice(self) -> Splice:
        removed = [leaf.kind for leaf in self.module.leaves[self.edit.start : self.edit.end]]
        tokens = self.edit.tokens
        level = removed.count(INDENT) - removed.count(DEDENT)
        if tokens.count(INDENT) - tokens.count(DEDENT) != level:
            raise EditError("the edit changes the indentation of what follows it")
        if any(pair == (INDENT, DEDENT) for pair in itertools.pairwise(tokens)):
            raise EditError("the edit writes an empty block")
        self._check_f_string()
        if not tokens:
            self._check_brackets(self._brackets_at(self.edit.start))
            return self._delete()
        ends_open = tokens[-1] not in LAYOUT
        begin = self._begin(ends_open)
        self._check_brackets(self.text.brackets)
        end = self._end(ends_open, begin)
        return Splice(begin, max(begin, end), str(self.text).encode("utf-8"))

    def _check_f_string(self) -> None:
        """What stays of an f-string must not grow together with what comes beside it: its text and format are one token each."""
        tokens = self.edit.tokens
        before = self.before.kind if self.before else ""
        after = self.after.kind if self.after else ""
        if tokens:
            if before == "format_specifier" and tokens[0] != "}":
                raise EditError("the edit goes on with a format specifier")
            last = tokens[-1]
            joined = (before == _TEXT and tokens[0] not in ("{", *QUOTES)) or (
                after == _TEXT and last != "}" and not F_STRING_START.fullmatch(last)
            )
        else:
            joined = before == after == _TEXT
        if joined:
            raise EditError("the edit goes on with the text of an f-string")

    def _brackets_at(self, index: int) -> list[str]:
        depths = self.module.depths
        return list(depths[index]) if index < len(depths) else []

    def _check_brackets(self, found: list[str]) -> None:
        if found != self._brackets_at(self.edit.end) and not self.module.has_error:
            raise EditError("the edit leaves brackets unbalanced")

    def _bytes(self, start: int, end: int) -> str:
        return self.source[start:end].decode("utf-8")

    def _line_start(self, leaf: Leaf) -> int:
        """The first byte of the leaf's line, after a byte order mark."""
        at = self.module.line_start(leaf.line)
        return 3 if at == 0 and self.source.startswith(b"\xef\xbb\xbf") else at

    def _delete(self) -> Splice:
        before, after, first, last = self.before, self.after, self.first, self.last
        assert first is not None and last is not None
        if not self.starts_open:
            if last.is_layout:  # whole lines
                begin = first.start if first.is_layout else self._line_start(first)
                return Splice(begin, max(begin, last.end), b"")
            if after is None or after.is_layout:
                raise EditError("the edit leaves an empty line")
            return Splice(first.start, after.start, b"")
        assert before is not None
        left = self._bytes(before.end, first.start)
        if after is None or (after.is_layout and after.kind != NEWLINE):
            raise EditError("the edit leaves a line without its end")
        if after.kind == NEWLINE:
            begin = before.end if is_blank(left) else first.start
            return Splice(begin, last.end, b"")
        right = self._bytes(last.end, after.start)
        kept = (left if "\n" in left else "") + (
            right if "#" in right or ("\n" in right and "\n" not in left) else ""
        )
        if last.is_layout:
            if "#" in right:
                raise EditError("the edit joins lines that have a comment between them")
            kept = left if "\n" in left else ""
        if not kept or (is_blank(kept) and after.text in CLOSERS and before.text in OPENERS):
            kept = self.text.blank_before(after.text)
        return Splice(before.end, after.start, kept.encode("utf-8"))

    def _begin(self, ends_open: bool) -> int:
        """Write the tokens; returns where the replaced bytes begin."""
        tokens, first, after = self.edit.tokens, self.first, self.after
        if self.starts_open:
            return self._begin_open()
        at_once = tokens[0] not in LAYOUT
        if first is not None:
            in_place = at_once and not first.is_layout
            begin = first.start if in_place or first.is_layout else self._line_start(first)
        elif after is None or after.is_layout:
            in_place = False
            begin = self.before.end if self.before is not None else 0
            if after is not None and after.kind == INDENT:
                begin = after.start
        else:
            in_place = at_once and ends_open
            begin = after.start if in_place else self._line_start(after)
        if (
            begin == len(self.source)
            and self.source
            and self.source[-1:] not in b"\r\n"
            and begin > 0
        ):
            self.text.parts.append(self.module.newline)  # the last line had no end
        self.text.write(tokens[0], "" if in_place else None)
        for token in tokens[1:]:
            self.text.write(token)
        return begin

    def _begin_open(self) -> int:
        tokens, first, after, before = self.edit.tokens, self.first, self.after, self.before
        assert before is not None
        begin = before.end
        lead: str | None = None
        if first is not None:
            gap = self._bytes(before.end, first.start)
            if tokens[0] in LAYOUT:
                begin = before.end if is_blank(gap) and first.kind != NEWLINE else first.start
            elif first.is_layout:  # a trailing comment is replaced with the line's end
                lead = None
            else:
                lead = self._fit(gap, first.text, tokens[0])
        elif after is not None and after.kind == NEWLINE and tokens[0] == NEWLINE:
            begin = after.start
        elif after is not None and not after.is_layout and tokens[0] not in LAYOUT:
            gap = self._bytes(before.end, after.start)
            if ("\n" in gap or "#" in gap) and self._belongs_to_next():
                begin, lead = after.start, ""
        self.text.write(tokens[0], lead)
        for token in tokens[1:]:
            self.text.write(token)
        return begin

    def _belongs_to_next(self) -> bool:
        """Whether tokens inserted where a line is broken go to the later part."""
        assert self.before is not None
        head, tail = self.edit.tokens[0], self.edit.tokens[-1]
        if tail == "," or tail in OPENERS or not is_operand_end(tail):
            return True
        if head in (",", ".") or (head in OPENERS and is_operand_end(self.before.text)):
            return False
        return not is_operand_end(self.before.text)

    def _fit(self, gap: str, old: str, new: str) -> str:
        """The file's gap before `old`, as it should be before `new`."""
        wanted = self.text.blank_before(new)
        if not is_blank(gap) or "\n" in gap:
            return gap
        return fitted_gap(gap, self.text.blank_before(old), wanted, self.text.previous, new)

    def _end(self, ends_open: bool, begin: int) -> int:
        """Write what joins the tokens to what follows; returns where the replaced bytes end."""
        after, last, text = self.after, self.last, self.text
        if not ends_open:
            if after is not None and after.kind == NEWLINE:
                raise EditError("the edit leaves an empty line")
            if last is not None and last.is_layout:
                return last.end
            if after is None or after.is_layout or (last is None and not self.starts_open):
                return begin
            # the rest of the line goes to a line of its own
            if "#" in self._bytes(last.end if last else begin, after.start):
                raise EditError("the edit breaks a line before a comment")
            text.parts.append(text.indents[-1])
            return after.start
        if after is None or (after.is_layout and after.kind != NEWLINE):
            raise EditError("the edit leaves a line without its end")
        if after.kind == NEWLINE:
            return last.end if last is not None else begin
        if last is None:
            gap = self._bytes(begin, after.start)
            if self.starts_open and ("\n" in gap or "#" in gap):
                return begin
            text.parts.append(text.blank_before(after.text))
            return after.start
        gap = self._bytes(last.end, after.start)
        if last.is_layout:
            if "#" in gap:
                raise EditError("the edit joins lines that have a comment between them")
            gap = ""
            text.parts.append(text.blank_before(after.text))
            return after.start
        if not is_blank(gap) or "\n" in gap:
            return last.end
        old = blank_between(
            self._before_last(), last.text, after.text, self._brackets_before(after)
        )
        wanted = text.blank_before(after.text)
        text.parts.append(fitted_gap(gap, old, wanted, text.previous, after.text))
        return after.start

    def _before_last(self) -> str:
        leaves, index = self.module.leaves, self.edit.end - 2
        return leaves[index].text if index >= 0 and not leaves[index].is_layout else ""

    def _brackets_before(self, leaf: Leaf) -> list[str]:
        brackets = list(self.module.depths[self.edit.end])
        return brackets[:-1] if leaf.text in CLOSERS else brackets


def splice(module: Module, edit: Edit) -> Splice:
    """The byte splice of `edit` in `module`.

    Raises:
      EditError: indices out of range, unbalanced INDENT/DEDENT, or a line broken in its middle.
    """
    if not 0 <= edit.start <= edit.end <= len(module.leaves):
        raise EditError(f"span [{edit.start}, {edit.end}) is not in 0..{len(module.leaves)}")
    if not edit.tokens and edit.is_insertion:
        raise EditError("the edit changes nothing")
    return _Fitter(module, edit).splice()


def apply_edit(module: Module, edit: Edit) -> bytes:
    """The file after `edit`. Raises EditError as `splice` does."""
    return splice(module, edit).apply(module.source)


def token_texts(module: Module, start: int = 0, end: int | None = None) -> tuple[str, ...]:
    """The token texts of leaves [start, end)."""
    return tuple(leaf.text for leaf in module.leaves[start:end])


def unit_source(module: Module, unit: Unit, edit: Edit | None = None) -> str:
    """Source that parses as the unit does, after `edit` (which must lie within it) if one is given.

    A unit that is indented in its file is put under an `if`, so that its bytes, multi-line strings included, stay; after a `pass`
    that is indented as it is, so that an edit which indents it deeper does not parse.
    """
    start = module.line_start(unit.first_line)
    before = module.source[start : module.leaves[unit.start].start].decode("utf-8-sig")
    indent = before if before.isspace() else ""
    end = max(module.leaves[unit.end - 1].end, start)
    data = module.source
    if edit is not None:
        cut = splice(module, edit)
        data = cut.apply(data)
        start = min(start, cut.start)
        end += len(cut.text) - (cut.end - cut.start)
    text = data[start:end].decode("utf-8-sig")
    if unit.name.endswith(".<header>"):  # of a class: without its body
        text += module.leaves[unit.start].indents[-1] + " pass"
    return f"if 1:\n{indent}pass\n{text}" if indent else text


def parses(module: Module, unit: Unit, edit: Edit) -> bool:
    """Whether the unit still is valid Python after `edit`: only the unit is parsed, not the file.

    What the parser alone does not see (`return` or `break` outside, `nonlocal`) is left to the compiler of the worker.
    """
    leaves = module.leaves
    closed = unit.end < len(leaves) and leaves[unit.end - 1].is_layout
    if closed and edit.end == unit.end and edit.tokens and edit.tokens[-1] not in LAYOUT:
        return False  # it would stand before the next unit, on its line
    try:
        text = unit_source(module, unit, edit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax.parse(text)
    except (EditError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


__all__ = ["LAYOUT", "Edit", "EditError", "Patch", "Splice", "apply_edit", "parses", "splice",
           "token_texts", "unit_source"]  # fmt: skip
