"""What the failure itself suggests: cheap edits that come before any search.

NameError and UnboundLocalError name a variable, AttributeError the object's real attributes, ImportError a module or a
name in it, and a file that no longer parses names the line. Each suggestion is an ordinary edit and is validated like any other.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.locate import SourceFile, Sources
from tools.source.edits import Edit
from tools.source.leaves import DEDENT, INDENT, NEWLINE, Leaf
from tools.verdicts import CollectionError, Failure, SuiteRun
from trm.data.functions import names_in_reach

_CLOSE_MATCHES = 6
_STANDARD = ("abc", "argparse", "ast", "asyncio", "base64", "bisect", "collections", "contextlib", "copy", "csv", "dataclasses",
             "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools", "json", "logging",
             "math", "operator", "os", "pathlib", "random", "re", "shutil", "statistics", "string", "struct", "subprocess",
             "sys", "tempfile", "textwrap", "threading", "time", "types", "typing", "unicodedata", "uuid", "warnings",
             "weakref", "zlib")  # fmt: skip
_FROM = {"Counter": "collections", "defaultdict": "collections", "OrderedDict": "collections", "deque": "collections",
         "namedtuple": "collections", "Path": "pathlib", "dataclass": "dataclasses", "field": "dataclasses",
         "reduce": "functools", "partial": "functools", "wraps": "functools", "lru_cache": "functools", "cache": "functools",
         "chain": "itertools", "product": "itertools", "combinations": "itertools", "permutations": "itertools",
         "accumulate": "itertools", "zip_longest": "itertools", "islice": "itertools", "groupby": "itertools",
         "datetime": "datetime", "timedelta": "datetime", "date": "datetime", "timezone": "datetime", "Decimal": "decimal",
         "Fraction": "fractions", "Enum": "enum", "Any": "typing", "Optional": "typing", "Iterable": "collections.abc",
         "contextmanager": "contextlib", "suppress": "contextlib", "deepcopy": "copy", "sqrt": "math", "ceil": "math",
         "floor": "math", "gcd": "math", "heappush": "heapq", "heappop": "heapq"}  # fmt: skip
_QUOTED = re.compile(r"'([^']+)'")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An edit of a file and the exception that suggests it."""

    edit: Edit
    operator: str


def suggestions(run: SuiteRun, sources: Sources) -> list[Suggestion]:
    """All suggestions of a run, without repeats, those of the innermost own frame first."""
    found: dict[Suggestion, None] = {}
    for failure in run.failures:
        for frame in reversed(failure.frames):
            file = sources.get(frame.path)
            if file is not None:
                for suggestion in _of_failure(failure, file, frame.line):
                    found.setdefault(suggestion)
                break
    for error in run.collection_errors:
        file = sources.get(error.path)
        if file is not None:
            for suggestion in _of_collection(error, file):
                found.setdefault(suggestion)
    return list(found)


def _leaves_at(file: SourceFile, line: int) -> list[tuple[int, Leaf]]:
    return [
        (i, leaf)
        for i, leaf in enumerate(file.module.leaves)
        if leaf.line == line and not leaf.is_layout
    ]


def _name_of(failure: Failure) -> str:
    name = failure.suggestions_data.get("name")
    if isinstance(name, str) and name:
        return name
    match = _QUOTED.search(failure.message)
    return match.group(1) if match else ""


def _of_failure(failure: Failure, file: SourceFile, line: int) -> Iterator[Suggestion]:
    if failure.exception in ("NameError", "UnboundLocalError"):
        name = _name_of(failure)
        reach = [*_local_names(file, line), *names_in_reach(file.module)]
        yield from _renamed(file, line, name, reach, failure.exception)
        yield from _imports(file, name)
    elif failure.exception == "AttributeError":
        quoted = _QUOTED.findall(failure.message)
        name = failure.suggestions_data.get("name") or (quoted[-1] if quoted else "")
        known = (
            failure.suggestions_data.get("attributes") or failure.suggestions_data.get("dir") or ()
        )
        own = failure.suggestions_data.get("own") or ()
        reach = [str(a) for a in known]
        yield from _renamed(file, line, str(name), reach, "AttributeError", [str(a) for a in own])
        if failure.message.startswith("'NoneType'"):
            yield from _guarded(file, line, str(name))
        elif len(quoted) == 2:
            yield from _stored(file, *quoted)
    elif failure.exception in ("ImportError", "ModuleNotFoundError"):
        known = failure.suggestions_data.get("names") or ()
        yield from _renamed(
            file, line, _name_of(failure), [str(a) for a in known], failure.exception
        )


def _renamed(
    file: SourceFile,
    line: int,
    name: str,
    reach: Iterable[str],
    why: str,
    likely: Iterable[str] = (),
) -> Iterator[Suggestion]:
    """Names that are spelled alike, then the first `likely` ones, however they are spelled."""
    others = [
        other for other in dict.fromkeys(reach) if other != name and not other.startswith("__")
    ]
    close = difflib.get_close_matches(name, others, n=_CLOSE_MATCHES, cutoff=0.5)
    others = [other for other in likely if other not in close and other != name][:_CLOSE_MATCHES]
    for index, leaf in _leaves_at(file, line):
        if leaf.kind == "identifier" and leaf.text == name:
            for other in (*close, *others):
                yield Suggestion(Edit(index, index + 1, (other,), file.path), why)


