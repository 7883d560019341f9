"""Keeping the benchmarks out of the corpus: hashes of their functions, exact and by shingles of eight tokens.

`blocklist.json.gz` beside this file holds hashes only, no code, so the corpus can be rebuilt without the benchmarks.
To make it anew:

    python -c "from trm.data.decontaminate import regenerate; regenerate()" QUIXBUGS_DIR humanevalpack.jsonl [more copies ...]

where a copy is anything that `trm.data.formats` reads and that has rules below (the shipped list: those two, MBPP, DebugBench,
ConDefects).
"""

from __future__ import annotations

import base64
import builtins
import gzip
import hashlib
import json
import keyword
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from tools.source.leaves import LAYOUT, NEWLINE, Module, SourceError
from trm.data.formats.fields import FormatError
from trm.data.formats.registry import detect, read

PACKAGED = Path(__file__).with_name("blocklist.json.gz")
SHINGLE = 8  # tokens
SMALLEST = 12  # tokens; below this every function looks like some other
NEAR = 0.5  # share of the smaller function's shingles
NEAR_NAMED = 0.25  # the same for a function that is called like a benchmark's


_KEPT = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "cls"})
_NAME = re.compile(r"[^\W\d]\w*\Z")
_STRING = re.compile(r"[A-Za-z]{0,3}(\"\"\"|'''|\"|')")


def _fold(tokens: Sequence[str]) -> list[str]:
    """Tokens without layout and docstrings, strings folded."""
    out: list[str] = []
    statement_begins = True
    for index, token in enumerate(tokens):
        if token in LAYOUT:
            statement_begins = True
            continue
        string = _STRING.match(token)
        if (
            string
            and statement_begins
            and (index + 1 == len(tokens) or tokens[index + 1] == NEWLINE)
        ):
            continue  # a docstring, or a string that does nothing
        out.append("<str>" if string else token)
        statement_begins = False
    return out


def _is_free(tokens: Sequence[str], index: int) -> bool:
    """Whether the token is an identifier that a copy may have renamed; attributes are not: most are the language's own."""
    token = tokens[index]
    return (
        token not in _KEPT
        and (index == 0 or tokens[index - 1] != ".")
        and _NAME.match(token) is not None
    )


def normalize(tokens: Sequence[str]) -> tuple[str, ...]:
    """Leaf texts of a function without docstrings, comments and layout, identifiers renamed by order of first occurrence.

    Keywords, built-in names, attributes, operators and numbers stay; strings become "<str>". The function's own name is
    an identifier like any other.
    """
    folded = _fold(tokens)
    names: dict[str, str] = {}
    return tuple(
        names.setdefault(token, f"${len(names)}") if _is_free(folded, index) else token
        for index, token in enumerate(folded)
    )


def shingles(normal: Sequence[str]) -> set[int]:
    """32-bit hashes of all windows of SHINGLE tokens of a normalized function, identifiers renamed within the window."""
    last: dict[str, int] = {}
    before: list[
        int
    ] = []  # place of the identifier's previous occurrence, -1 for none, -2 for other tokens
    for index, token in enumerate(normal):
        if token[0] == "$":
            before.append(last.get(token, -1))
            last[token] = index
        else:
            before.append(-2)
    found: set[int] = set()
    for start in range(len(normal) - SHINGLE + 1):
        # "how far back the same name stood" is the same in every renaming
        window = [
            normal[i] if before[i] == -2 else f"${i - before[i] if before[i] >= start else 0}"
            for i in range(start, start + SHINGLE)
        ]
        found.add(crc32("\x1f".join(window).encode()))
    return found


