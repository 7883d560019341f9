"""Python source as a flat sequence of leaf tokens with layout tokens made explicit.

Everything that edits, enumerates or learns speaks of *leaves*: the terminals of the tree-sitter tree (a plain
string literal is one leaf; an f-string is several) plus three zero-text layout leaves, NEWLINE, INDENT and DEDENT, which
stand where Python's own tokenizer has them. Bytes between leaves (blanks, comments, backslashes) belong to no leaf, so they
survive every edit that does not span them.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter
import tree_sitter_python

NEWLINE = "<NEWLINE>"
INDENT = "<INDENT>"
DEDENT = "<DEDENT>"
LAYOUT = frozenset({NEWLINE, INDENT, DEDENT})

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))
_SKIPPED = frozenset({"comment", "line_continuation"})
_OPAQUE = frozenset({"not in", "is not", "type_conversion", "format_specifier"})
_OPENERS = frozenset({"(", "[", "{", "string_start"})
_CLOSERS = frozenset({")", "]", "}", "string_end"})
_COMMENT = re.compile(rb"#[^\r\n]*")
_CONTINUATION = re.compile(rb"\\\r?\n")
_TAB = 8  # columns, as Python's tokenizer counts them


class SourceError(ValueError):
    """The bytes are not Python source that can be edited (not UTF-8, or with a NUL byte)."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One token. `start` and `end` are byte offsets; layout leaves have the text of their constant.

    `parent` is the tree-sitter type of the enclosing node and `field` the field name in it ("" if none): together
    they tell an attribute from a variable and a keyword argument from a name. `indents` is the stack of
    indentation strings in force at the leaf (after the push or pop, for INDENT and DEDENT).
    """

    kind: str
    text: str
    start: int
    end: int
    line: int
    parent: str
    field: str
    indents: tuple[str, ...]

    @property
    def is_layout(self) -> bool:
        """Whether this is a NEWLINE, INDENT or DEDENT."""
        return self.kind in LAYOUT

    @property
    def is_text(self) -> bool:
        """Whether this is a statement of its own that is only a string: a docstring, mostly."""
        return self.kind == "string" and self.parent == "expression_statement"


@dataclass(frozen=True, slots=True)
class Node:
    """A named syntax node as a half-open range of leaves, layout leaves inside it included."""

    kind: str
    start: int
    end: int
    parent: int  # index in Module.nodes, -1 for the root
    field: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What is repaired at a time: a function or method with its decorators, or a run of other statements.

    `start` and `end` are leaf indices, `first_line` and `last_line` are 1-based and inclusive.
    """

    name: str
    kind: str  # "function" or "statements"
    start: int
    end: int
    first_line: int
    last_line: int


