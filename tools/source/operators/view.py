"""A unit's syntax as the operators want it: items with parent, children, role and precedence, found by kind."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator

from tools.source.leaves import DEDENT, INDENT, NEWLINE, Module, Unit

Tokens = tuple[str, ...]
Change = tuple[int, int, Tokens]  # leaves [start, end) become the tokens

EXPRESSIONS = frozenset({
    "identifier", "integer", "float", "string", "concatenated_string", "true", "false", "none", "call",
    "attribute", "subscript", "binary_operator", "unary_operator", "not_operator", "boolean_operator",
    "comparison_operator", "conditional_expression", "lambda", "list", "tuple", "dictionary", "set",
    "list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression",
    "parenthesized_expression", "await", "named_expression", "ellipsis",
})  # fmt: skip
# Nothing below these is ordinary code: annotations, imports, patterns, declarations.
_OPAQUE = frozenset({"type", "import_statement", "import_from_statement", "future_import_statement",
                     "global_statement", "nonlocal_statement", "case_pattern", "dotted_name",
                     "type_parameter", "type_alias_statement", "print_statement", "exec_statement",
                     "ERROR"})  # fmt: skip
_BINDING_PARENTS = frozenset({"pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern",
                              "dictionary_splat_pattern", "as_pattern_target", "parameters",
                              "lambda_parameters", "typed_parameter", "delete_statement"})  # fmt: skip
_BINDING_FIELDS = frozenset({"assignment.left", "augmented_assignment.left", "for_statement.left",
                             "for_in_clause.left", "named_expression.name", "default_parameter.name",
                             "typed_default_parameter.name", "function_definition.name",
                             "class_definition.name", "keyword_argument.name",
                             "attribute.attribute"})  # fmt: skip
_SUITES = frozenset({"block", "module"})
BINARY_LEVEL = {"|": 7, "^": 8, "&": 9, "<<": 10, ">>": 10, "+": 11, "-": 11, "*": 12, "/": 12,
                "//": 12, "%": 12, "@": 12, "**": 14}  # fmt: skip
_LEVEL = {"named_expression": 0, "yield": 0, "expression_list": 0, "list_splat": 0,
          "dictionary_splat": 0, "lambda": 1, "conditional_expression": 2, "not_operator": 5,
          "comparison_operator": 6, "unary_operator": 13, "await": 15}  # fmt: skip
ATOM = 16


class Item:
    """A syntax node inside the unit. `load` says that it is an expression that is read (not a target, not a
    name in a declaration), `condition` that its truth is tested. A "gap" is a place for a statement."""

    __slots__ = (
        "children",
        "condition",
        "end",
        "field",
        "kind",
        "load",
        "number",
        "parent",
        "start",
    )

    def __init__(self, kind: str, start: int, end: int, field: str, parent: Item | None) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.field = field
        self.parent = parent
        self.children: list[Item] = []
        self.load = False
        self.condition = False
        self.number = 0  # among its parent's named children

    def child(self, field: str) -> Item | None:
        """The child in `field`."""
        return next((child for child in self.children if child.field == field), None)

    def ancestors(self) -> Iterator[Item]:
        """From the parent to the root of the unit."""
        item = self.parent
        while item is not None:
            yield item
            item = item.parent


class View:
    """Items of one unit by kind. Build with `view_of`, which caches.

    buckets: kind -> items in order; besides node kinds there are "load" (expressions that are read), "condition",
    "statement" (whole logical lines), "part" (statements that share a line) and "gap" (places for a statement).
    """

    def __init__(self, module: Module, unit: Unit) -> None:
        self.module = module
        self.unit = unit
        self.texts = _texts(module)
        self.buckets: dict[str, list[Item]] = {}
        self.items: list[Item] = []
        self._starts: dict[str, dict[int, list[Item]]] = {}
        self._build()

    def _build(self) -> None:
        nodes, unit = self.module.nodes, self.unit
        by_index: dict[int, Item] = {}
        opaque: set[int] = set()
        first = bisect.bisect_left(nodes, unit.start, key=lambda node: node.start)
        for index in range(first, len(nodes)):
            node = nodes[index]
            if node.start >= unit.end:
                break
            if node.end > unit.end or node.start >= node.end:
                continue
            if node.kind in _SUITES and node.start == unit.start:
                continue  # holds the unit
            if node.kind in _OPAQUE or node.parent in opaque:
                opaque.add(index)
                if node.kind not in _OPAQUE or nodes[node.parent].kind not in _SUITES:
                    continue
            parent = by_index.get(node.parent)
            item = Item(node.kind, node.start, node.end, node.field, parent)
            if parent is not None:
                item.number = len(parent.children)
                parent.children.append(item)
            by_index[index] = item
            self.items.append(item)
            suite = nodes[node.parent].kind if node.parent >= 0 else ""
            self._classify(item, suite)
        for item in self.items:
            if item.kind == "block" and item.start != unit.start and item.children:
                self._gaps(item.children)
        if unit.kind == "statements":
            self._gaps(
                [item for item in self.items if item.parent is None and item.kind not in _SUITES]
            )

    def _classify(self, item: Item, parent_kind: str) -> None:
        self._put(item.kind, item)
        key = f"{parent_kind}.{item.field}"
        if item.kind in EXPRESSIONS:
            item.load = parent_kind not in _BINDING_PARENTS and key not in _BINDING_FIELDS
            if (
                item.kind in ("string", "concatenated_string")
                and parent_kind == "expression_statement"
            ):
                item.load = False  # a docstring
            if parent_kind == "string" or (parent_kind == "concatenated_string"):
                item.load = False
            if item.kind == "generator_expression" and item.field == "arguments":
                item.load = False
            if item.load:
                self._put("load", item)
                if self._is_condition(item, parent_kind):
                    item.condition = True
                    self._put("condition", item)
        elif parent_kind in _SUITES and item.kind not in _SUITES and not self.is_text(item):
            whole = self.span(item) is not None
            self._put("statement" if whole else "part", item)

    def is_text(self, item: Item) -> bool:
        """Whether a statement is only a string: a docstring, mostly. Nothing is gained by an edit of it or before it."""
        return item.end - item.start == 1 and self.module.leaves[item.start].is_text

    def _is_condition(self, item: Item, parent_kind: str) -> bool:
        if item.field == "condition" or parent_kind in (
            "boolean_operator",
            "not_operator",
            "if_clause",
        ):
            return True
        if parent_kind == "assert_statement":
            return item.number == 0
        return parent_kind == "conditional_expression" and item.number == 1

    def _gaps(self, statements: list[Item]) -> None:
        for statement in statements:
            if self.begins_line(statement) and not self.is_text(statement):
                if (
                    self.texts[statement.start] in ("class", "def", "@")
                    and statement.start == self.unit.start
                ):
                    continue
                self._put("gap", Item("gap", statement.start, statement.start, "before", statement))
        if statements:
            span = self.span(statements[-1])
            if span is not None and span[1] <= self.unit.end:
                self._put("gap", Item("gap", span[1], span[1], "after", statements[-1]))

    def _put(self, kind: str, item: Item) -> None:
        self.buckets.setdefault(kind, []).append(item)

    def all(self, kind: str) -> list[Item]:
        """The items of a bucket, in order."""
        return self.buckets.get(kind, [])

    def at(self, kind: str, index: int) -> list[Item]:
        """The items of a bucket that start at leaf `index`."""
        starts = self._starts.get(kind)
        if starts is None:
            starts = self._starts[kind] = {}
            for item in self.all(kind):
                starts.setdefault(item.start, []).append(item)
        return starts.get(index, [])

    @functools.cached_property
    def expressions(self) -> list[tuple[Tokens, int]]:
        """Distinct expressions of at most 12 tokens with their precedence, most frequent kinds as they come."""
        found: dict[Tokens, int] = {}
        for item in self.all("load"):
            if item.end - item.start <= 12 and not self.is_layered(item):
                found.setdefault(self.tokens(item), self.level(item))
        return list(found.items())

    @functools.cached_property
    def tests(self) -> list[tuple[Tokens, int]]:
        """Distinct tested expressions and comparisons of at most 12 tokens with their precedence."""
        found: dict[Tokens, int] = {}
        for item in self.items:
            short = item.end - item.start <= 12
            if item.load and short and (item.condition or item.kind == "comparison_operator"):
                found.setdefault(self.tokens(item), self.level(item))
        return list(found.items())

    def is_layered(self, item: Item) -> bool:
        """Whether the item spans several lines of layout (it cannot, except through errors)."""
        return any(text in (NEWLINE, INDENT, DEDENT) for text in self.texts[item.start : item.end])

    def tokens(self, item: Item) -> Tokens:
        """The item's leaf texts."""
        return tuple(self.texts[item.start : item.end])

    def begins_line(self, item: Item) -> bool:
        """Whether the item is the first on its logical line."""
        return item.start == 0 or self.module.leaves[item.start - 1].is_layout

    def span(self, statement: Item) -> tuple[int, int] | None:
        """The leaves of the statement's logical lines, with the DEDENTs that close its blocks; None if it shares them."""
        if not self.begins_line(statement):
            return None
        end, texts = statement.end, self.texts
        if end >= len(texts) or texts[end] != NEWLINE:
            return None
        end += 1
        inside = texts[statement.start : end]
        open_blocks = inside.count(INDENT) - inside.count(DEDENT)
        while open_blocks > 0 and end < len(texts) and texts[end] == DEDENT:
            end += 1
            open_blocks -= 1
        return (statement.start, end) if open_blocks == 0 else None

    def operator(self, item: Item) -> str:
        """The operator of a binary, boolean or augmented item ("" if it is not a single leaf)."""
        if len(item.children) < 2:
            return ""
        left, right = item.children[0], item.children[-1]
        return self.texts[left.end] if right.start - left.end == 1 else ""

    def level(self, item: Item) -> int:
        """How tightly the item binds: 16 for atoms down to 0."""
        if item.kind == "binary_operator":
            return BINARY_LEVEL.get(self.operator(item), 7)
        if item.kind == "boolean_operator":
            return 4 if self.operator(item) == "and" else 3
        return _LEVEL.get(item.kind, ATOM)

    def required(self, item: Item) -> int:
        """The level that an expression in the item's place must have to need no parentheses."""
        parent = item.parent
        if parent is None:
            return 1
        kind = parent.kind
        if kind == "binary_operator":
            level = self.level(parent)
            if level == 14:
                return 15 if item.number == 0 else 13
            return level if item.number == 0 else level + 1
        if kind == "boolean_operator":
            return self.level(parent)
        if kind == "conditional_expression":
            return 1 if item.number == 2 else 3
        if kind == "call":
            return ATOM if item.field == "function" else 1
        if kind == "subscript":
            return ATOM if item.field == "value" else 1
        return _REQUIRED.get(kind, 1)

    def fit(self, tokens: Tokens, level: int, place: Item) -> Tokens:
        """`tokens` as they must be written in the item's place."""
        return tokens if level >= self.required(place) else ("(", *tokens, ")")

    def put(self, place: Item, tokens: Tokens, level: int = ATOM) -> Change:
        """The change that replaces the item by an expression, in parentheses where needed."""
        if level < self.required(place):
            tokens = ("(", *tokens, ")")
        return place.start, place.end, tokens

    def as_operand(self, item: Item, level: int) -> Tokens:
        """The item's tokens as an operand of an operator of `level`."""
        tokens = self.tokens(item)
        return tokens if self.level(item) >= level else ("(", *tokens, ")")

    def elements(self, item: Item) -> list[Item]:
        """Arguments of a call's argument list, elements of a display: the children between the brackets."""
        return [child for child in item.children if child.kind not in ("comment", "for_in_clause")]

    def drop_element(self, container: Item, element: Item) -> Change:
        """Delete an element of a comma-separated list with one of its commas."""
        texts = self.texts
        start, end = element.start, element.end
        if end < container.end and texts[end] == ",":
            more = element.number + 1 < len(container.children)
            if more:
                return start, container.children[element.number + 1].start, ()
            end += 1
        if start > container.start and texts[start - 1] == ",":
            start -= 1
            end = element.end
        return start, end, ()


_REQUIRED = {"comparison_operator": 7, "not_operator": 5, "unary_operator": 13, "attribute": ATOM,
             "await": ATOM, "for_in_clause": 3, "if_clause": 3, "list_splat": 7,
             "dictionary_splat": 7, "interpolation": 3}  # fmt: skip


@functools.lru_cache(maxsize=8)
def _texts(module: Module) -> list[str]:
    return [leaf.text for leaf in module.leaves]


@functools.lru_cache(maxsize=16)
def view_of(module: Module, unit: Unit) -> View:
    """The view of a unit; the last few are kept."""
    return View(module, unit)