def _guarded(file: SourceFile, line: int, name: str) -> Iterator[Suggestion]:
    """The statement only where what was None is not: `if a.b is not None:` around `return a.b.name`."""
    leaves, nodes = file.module.leaves, file.module.nodes
    for at, leaf in _leaves_at(file, line):
        if leaf.text != name or leaves[at - 1].text != ".":
            continue
        around = [node for node in nodes if node.start < at < node.end]
        objects = [n for n in around if n.kind == "attribute" and n.end == at + 1]
        # the smallest one: with its line's end, and no block inside
        whole = [n for n in around if n.parent >= 0 and nodes[n.parent].kind == "block"]
        if not objects or not whole:
            continue
        none = tuple(leaf.text for leaf in leaves[objects[-1].start : at - 1])
        start, end = whole[-1].start, whole[-1].end
        inside = tuple(leaf.text for leaf in leaves[start:end])
        if leaves[end].text != NEWLINE or any(leaf.is_layout for leaf in leaves[start:end]):
            continue
        tokens = ("if", *none, "is not", "None", ":", NEWLINE, INDENT, *inside, NEWLINE, DEDENT)
        yield Suggestion(Edit(start, end + 1, tokens, file.path), "guard against None")


def _stored(file: SourceFile, of_class: str, name: str) -> Iterator[Suggestion]:
    """A parameter that a method of the class forgot to keep: `self._name = name` as its first statement."""
    leaves = file.module.leaves
    for unit in file.module.units:
        if unit.name.split(".")[:-1] != [of_class]:
            continue
        begin = next((i for i in range(unit.start, unit.end) if leaves[i].text == INDENT), None)
        if begin is None:
            continue
        parameters = {
            leaf.text
            for leaf in leaves[unit.start : begin]
            if leaf.kind == "identifier" and leaf.parent.endswith(("parameter", "parameters"))
        }
        if leaves[begin + 1].kind == "string" and leaves[begin + 2].text == NEWLINE:
            begin += 2
        for parameter in sorted(parameters & {name, name.lstrip("_")}):
            tokens = ("self", ".", name, "=", parameter, NEWLINE)
            yield Suggestion(Edit(begin + 1, begin + 1, tokens, file.path), "missing attribute")


def _local_names(file: SourceFile, line: int) -> list[str]:
    unit = next((u for u in file.module.units if u.first_line <= line <= u.last_line), None)
    if unit is None:
        return []
    leaves = file.module.leaves[unit.start : unit.end]
    return list(
        dict.fromkeys(x.text for x in leaves if x.kind == "identifier" and x.field != "attribute")
    )


def _imports(file: SourceFile, name: str) -> Iterator[Suggestion]:
    """A missing import, before the first statement that is neither docstring nor `from __future__`."""
    if name in _STANDARD:
        tokens: tuple[str, ...] = ("import", name, NEWLINE)
    elif name in _FROM:
        module = [part for piece in _FROM[name].split(".") for part in (piece, ".")][:-1]
        tokens = ("from", *module, "import", name, NEWLINE)
    else:
        return
    yield Suggestion(Edit(at := _first_statement(file), at, tokens, file.path), "missing import")


def _first_statement(file: SourceFile) -> int:
    for node in file.module.nodes:
        if node.parent != 0:
            continue
        first = file.module.leaves[node.start]
        if node.kind == "future_import_statement" or (
            node.kind == "expression_statement" and first.kind == "string"
        ):
            continue
        return node.start
    return 0


def _of_collection(error: CollectionError, file: SourceFile) -> Iterator[Suggestion]:
    line = error.line or 1
    if error.exception in ("SyntaxError", "IndentationError", "TabError"):
        yield from syntax_repairs(file, line)
        return
    failure = Failure("", error.exception, error.message, [])
    yield from _of_failure(failure, file, line)


def syntax_repairs(file: SourceFile, line: int) -> Iterator[Suggestion]:
    """Token edits on the reported line and its neighbours: a missing colon, bracket, comma or operator, or one too many."""
    missing = (":", ")", "]", "}", ",", "=", "==", "(", "in")
    for near in (line, line - 1, line + 1):
        row = _leaves_at(file, near)
        if not row:
            continue
        places: Sequence[int] = [*reversed([index + 1 for index, _ in row]), row[0][0]]
        for token in missing:
            for place in places:
                yield Suggestion(Edit(place, place, (token,), file.path), "SyntaxError")
        for index, leaf in row:
            yield Suggestion(Edit(index, index + 1, (), file.path), "SyntaxError")
            for token in ("==", "=", ":", ","):
                if leaf.text != token and not leaf.text.isidentifier():
                    yield Suggestion(Edit(index, index + 1, (token,), file.path), "SyntaxError")
        after = row[-1][0] + 1
        if row[-1][1].text == ":" and after < len(file.module.leaves):
            yield Suggestion(Edit(after, after, ("pass",), file.path), "SyntaxError")