class Module:
    """A parsed source file.

    Attributes:
      source: the file, byte for byte.
      leaves: all leaves in order, layout included.
      nodes: all named nodes in pre-order; `nodes[0]` is the module.
      has_error: whether tree-sitter met a syntax error (leaves are still usable).

    Raises:
      SourceError: the bytes are not UTF-8 or contain NUL.
    """

    def __init__(self, source: bytes) -> None:
        if b"\0" in source:
            raise SourceError("the file contains NUL bytes")
        try:
            source.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(f"the file is not UTF-8: {error}") from error
        self.source = source
        # A byte order mark is blanked for the parser so that offsets stay those of the file.
        body = b"\n\n\n" + source[3:] if source.startswith(b"\xef\xbb\xbf") else source
        tree = _PARSER.parse(body)
        self.has_error = tree.root_node.has_error
        self.newline = "\r\n" if b"\r\n" in source[:4096] else "\n"
        self._collect(tree)

    def _collect(self, tree: tree_sitter.Tree) -> None:
        raw: list[tuple[str, int, int, str, str]] = []
        spans: list[list] = []  # kind, first raw leaf, past-last raw leaf, parent, field
        source = self.source
        cursor = tree.walk()
        stack: list[int] = []
        parents = [""]
        while True:
            node = cursor.node
            assert node is not None
            kind = node.type
            descend = False
            opened = False
            if kind not in _SKIPPED and node.end_byte > node.start_byte:
                field = cursor.field_name or ""
                whole = kind in _OPAQUE or (
                    kind == "string"
                    and not any(c.type == "interpolation" for c in node.named_children)
                )
                if node.is_named:
                    spans.append([kind, len(raw), len(raw), stack[-1] if stack else -1, field])
                    opened = True
                if whole or node.child_count == 0:
                    raw.append((kind, node.start_byte, node.end_byte, parents[-1], field))
                else:
                    descend = True
            if opened:
                stack.append(len(spans) - 1)
            if descend:
                parents.append(kind)
                if cursor.goto_first_child():
                    if not opened:
                        stack.append(stack[-1] if stack else -1)
                    continue
                parents.pop()
            if opened:
                spans[stack.pop()][2] = len(raw)
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    self._layout(raw, spans, source)
                    return
                parents.pop()
                top = stack.pop()
                if top >= 0:
                    spans[top][2] = len(raw)

    def _layout(self, raw: list, spans: list, source: bytes) -> None:
        """Insert NEWLINE, INDENT and DEDENT between the raw leaves and renumber the nodes."""
        line_starts = [0]
        line_starts.extend(m.end() for m in re.finditer(rb"\r\n|\n|\r", source))
        self.line_starts = line_starts

        def line_of(offset: int) -> int:
            return bisect.bisect_right(line_starts, offset)

        leaves: list[Leaf] = []
        position: list[int] = []  # raw index -> leaf index
        indents: tuple[str, ...] = ("",)
        columns = [0]
        depth = 0
        unit: str | None = None
        for index, (kind, start, end, parent, field) in enumerate(raw):
            begins = index == 0
            if index and depth == 0:
                gap_start = raw[index - 1][2]
                at = _newline_in(source, gap_start, start)
                if at is not None:
                    leaves.append(
                        Leaf(NEWLINE, NEWLINE, at[0], at[1], line_of(at[0]), "", "", indents)
                    )
                    begins = True
            if begins:
                bol = line_starts[line_of(start) - 1]
                blank = source[bol:start].decode("utf-8").lstrip("\ufeff")
                blank = blank.rpartition("\f")[2]  # a form feed starts the line again
                column = len(blank.expandtabs(_TAB))
                if column > columns[-1]:
                    columns.append(column)
                    if unit is None and blank.startswith(indents[-1]):
                        unit = blank[len(indents[-1]) :]
                    indents = (*indents, blank)
                    leaves.append(Leaf(INDENT, INDENT, bol, bol, line_of(start), "", "", indents))
                while column < columns[-1] and len(columns) > 1:
                    columns.pop()
                    indents = tuple(indents[:-1])
                    at_byte = leaves[-1].end
                    leaves.append(
                        Leaf(DEDENT, DEDENT, at_byte, at_byte, line_of(at_byte), "", "", indents)
                    )
            text = source[start:end].decode("utf-8")
            if kind in ("not in", "is not"):
                text = kind
            position.append(len(leaves))
            leaves.append(Leaf(kind, text, start, end, line_of(start), parent, field, indents))
            if kind in _OPENERS:
                depth += 1
            elif kind in _CLOSERS:
                depth = max(0, depth - 1)
        if raw:
            last = raw[-1][2]
            at = _newline_in(source, last, len(source)) or (len(source), len(source))
            leaves.append(Leaf(NEWLINE, NEWLINE, at[0], at[1], line_of(at[0]), "", "", indents))
            while len(columns) > 1:
                columns.pop()
                indents = indents[:-1]
                leaves.append(Leaf(DEDENT, DEDENT, at[1], at[1], line_of(at[1]), "", "", indents))
        self.leaves: tuple[Leaf, ...] = tuple(leaves)
        self.indent_unit = unit or "    "
        position.append(len(leaves))
        self.nodes: tuple[Node, ...] = tuple(
            Node(kind, position[first], position[past - 1] + 1 if past > first else position[first],
                 parent, field)
            for kind, first, past, parent, field in spans
        )  # fmt: skip

    @cached_property
    def depths(self) -> tuple[tuple[str, ...], ...]:
        """For every leaf, the stack of brackets open before it (a closing bracket still sees its partner)."""
        out: list[tuple[str, ...]] = []
        stack: tuple[str, ...] = ()
        for leaf in self.leaves:
            out.append(stack)
            if leaf.kind in _OPENERS:
                stack = (*stack, leaf.kind)
            elif leaf.kind in _CLOSERS:
                stack = stack[:-1]
        return tuple(out)

    def line_start(self, line: int) -> int:
        """Byte offset at which the 1-based `line` begins."""
        return self.line_starts[line - 1]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Functions (outermost; methods one by one) and the runs of statements between them, in order."""
        found: list[Unit] = []
        for name, kind, start, end in self._unit_spans(0, ""):
            # the NEWLINE that ends the last line belongs to the unit; the DEDENTs after it close its blocks
            while end < len(self.leaves) and self.leaves[end].is_layout:
                if self.leaves[end].kind == INDENT:
                    break
                if len(self.leaves[end].indents) < len(self.leaves[start].indents):
                    break
                end += 1
            found.append(
                Unit(name, kind, start, end, self.leaves[start].line, self.leaves[end - 1].line)
            )
        return tuple(found)

    def _unit_spans(self, parent: int, prefix: str) -> Iterator[tuple[str, str, int, int]]:
        run: tuple[int, int] | None = None
        for index in self._children.get(parent, ()):
            node = self.nodes[index]
            inner = index
            if node.kind == "decorated_definition":
                definitions = [
                    i
                    for i in self._children.get(index, ())
                    if self.nodes[i].kind in ("function_definition", "class_definition")
                ]
                inner = definitions[0] if definitions else index
            kind = self.nodes[inner].kind
            if kind in ("function_definition", "class_definition"):
                if run:
                    yield (
                        prefix + "<module>" if not prefix else prefix + "<body>",
                        "statements",
                        *run,
                    )
                    run = None
                name = prefix + self._name_of(inner)
                if kind == "function_definition":
                    yield name, "function", node.start, node.end
                else:
                    for child in self._children.get(inner, ()):
                        if self.nodes[child].field == "body":
                            header = (node.start, self.nodes[child].start)
                            yield name + ".<header>", "statements", *header
                            yield from self._unit_spans(child, name + ".")
            elif node.start < node.end:
                run = (run[0] if run else node.start, node.end)
        if run:
            yield prefix + "<module>" if not prefix else prefix + "<body>", "statements", *run

    def _name_of(self, definition: int) -> str:
        for child in self._children.get(definition, ()):
            if self.nodes[child].field == "name":
                return self.leaves[self.nodes[child].start].text
        return "?"

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            children.setdefault(node.parent, []).append(index)
        return children


def _newline_in(source: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Offsets of the first line break in source[start:end] that ends a logical line, if there is one."""
    gap = source[start:end]
    if b"\n" not in gap and b"\r" not in gap:
        return None
    # comments and continuations are blanked at equal length so that offsets stay true
    gap = _COMMENT.sub(lambda m: b" " * len(m.group()), gap)
    gap = _CONTINUATION.sub(lambda m: b" " * len(m.group()), gap)
    match = re.search(rb"\r\n|\n|\r", gap)
    return (start + match.start(), start + match.end()) if match else None
