"""What can be written in a unit: names in scope, attributes, literals and functions seen there and in its file."""

from __future__ import annotations

import builtins
import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tools.source.leaves import Module, Unit

_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_RECEIVERS = ("self", "cls")
_PARAMETERS = frozenset({"parameters", "typed_parameter", "default_parameter", "typed_default_parameter",
                         "lambda_parameters"})  # fmt: skip
_STORES = frozenset({"assignment.left", "augmented_assignment.left", "for_statement.left",
                     "for_in_clause.left", "named_expression.name"})  # fmt: skip
_STORE_PARENTS = frozenset({"pattern_list", "tuple_pattern", "list_pattern", "as_pattern_target",
                            "list_splat_pattern", "dictionary_splat_pattern"})  # fmt: skip
FAR = 24  # module-level names and attributes offered beyond those of the unit


@dataclass(frozen=True, eq=False)
class Scope:
    """Material for edits of one unit, each tuple in order of preference and without repeats.

    names: all usable identifiers (locals first); locals: parameters and variables bound in the unit, without self;
    functions: names called in the unit, then in the file; attributes and methods: names after a dot, plain and called;
    own: attributes seen on self or cls in the file; literals: integers and strings of the unit; mined: those given by the
    caller (from tests); calls: name -> argument counts seen; keywords: names of keyword arguments in the file.
    """

    names: tuple[str, ...] = ()
    locals: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()
    mined: tuple[str, ...] = ()
    calls: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    keywords: tuple[str, ...] = ()

    @staticmethod
    def of(
        module: Module,
        unit: Unit,
        extra_literals: Iterable[str] = (),
        extra_names: Iterable[str] = (),
    ) -> Scope:
        """The scope of a unit. `extra_literals` are source texts of literals, `extra_names` further names in reach."""
        file = _file_names(module)
        bound: dict[str, None] = {}
        parameters: dict[str, None] = {}
        local_functions: dict[str, None] = {}
        used: dict[str, None] = {}
        attributes: dict[str, None] = {}
        methods: dict[str, None] = {}
        literals: dict[str, None] = {}
        leaves = module.leaves
        for index in range(unit.start, unit.end):
            leaf = leaves[index]
            if leaf.kind == "identifier":
                called = index + 1 < unit.end and leaves[index + 1].text == "("
                if leaf.field == "attribute":
                    (methods if called else attributes).setdefault(leaf.text)
                elif leaf.parent in _PARAMETERS and leaf.field != "value":
                    parameters.setdefault(leaf.text)
                elif f"{leaf.parent}.{leaf.field}" in _STORES or leaf.parent in _STORE_PARENTS:
                    bound.setdefault(leaf.text)
                elif leaf.parent == "call" and leaf.field == "function":
                    local_functions.setdefault(leaf.text)
                elif leaf.field != "name" and leaf.parent not in ("keyword_argument", "type"):
                    used.setdefault(leaf.text)
            elif leaf.kind in ("integer", "float", "string"):
                literals.setdefault(leaf.text)
        own_name = unit.name.rpartition(".")[2]
        variables = [name for name in (*parameters, *bound) if name not in _RECEIVERS]
        # Names that are read here but bound elsewhere count as local: a closure's or the module's variables in use.
        variables += [name for name in used if name not in _RECEIVERS and name not in _BUILTINS]
        local = tuple(dict.fromkeys(variables))
        far = [name for name in (*file.top, *extra_names) if name not in local]
        far_names = tuple(dict.fromkeys([*far, *file.builtins]))[:FAR]
        functions = dict.fromkeys(local_functions)
        if unit.kind == "function" and "." not in unit.name:
            functions.setdefault(own_name)
        functions.update(dict.fromkeys([*file.functions, *extra_names][:FAR]))
        return Scope(
            names=tuple(dict.fromkeys((*local, *local_functions, *far_names))),
            locals=local,
            functions=tuple(functions),
            attributes=tuple(dict.fromkeys((*attributes, *file.attributes)))[
                : len(attributes) + FAR
            ],
            methods=tuple(dict.fromkeys((*methods, *file.methods)))[: len(methods) + FAR],
            own=file.own[: 2 * FAR],
            literals=tuple(literals),
            mined=tuple(dict.fromkeys(extra_literals)),
            calls=file.calls,
            keywords=file.keywords[:FAR],
        )


