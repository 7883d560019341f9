"""What it takes to call a function alone: the statements of its file, and of its package, that it needs.

A function comes with the constants, helpers, classes and imports that it names, directly or by way of others; a method with its
class, an object of which is then its first argument. For what other packages would bring there are empty classes: a base of
such a name, a test for such a type, or a way through the code that never meets it does no harm, and everything else fails.
Nothing is run here: `trm.data.executed` has what is called confined.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import PurePosixPath

from trm.data.functions import Function

FUTURE = "from __future__ import annotations\n"  # what annotations name need not be there
PRELUDE = (
    FUTURE
    + """\
import bisect, collections, copy, datetime, decimal, fractions, functools, heapq, itertools, math, operator, random, re
import statistics, string, textwrap, typing, unicodedata
import typing as t
from bisect import *
from collections import *
from copy import copy, deepcopy
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import add, attrgetter, eq, itemgetter, mul, sub, xor
from string import *
from typing import *
"""
)
# Modules of the standard library that statements may import: they compute, and wait for nothing and nobody.
MODULES = frozenset({
    "abc", "array", "ast", "base64", "binascii", "bisect", "calendar", "cmath", "codecs", "collections",
    "collections.abc", "colorsys", "configparser", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "html", "html.entities", "inspect",
    "io", "ipaddress", "itertools", "json", "keyword", "locale", "logging", "math", "numbers", "operator", "os", "os.path",
    "pathlib", "pprint", "posixpath", "random", "re", "reprlib", "shlex", "statistics", "string", "struct", "sys",
    "textwrap", "time", "token", "tokenize", "traceback", "types", "typing", "unicodedata", "urllib.parse", "uuid",
    "warnings", "weakref", "zlib",
})  # fmt: skip
REFUSED = frozenset({"open", "exec", "eval", "compile", "__import__", "input", "breakpoint", "exit", "quit", "help", "globals",
                     "locals", "vars", "random", "id", "hash", "object", "print", "choice", "shuffle"})  # fmt: skip
_MOST_STATEMENTS = 100
_MOST_TEXT = 100_000  # signs


@dataclass(frozen=True)
class Alone:
    """A function and what must be executed before it is defined.

    of_class: the class of a method, "" for a function; init: source of the function that shows what the class is made from.
    """

    function: Function
    helpers: str = ""
    of_class: str = ""
    init: str = ""

    @property
    def prelude(self) -> str:
        """Helpers and what every function may use unasked."""
        return PRELUDE + self.helpers


def _provided() -> frozenset[str]:
    space: dict[str, object] = {}
    exec(PRELUDE, space)  # our own text: imports of the standard library
    return frozenset(space) | frozenset(dir(builtins))


PROVIDED = _provided()


def globals_of(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """(bound, needed): names that statements bind at the top level, and those of elsewhere that they or what they define read.

    Raises SyntaxError and ValueError for what cannot be compiled.
    """
    top = symtable.symtable(FUTURE + text, "unit", "exec")
    bound, needed = set[str](), set[str]()
    for symbol in top.get_symbols():
        (bound if symbol.is_assigned() or symbol.is_imported() else needed).add(symbol.get_name())
    waiting = list(top.get_children())
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        needed.update(s.get_name() for s in scope.get_symbols() if s.is_global())
    return frozenset(bound - {"annotations"}), frozenset(needed - bound)


def free_names(function: Function, *, method: bool = False) -> frozenset[str] | None:
    """Global names that a function uses; None for what cannot be called as a plain one: coroutines, decorated functions."""
    try:
        definition = ast.parse(function.source).body[0]
        _, needed = globals_of(function.source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        return None
    arguments = [a.arg for a in (*definition.args.posonlyargs, *definition.args.args)]
    if not arguments or len(arguments) > 6 + method:
        return None
    if (arguments[0] == "self") != method or arguments[0] in ("cls", "mcs"):
        return None
    return needed - {function.name}


class _Statement:
    """What a statement is taken to be, found out when it is asked for: most are never needed.

    text: "" for what must not be executed; elsewhere: a file of the package, and the name there; imports: it does no more.
    """

    def __init__(
        self,
        make: Callable[[], tuple[str, frozenset[str], tuple[str, str]]],
        *,
        imports: bool = False,
    ) -> None:
        self._make = make
        self.imports = imports

    @cached_property
    def made(self) -> tuple[str, frozenset[str], tuple[str, str]]:
        """(text, needed names, elsewhere)."""
        try:
            return self._make()
        except (SyntaxError, ValueError):
            return "", frozenset(), _HERE


_HERE = ("", "")


@lru_cache(maxsize=128)
def _parsed(source: str) -> Sequence[ast.stmt]:
    """Kept, since one commit after the other has the same file."""
    return ast.parse(source).body


class File:
    """The statements at the top of a file by the names that they bind. find: a module of the package -> its file, or "".

    Raises SyntaxError and ValueError for what is no Python.
    """

    def __init__(self, source: str, find: Callable[[str, int], str]) -> None:
        self._lines = source.splitlines(keepends=True)
        self._find = find
        self.statements: list[_Statement] = []
        self.binding: dict[str, list[int]] = defaultdict(list)
        self.classes: dict[str, ast.ClassDef] = {}
        for node in _parsed(source):
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name != "*":
                    made = _Statement(partial(self._import, node, alias), imports=True)
                    self._bind(_bound_by(alias), made)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in node.body:  # for readers only
                for alias in getattr(inner, "names", ()):
                    text = f"{_bound_by(alias)} = typing.Any\n"
                    made = _Statement(
                        partial(lambda text: (text, frozenset(), _HERE), text), imports=True
                    )
                    self._bind(_bound_by(alias), made)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            self._bind(node.name, _Statement(partial(self._definition, node)))
        else:
            try:
                text, bound, needed = self._text_and_names(node)
            except (SyntaxError, ValueError):
                return
            made = _Statement(lambda: (text, needed, _HERE))
            for name in bound:
                self._bind(name, made)

    def _definition(self, node: ast.stmt) -> tuple[str, frozenset[str], tuple[str, str]]:
        text, _, needed = self._text_and_names(node)
        return text, needed, _HERE

    def _text_and_names(self, node: ast.stmt) -> tuple[str, frozenset[str], frozenset[str]]:
        text = self.text_of(node, stand_ins=True)
        return text, *globals_of(text)

    def _import(
        self, node: ast.Import | ast.ImportFrom, alias: ast.alias
    ) -> tuple[str, frozenset[str], tuple[str, str]]:
        text, elsewhere = _stand_in(_bound_by(alias)) + "\n", _HERE
        renamed = f" as {alias.asname}" if alias.asname else ""
        if isinstance(node, ast.Import):
            if alias.name in MODULES:
                text = f"import {alias.name}{renamed}\n"
        elif _harmless(node):
            text = f"from {node.module} import {alias.name}{renamed}\n"
        elif path := self._find(node.module or "", node.level):
            text = f"{alias.asname} = {alias.name}\n" if alias.asname else "\n"
            elsewhere = path, alias.name
        return text, frozenset(), elsewhere

    def _bind(self, name: str, statement: _Statement) -> None:
        if not self.statements or self.statements[-1] is not statement:
            self.statements.append(statement)
        self.binding[name].append(len(self.statements) - 1)

    def text_of(self, node: ast.stmt, *, stand_ins: bool = False) -> str:
        """The lines of a statement, decorators included; with `stand_ins` for what imports in it would bring.

        Raises ValueError where an import shares its line.
        """
        decorators = getattr(node, "decorator_list", ())
        first = min([node.lineno, *(one.lineno for one in decorators)])
        lines = self._lines[first - 1 : node.end_lineno]
        for one in ast.walk(node) if stand_ins else ():
            if isinstance(one, (ast.Import, ast.ImportFrom)) and not _harmless(one):
                at, end = one.lineno - first, (one.end_lineno or one.lineno) - first
                rest = lines[end].encode("utf-8")[one.end_col_offset or 0 :].decode("utf-8")
                if lines[at][: one.col_offset].strip() or rest.partition("#")[0].strip():
                    raise ValueError("an import that is not alone on its line")
                made = "; ".join(_stand_in(_bound_by(alias)) for alias in one.names)
                lines[at : end + 1] = [
                    f"{lines[at][: one.col_offset]}{made}\n",
                    *["\n"] * (end - at),
                ]
        return "".join(lines).rstrip("\n") + "\n"

    def init_of(self, name: str, depth: int = 0) -> str:
        """Source of the `__init__` that a class of this file has or inherits here; without one, of what stands for it."""
        node = self.classes.get(name)
        if node is None or depth > 4:
            return ""
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                return ast.unparse(inner)
        if "dataclass" in "".join(ast.unparse(one) for one in node.decorator_list):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            needed = [ast.unparse(one) for one in fields if one.value is None]
            return f"def __init__({', '.join(['self', *needed])}): ..."
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        return next((found for base in bases if (found := self.init_of(base, depth + 1))), "")


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _stand_in(name: str) -> str:
    """A statement that binds the name of what is not there to something that can be a base, or asked for, and does nothing."""
    if name == "*":
        raise ValueError("names that nobody tells")
    return f"{name} = type({name!r}, (), {{}})"


def _harmless(node: ast.Import | ast.ImportFrom) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name in MODULES for alias in node.names)
    return node.level == 0 and node.module in MODULES and node.names[0].name != "*"


class Package:
    """Files of a package by their path in it. read: path -> source, or None where there is no such file."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read = read
        self._files: dict[str, File | None] = {}

    def file(self, path: str) -> File | None:
        """A file, parsed once; None if it cannot be."""
        if path not in self._files:
            source = self._read(path)
            try:
                self._files[path] = None if source is None else File(
                    source, lambda module, level: self._module(path, module, level)
                )  # fmt: skip
            except (SyntaxError, ValueError, RecursionError):
                self._files[path] = None
        return self._files[path]

    def _module(self, path: str, module: str, level: int) -> str:
        """The file of a module that the file at `path` imports from, "" if it is none of the package's."""
        parts = module.split(".") if module else []
        folders = [PurePosixPath(), PurePosixPath("src")]
        if level:
            parents = PurePosixPath(path).parents
            folders = [parents[level - 1]] if level <= len(parents) else []
        for folder in folders:
            place = folder.joinpath(*parts)
            for found in (place.with_suffix(".py") if parts else place, place / "__init__.py"):
                if found.suffix == ".py" and self._read(str(found)) is not None:
                    return str(found)
        return ""

    def closure(self, path: str, names: Iterable[str]) -> str | None:
        """The statements that bind `names` in a file and all that those need, in an order in which they can be executed.

        None if one of them must not be executed, if two files bind a name to different things, or if they are too many. A name
        that nothing binds gets a stand-in.
        """
        chosen: dict[str, set[int]] = defaultdict(set)
        imports: dict[str, set[str]] = defaultdict(set)
        owner: dict[
            str, tuple[str, str]
        ] = {}  # of a name: the file that binds it to a thing of its own, how if it only imports
        unbound: dict[str, None] = {}
        waiting, met = [(path, name) for name in names], set[tuple[str, str]]()
        while waiting:
            if (place := waiting.pop()) in met:
                continue
            met.add(place)
            where, name = place
            if (file := self.file(where)) is None:
                return None
            if name not in file.binding and name not in PROVIDED:
                unbound[name] = None
            for index in file.binding.get(name, ()):
                statement = file.statements[index]
                text, needed, elsewhere = statement.made
                if not text:
                    return None
                if elsewhere == _HERE:
                    mine = where, text if statement.imports else ""
                    theirs = owner.setdefault(name, mine)
                    if theirs[0] != where:
                        if not mine[1] or theirs[1] != mine[1]:
                            return None
                        continue
                chosen[where].add(index)
                waiting += [(where, one) for one in needed]
                if elsewhere != _HERE:
                    imports[where].add(elsewhere[0])
                    waiting.append(elsewhere)
            if sum(map(len, chosen.values())) > _MOST_STATEMENTS:
                return None
        texts = [f"{_stand_in(name)}\n" for name in unbound if name not in owner] + [
            self._files[one].statements[index].made[0]  # type: ignore[union-attr]
            for one in _imported_first(path, imports)
            for index in sorted(chosen[one])
        ]
        text = "".join(part for part in texts if part != "\n")
        return text if len(text) <= _MOST_TEXT else None