def digest(normal: Sequence[str]) -> str:
    """Hash of a whole normalized function: 12 hex digits."""
    return hashlib.blake2b("\x1f".join(normal).encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Rule:
    """How one benchmark is matched: one shingle in `modulus` is kept, `hits` of those must be shared; `named`: see NEAR_NAMED."""

    modulus: int = 1
    hits: int = 1
    named: bool = False


# The two sets we report on are matched strictly. The others are large and full of idioms, so a near match needs more evidence.
RULES = {
    "quixbugs": Rule(named=True),
    "humanevalfix": Rule(named=True),
    "humaneval": Rule(named=True),
    "evalplus": Rule(named=True),
    "mbpp": Rule(modulus=2, hits=4),
    "cruxeval": Rule(modulus=2, hits=4),
    "bigcodebench": Rule(modulus=2, hits=4),
    "ds1000": Rule(modulus=2, hits=4),
    "apps": Rule(modulus=32, hits=3),
    "codecontests": Rule(modulus=32, hits=3),
    "debugbench": Rule(modulus=8, hits=3),
    "condefects": Rule(modulus=32, hits=3),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark function: set, hash of the whole, kept shingles; task and bare name where the rule is `named`, else ""."""

    benchmark: str
    task: str
    name: str
    digest: str
    shingles: frozenset[int]

    @property
    def label(self) -> str:
        """The set and, where kept, the task."""
        return f"{self.benchmark} {self.task}".rstrip()


@dataclass(frozen=True, slots=True)
class Program:
    """One program text of a benchmark; `task` names its task within the set ("gcd", "Python/12")."""

    benchmark: str
    task: str
    source: str


def programs(path: Path) -> Iterator[Program]:
    """The right programs of the benchmark copy at `path`; of QuixBugs and HumanEvalPack the buggy ones as well.

    Raises FormatError for what is no benchmark, or damaged: a list with holes would let its functions through.
    """
    form = detect(path)
    if form.name not in RULES:
        raise FormatError(f"{path}: {form.title} publishes no programs to keep out of a corpus")
    for problem in read(path, strict=True, form=form):
        both = form.name in ("quixbugs", "humanevalfix")
        for source in (problem.buggy, problem.code) if both else (problem.code,):
            if source:
                yield Program(form.name, problem.task, source)
        for name, source in problem.support.items():
            if name.endswith(".py"):
                yield Program(form.name, name.removesuffix(".py"), source)


class Blocklist:
    """Answers whether a function is (nearly) one of a benchmark's."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._exact: dict[str, Entry] = {}
        for entry in self.entries:
            self._exact.setdefault(entry.digest, entry)
        self._names = {
            e.name for e in self.entries if RULES[e.benchmark].named and not e.name.startswith("__")
        }
        self._moduli = sorted({RULES[e.benchmark].modulus for e in self.entries})
        self._having: dict[int, list[int]] = {}
        for number, entry in enumerate(self.entries):
            for shingle in entry.shingles:
                self._having.setdefault(shingle, []).append(number)

    @classmethod
    def from_benchmarks(cls, paths: Iterable[Path]) -> Blocklist:
        """From copies of benchmarks (see `programs`). Raises FormatError for anything else."""
        found: dict[tuple[str, str], Entry] = {}
        for path in paths:
            for program in programs(path):
                rule = RULES[program.benchmark]
                task = program.task if rule.named else ""
                for name, tokens in _functions(program.source):
                    normal = normalize(tokens)
                    if len(normal) < SMALLEST:
                        continue
                    kept = frozenset(s for s in shingles(normal) if s % rule.modulus == 0)
                    entry = Entry(
                        program.benchmark, task, name if rule.named else "", digest(normal), kept
                    )
                    found.setdefault((entry.benchmark, entry.digest), entry)
        return cls(found.values())

    @classmethod
    def load(cls, path: Path = PACKAGED) -> Blocklist:
        """The inverse of `save`; by default the list that ships with the project."""
        stored = json.loads(gzip.decompress(path.read_bytes()))
        entries: list[Entry] = []
        for benchmark, content in stored.items():
            flat = array("I", base64.b64decode(content["shingles"]))
            at = 0
            for task, name, whole, count in content["functions"]:
                entries.append(
                    Entry(benchmark, task, name, whole, frozenset(flat[at : at + count]))
                )
                at += count
        return cls(entries)

    def save(self, path: Path = PACKAGED) -> None:
        """Write hashes, task ids and function names as gzipped JSON; the same entries give the same bytes."""
        stored: dict[str, dict] = {}
        flat: dict[str, array] = {}
        for entry in self.entries:
            content = stored.setdefault(entry.benchmark, {"functions": []})
            content["functions"].append([entry.task, entry.name, entry.digest, len(entry.shingles)])
            flat.setdefault(entry.benchmark, array("I")).extend(sorted(entry.shingles))
        for benchmark, content in stored.items():
            content["shingles"] = base64.b64encode(flat[benchmark].tobytes()).decode()
        path.write_bytes(
            gzip.compress(json.dumps(stored, separators=(",", ":")).encode(), 9, mtime=0)
        )

    def matches(self, tokens: Sequence[str], name: str) -> str | None:
        """Why the function (leaf texts, bare name) must not be trained on: "exact|near|named (set[ task])", or None.

        near: the two share NEAR of the smaller one's shingles; named: NEAR_NAMED of them and the name of a function of
        QuixBugs or HumanEval.
        """
        normal = normalize(tokens)
        if len(normal) < SMALLEST:
            return None
        exact = self._exact.get(digest(normal))
        if exact is not None:
            return f"exact ({exact.label})"
        own = shingles(normal)
        hits = Counter(number for shingle in own for number in self._having.get(shingle, ()))
        if not hits:
            return None
        sizes = {m: len(own) if m == 1 else sum(s % m == 0 for s in own) for m in self._moduli}
        is_named = name in self._names
        for number, count in hits.most_common():
            entry = self.entries[number]
            rule = RULES[entry.benchmark]
            share = count / max(1, min(sizes[rule.modulus], len(entry.shingles)))
            if share >= NEAR and count >= rule.hits:
                return f"near ({entry.label})"
            if is_named and rule.named and share >= NEAR_NAMED:
                return f"named ({entry.label})"
        return None


def _functions(source: str) -> Iterable[tuple[str, list[str]]]:
    """Bare names and leaf texts of the functions and methods of a source text, as far as it can be read."""
    try:
        module = Module(source.encode("utf-8", "replace"))
    except SourceError:
        return
    for unit in module.units:
        if unit.kind == "function":
            yield (
                unit.name.rpartition(".")[2],
                [leaf.text for leaf in module.leaves[unit.start : unit.end]],
            )


def regenerate(paths: Sequence[str] | None = None, out: Path = PACKAGED) -> None:
    """Write `out` from the benchmark copies named on the command line and print what went in."""
    blocklist = Blocklist.from_benchmarks(map(Path, sys.argv[1:] if paths is None else paths))
    blocklist.save(out)
    for benchmark, count in Counter(entry.benchmark for entry in blocklist.entries).items():
        print(f"{benchmark}: {count} functions")
    print(f"{out}: {out.stat().st_size:,} bytes")
