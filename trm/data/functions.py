"""From source trees to functions: extract, deduplicate, decontaminate, and keep where each came from."""

from __future__ import annotations

import ast
import gzip
import hashlib
import itertools
import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.source.leaves import Leaf, Module, SourceError, Unit

MIN_LEAVES, MAX_LEAVES = 12, 430
_MAX_FILE = 300_000
HELD_OUT = 40  # one package in so many is never trained on
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Function:
    """One correct function: its dedented text, names in reach, and its origin ("package:path:qualname").

    names: of the module, for the operators; near: what a reader has in mind, see `Surroundings`.
    """

    source: str
    name: str
    names: tuple[str, ...]
    near: tuple[str, ...]
    origin: str
    licence: str

    @staticmethod
    def from_json(record: dict[str, Any]) -> Function:
        """The inverse of `dataclasses.asdict` after JSON."""
        lists = {key: tuple(record[key]) for key in ("names", "near")}
        return Function(**{**record, **lists})

    @property
    def package(self) -> str:
        """The unit of hold-out: the repository or installed package."""
        return self.origin.split(":", 1)[0]


def held_out(package: str) -> bool:
    """Whether the package belongs to the held-out set: a function of its name alone."""
    return sum(package.lower().encode()) % HELD_OUT == 0


def names_in_reach(module: Module) -> tuple[str, ...]:
    """Names bound at module level: imports, functions, classes, constants, in order of appearance."""
    found: dict[str, None] = {}
    for node in module.nodes:
        top = node.parent == 0 or (node.parent > 0 and module.nodes[node.parent].parent == 0)
        if not top:
            continue
        if node.kind in ("import_statement", "import_from_statement"):
            found.update(dict.fromkeys(_imported(module.leaves[node.start : node.end])))
        elif node.kind in ("function_definition", "class_definition"):
            after = [
                leaf for leaf in module.leaves[node.start : node.end][:4] if leaf.field == "name"
            ]
            for leaf in after:
                found.setdefault(leaf.text)
        elif node.kind == "assignment":
            leaf = module.leaves[node.start]
            if leaf.kind == "identifier" and (
                leaf.field == "left" or leaf.parent == "pattern_list"
            ):
                found.setdefault(leaf.text)
    return tuple(found)


def _imported(leaves: Sequence[Leaf]) -> list[str]:
    """The names that an import statement binds: `np` of `import numpy as np`, `os` of `import os.path`."""
    texts = [leaf.text for leaf in leaves]
    names: list[str] = []
    for before, leaf in itertools.islice(
        zip(texts, leaves[1:], strict=False), texts.index("import"), None
    ):
        if leaf.kind == "identifier" and before in ("import", ",", "("):
            names.append(leaf.text)
        elif leaf.kind == "identifier" and before == "as":
            names[-1] = leaf.text
    return names


def reach_of(unit_text: str, names: Iterable[str], limit: int = 24) -> tuple[str, ...]:
    """The names that a reader of the unit would think of: those it mentions first, then the rest in order."""
    names = list(dict.fromkeys(names))
    words = set(_WORD.findall(unit_text))
    used = [name for name in names if name in words]
    rest = [name for name in names if name not in words]
    return tuple((used + rest)[:limit])