def _imported_first(path: str, imports: Mapping[str, set[str]]) -> list[str]:
    """Files in an order in which what is imported stands before what imports it, where that is possible."""
    order: list[str] = []
    met = {path}
    stack = [(path, iter(sorted(imports.get(path, ()))))]
    while stack:
        one, rest = stack[-1]
        if (following := next(rest, None)) is None:
            order.append(one)
            stack.pop()
        elif following not in met:
            met.add(following)
            stack.append((following, iter(sorted(imports.get(following, ())))))
    return order


class Kept:
    """The packages that functions come from. folders: package -> what reads a file of it."""

    def __init__(self, readers: Mapping[str, Callable[[str], str | None]]) -> None:
        self._readers = readers
        self._name, self._package = "", Package(lambda _: None)

    def of(self, name: str) -> Package | None:
        """A package; the last one is remembered."""
        if name not in self._readers:
            return None
        if name != self._name:
            self._name, self._package = name, Package(self._readers[name])
        return self._package


def self_contained(functions: Iterable[Function], packages: Kept) -> Iterator[Alone]:
    """Functions and methods that need nothing but the standard library and their own package, with what they need."""
    for function in sorted(functions, key=lambda one: one.origin):
        name, path, qualified = function.origin.split(":", 2)
        of_class, _, _ = qualified.rpartition(".")
        needed = free_names(function, method=bool(of_class))
        package = packages.of(name)
        if needed is None or needed & REFUSED or package is None:
            continue
        file = package.file(path)
        if file is None or (of_class and of_class not in file.classes):
            continue
        helpers = package.closure(path, [*sorted(needed), *([of_class] if of_class else [])])
        if helpers is not None:
            init = file.init_of(of_class) if of_class else ""
            yield Alone(function, helpers, of_class, init)