@dataclass(frozen=True)
class _FileNames:
    top: tuple[str, ...]
    builtins: tuple[str, ...]
    functions: tuple[str, ...]
    attributes: tuple[str, ...]
    methods: tuple[str, ...]
    own: tuple[str, ...]
    calls: Mapping[str, tuple[int, ...]]
    keywords: tuple[str, ...]


def known_names(module: Module) -> frozenset[str]:
    """Names that every function of the file can use."""
    return frozenset((*_file_names(module).top, *_BUILTINS, *_RECEIVERS))


@functools.lru_cache(maxsize=8)
def _file_names(module: Module) -> _FileNames:
    """Names of the whole file, the frequent ones first."""
    top: dict[str, None] = {}
    arities: dict[str, set[int]] = {}
    nodes, leaves = module.nodes, module.leaves
    for index, node in enumerate(nodes):
        parent = nodes[node.parent] if node.parent >= 0 else None
        if node.kind == "call":
            name = leaves[node.start]
            if (
                name.kind == "identifier"
                and node.start + 1 < node.end
                and leaves[node.start + 1].text == "("
            ):
                arities.setdefault(name.text, set()).add(_arguments(module, index))
        elif node.kind in ("function_definition", "class_definition"):
            outer = parent
            if outer is not None and outer.kind == "decorated_definition":
                outer = nodes[outer.parent]
            if outer is not None and outer.kind == "module":
                for leaf in leaves[node.start : node.start + 3]:
                    if leaf.field == "name":
                        top.setdefault(leaf.text)
        elif (
            node.kind == "assignment"
            and parent is not None
            and nodes[parent.parent].kind == "module"
        ):
            if parent.kind == "expression_statement" and leaves[node.start].kind == "identifier":
                top.setdefault(leaves[node.start].text)
        elif node.kind in ("import_statement", "import_from_statement"):
            for leaf in leaves[node.start : node.end]:
                if leaf.kind == "identifier" and leaf.field != "module_name":
                    top.setdefault(leaf.text)
    used: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    attributes: Counter[str] = Counter()
    methods: Counter[str] = Counter()
    own: Counter[str] = Counter()
    keywords: Counter[str] = Counter()
    for index, leaf in enumerate(leaves):
        if leaf.kind != "identifier":
            continue
        called = index + 1 < len(leaves) and leaves[index + 1].text == "("
        if leaf.field == "attribute":
            (methods if called else attributes)[leaf.text] += 1
            if index >= 2 and leaves[index - 2].text in _RECEIVERS:
                own[leaf.text] += 1
        elif leaf.parent == "keyword_argument" and leaf.field == "name":
            keywords[leaf.text] += 1
        else:
            if called and leaf.parent == "call":
                functions[leaf.text] += 1
            if leaf.text in _BUILTINS:
                used[leaf.text] += 1

    def ordered(counts: Counter[str]) -> tuple[str, ...]:
        return tuple(name for name, _ in counts.most_common())

    return _FileNames(
        tuple(top), ordered(used), ordered(functions), ordered(attributes), ordered(methods), ordered(own),
        {name: tuple(sorted(counts)) for name, counts in arities.items()}, ordered(keywords),
    )  # fmt: skip


def _arguments(module: Module, call: int) -> int:
    """The number of arguments of a call node."""
    node = module.nodes[call]
    depth = commas = 0
    leaves = module.leaves
    for leaf in leaves[node.start + 1 : node.end]:
        if leaf.text in ("(", "[", "{"):
            depth += 1
        elif leaf.text in (")", "]", "}"):
            depth -= 1
        elif leaf.text == "," and depth == 1:
            commas += 1
    last = leaves[node.end - 2].text
    return 0 if last == "(" and node.end - node.start == 3 else commas + (last != ",")