class Surroundings:
    """The identifiers of a file, by what a unit of it is likely to be missing.

    What a repair must write is more often a name of the class or the module than a new one, and a name that the network is shown
    it can copy: of 38 nats that the fix of a lost attribute cost, 37 were its spelling (docs/decisions.md).

    bound: `names_in_reach` of the file.
    """

    def __init__(self, module: Module) -> None:
        leaves = module.leaves
        self.bound = names_in_reach(module)
        self._identifiers = [(i, leaf.text) for i, leaf in enumerate(leaves) if leaf.kind == "identifier"]  # fmt: skip
        self._read = [
            (i, text)
            for i, text in self._identifiers
            if leaves[i - 1].text == "."
            or (leaves[i].parent, leaves[i].field) == ("keyword_argument", "name")
        ]
        # (class, method, its name and the attributes of self that it reads)
        self._members: list[tuple[str, Unit, set[str]]] = []
        for unit in module.units:
            of_class, _, name = unit.name.rpartition(".")
            if of_class:
                of_self = {t for i, t in self._read if unit.start < i < unit.end and leaves[i - 2].text == "self"}  # fmt: skip
                self._members.append((of_class, unit, {name} | of_self))

    def near(self, unit: Unit, limit: int = 64) -> tuple[str, ...]:
        """Names that the rest of the file binds, reads as attributes or passes by keyword, the most useful first.

        Members of the unit's class count most, then what is used often. What the unit itself holds makes no difference, so that
        a fault in it makes none.
        """
        of_class, _, own = unit.name.rpartition(".")
        members = set().union(
            *(names for one, method, names in self._members if one == of_class and method != unit)
        )
        kept = members.union(self.bound, self._elsewhere(self._read, unit))
        weights = {
            name: count**0.5 + 3 * (name in members) + (name in self.bound)
            for name, count in Counter(self._elsewhere(self._identifiers, unit)).items()
            if name in kept and name != own
        }
        return tuple(sorted(weights, key=lambda name: -weights[name])[:limit])

    @staticmethod
    def _elsewhere(found: Iterable[tuple[int, str]], unit: Unit) -> Iterator[str]:
        return (text for index, text in found if not unit.start <= index < unit.end)


def unit_text(module: Module, unit: Unit) -> str:
    """The dedented text of a unit without the blank lines and comments after it."""
    start = module.line_start(unit.first_line)
    end = module.leaves[unit.end - 1].end
    return textwrap.dedent(module.source[start:end].decode("utf-8"))


def token_hash(tokens: Iterable[str]) -> str:
    """Hash of the leaf texts, for exact duplicates."""
    return hashlib.blake2b("\x1f".join(tokens).encode(), digest_size=12).hexdigest()


def functions_of_file(
    path: Path, origin: str, licence: str
) -> Iterator[tuple[Function, tuple[str, ...]]]:
    """Functions of a file with their leaf texts; nothing for a file that is not clean Python 3."""
    try:
        data = path.read_bytes()
        if len(data) > _MAX_FILE:
            return
        ast.parse(data)
        module = Module(data)
    except (OSError, SourceError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    if module.has_error:
        return
    surroundings = Surroundings(module)
    for unit in module.units:
        if unit.kind != "function" or not MIN_LEAVES <= unit.end - unit.start <= MAX_LEAVES:
            continue
        text = unit_text(module, unit)
        tokens = tuple(leaf.text for leaf in module.leaves[unit.start : unit.end])
        name = unit.name.rpartition(".")[2]
        others = tuple(n for n in surroundings.bound if n != name)
        near = surroundings.near(unit)
        made = Function(text, name, reach_of(text, others), near, f"{origin}:{unit.name}", licence)
        yield made, tokens


def write(path: Path, functions: Iterable[Function]) -> int:
    """Write as gzipped JSON lines; returns how many."""
    total = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=3) as out:
        for function in functions:
            out.write(json.dumps(asdict(function), ensure_ascii=False) + "\n")
            total += 1
    return total


def read(path: Path) -> Iterator[Function]:
    """The inverse of `write`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield Function.from_json(json.loads(line))


def collect(
    roots: Iterable[tuple[str, str, Path]], excluded, is_test, blocklist
) -> tuple[list[Function], Counter[str], Counter[str]]:
    """All distinct functions of `roots` (package, licence, folder).

    excluded: path -> reason or None; is_test: path -> bool; blocklist: has matches(tokens, name) -> reason or None.
    Returns the functions, counts of what was left out by reason, and counts of leaf texts (for the vocabulary).
    """
    seen: set[str] = set()
    functions: list[Function] = []
    dropped: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for package, licence, folder in roots:
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if (reason := excluded(relative)) is not None:
                dropped[f"path: {reason}"] += 1
                continue
            if is_test(relative):
                dropped["path: test"] += 1
                continue
            for function, tokens in functions_of_file(path, f"{package}:{relative}", licence):
                digest = token_hash(tokens)
                if digest in seen:
                    dropped["function: duplicate"] += 1
                    continue
                seen.add(digest)
                if (reason := blocklist.matches(tokens, function.name)) is not None:
                    dropped[f"function: benchmark {reason.split()[0]}"] += 1
                    continue
                functions.append(function)
                words.update(tokens)
    return functions, dropped, words
