"""Real fixes as training material: the record, and which changes of a function are worth to be one.

`between` gives the edits from a function to its later version, `judge` says why a change is no bug fix: another layout, types,
names, messages, logging, or a habit of style. Both look at one function at a time and never run it.
"""

from __future__ import annotations

import ast
import builtins
import functools
import gzip
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from tools.source.edits import Edit
from tools.source.leaves import INDENT, NEWLINE, Leaf, Module, SourceError
from tools.source.minimal import minimal
from trm.config import MAX_CONTENT, MAX_SPAN
from trm.data.functions import MAX_LEAVES, MIN_LEAVES
from trm.data.sameness import same_but_for

_SEPARATION = 4  # equal leaves between two edits, else they are one
_SHORT = 20  # characters; a longer string, or one of several words, is a message
_WORD = re.compile(r"\w+")
_BUILTINS = frozenset(dir(builtins))
# Python 2 and the bridges to it: who writes or removes these ports code, and repairs nothing.
_DATED = frozenset(
    {"iteritems", "itervalues", "iterkeys", "xrange", "unicode", "basestring", "izip", "imap", "unichr", "long"}
    | {"raw_input", "has_key", "six", "text_type", "string_types", "binary_type", "PY2", "PY3", "cmp_to_key", "utcnow"}
    | {"im_func", "func_name", "func_code", "im_self", "__nonzero__", "maketrans", "cStringIO", "StringIO"}
    | {"IOError", "EnvironmentError", "getargspec", "assertEquals", "version_info", "__future__", "with_metaclass"}
    | {"cast", "Any", "Optional", "Union", "TYPE_CHECKING", "ensure_str", "to_native_str", "native_str", "is_py2"}
)  # fmt: skip
# What may be written though the file does not have it: members of common modules and types, and their arguments.
_MODULES = (
    *("os", "os.path", "sys", "re", "math", "itertools", "functools", "collections", "string", "time", "datetime", "json"),
    *("inspect", "copy", "operator", "socket", "struct", "io", "ast", "types", "random", "pathlib", "decimal", "subprocess"),
)  # fmt: skip
_TYPES = (str, bytes, bytearray, list, dict, set, frozenset, tuple, int, float, complex, slice, range, Exception)  # fmt: skip
_KEYWORDS = frozenset(
    {"encoding", "errors", "key", "default", "reverse", "strict", "end", "sep", "file", "flush", "maxsplit", "start", "newline"}
    | {"exist_ok", "parents", "indent", "sort_keys", "timeout", "check", "shell", "ensure_ascii", "fillvalue", "maxlen", "count"}
    | {"flags", "step", "initial", "base", "byteorder", "signed", "cwd", "env", "text", "ndigits", "tzinfo", "ignore_errors"}
)  # fmt: skip
_FIX = re.compile(
    r"\b(?:bug\w*|fix(?:e[sd]|ing|up)?|hotfix|bugfix\w*|issues?|errors?|crash\w*|wrong\w*|incorrect\w*|regress\w*|broken"
    r"|breaks?|breakage|fail(?:s|ed|ing|ures?)?|invalid|mistakes?|missing|correct(?:s|ed|ly|ing)?|off[ -]by[ -]one|leak\w*"
    r"|infinite|deadlock|race|properly|traceback|(?:Type|Value|Key|Attribute|Index|Name|Unicode\w*)Error)\b"
    r"|(?:close[sd]?|resolve[sd]?|see|refs?|for|gh|issue)[ :-]*#\d+|^#\d+",
    re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
_STYLE = re.compile(
    r"\b(?:pep-?8|pep-?257|flake8?|pyflakes|pylint|ruff|lint\w*|black|isort|pyupgrade|refactor\w*|clean(?:ed|ing)?[ -]?ups?"
    r"|cosmetics?|whitespace|renam\w+|mypy|pyright|typing|type[ -]?(?:hint|annotation|check)\w*"
    r"|annotat\w+|deprecat\w*|docstrings?|docs?"
    r"|documentation|comments?|speed\w*|optimi[sz]\w*|performance|faster|moderni[sz]\w*|py(?:thon)? ?[23]k?|simplif\w+"
    r"|version|bump|coverage|style|spelling|warnings?|reformat\w*|dead code|unused|translations?|revert\w*)\b",
    re.IGNORECASE,
)  # fmt: skip
_FEATURE = re.compile(
    r"(?:\[\w+\]\s*|\w+(?:\([\w.-]+\))?:\s*)?(?:add|implement|introduc|new\b|support|allow|enabl|remov|drop|delet|use\b|using\b|convert"
    r"|mov|split|extract|merge|replac|switch|rework|rewrit|improv|initial|feat|wip\b|extend|expos|make\b|experiment)",
    re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fix:
    """One function before and after, dedented, and where the change comes from.

    names: names in reach before; origin: "owner/name:path:qualname"; fixlike: the message speaks of a fault; edits: (start, end,
    tokens) in leaves of `before`, one or two; kind: "replace", "insert", "delete", "pair", or "string" for messages alone;
    functions: how many functions the commit changes; held_out: never to be trained on.
    """

    before: str
    after: str
    name: str
    names: tuple[str, ...]
    origin: str
    licence: str
    commit: str
    subject: str
    fixlike: bool
    touches_tests: bool
    held_out: bool
    kind: str
    functions: int
    edits: tuple[Edit, ...]

    @property
    def package(self) -> str:
        """The repository."""
        return self.origin.split(":", 1)[0]


def speaks_of_fault(subject: str, body: str) -> bool:
    """Whether a commit's message says that something was wrong. What begins like a feature must say so in its first line."""
    if _STYLE.search(subject):
        return False
    return bool(_FIX.search(subject) or (_FIX.search(body[:1000]) and not _FEATURE.match(subject)))


def speaks_of_else(subject: str) -> bool:
    """Whether it speaks of style, or of a feature: then tests in the commit are no sign of a repair."""
    return bool(_STYLE.search(subject) or _FEATURE.match(subject))


def write(path: Path, fixes: Iterable[Fix]) -> int:
    """Write as gzipped JSON lines, as a whole or not at all; returns how many."""
    total = 0
    partial = path.with_name(path.name + ".partial")
    with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as out:
        for fix in fixes:
            record = asdict(fix) | {"edits": [[e.start, e.end, e.tokens] for e in fix.edits]}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            total += 1
    partial.replace(path)
    return total


def read(path: Path) -> Iterator[Fix]:
    """The inverse of `write`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record: dict[str, Any] = json.loads(line)
            edits = tuple(Edit(start, end, tuple(tokens)) for start, end, tokens in record["edits"])
            yield Fix(**{**record, "names": tuple(record["names"]), "edits": edits})


def parse(text: str) -> Module | None:
    """The module of one function and nothing else, without what follows its last statement; None if it is not that."""
    try:
        module = Module(text.encode("utf-8"))
        if module.has_error or not module.leaves:
            return None
        end = module.leaves[-1].end
        if module.source[end:].strip():
            module = Module(module.source[:end])
    except (SourceError, UnicodeEncodeError, RecursionError):
        return None
    units = module.units
    if len(units) != 1 or units[0].kind != "function" or units[0].end != len(module.leaves):
        return None
    return module if MIN_LEAVES <= len(module.leaves) <= MAX_LEAVES else None


def with_docstring_of(before: Module, after: Module) -> Module | None:
    """`before` with the other's docstring, so that it does not count as an edit; None if only one of them has any."""
    places = [_docstring(module) for module in (before, after)]
    if places[0] is None and places[1] is None:
        return before
    if places[0] is None or places[1] is None:
        return None
    old, new = before.leaves[places[0]], after.leaves[places[1]]
    if old.text == new.text:
        return before
    source = (
        before.source[: old.start] + after.source[new.start : new.end] + before.source[old.end :]
    )
    return parse(source.decode("utf-8"))


def _docstring(module: Module) -> int | None:
    """The leaf of a function's docstring."""
    leaves = module.leaves
    first = next((i + 1 for i, leaf in enumerate(leaves) if leaf.kind == INDENT), len(leaves))
    is_alone = first + 1 < len(leaves) and leaves[first + 1].kind == NEWLINE
    return first if is_alone and leaves[first].kind == "string" else None


def between(before: Sequence[str], after: Sequence[str]) -> tuple[Edit, ...] | None:
    """The one or two small edits that lead from `before` to `after`, in canonical form; () if equal, None if they are more."""
    whole = minimal(before, after)
    if whole is None:
        return ()
    start, end, tokens = whole
    if _small(end - start, len(tokens)):
        return (Edit(start, end, tokens),)
    if end - start > MAX_LEAVES or len(tokens) > MAX_LEAVES:
        return None
    matcher = SequenceMatcher(None, before[start:end], tokens, autojunk=False)
    spans = [list(op[1:]) for op in matcher.get_opcodes() if op[0] != "equal"]
    while len(spans) > 1:
        gap, place = min((spans[i + 1][0] - spans[i][1], i) for i in range(len(spans) - 1))
        if len(spans) == 2 and gap >= _SEPARATION:
            break
        following = spans.pop(place + 1)
        spans[place][1], spans[place][3] = following[1], following[3]
    if len(spans) != 2 or not all(_small(b - a, d - c) for a, b, c, d in spans):
        return None
    limits = (start + spans[1][0], len(before))
    edits: list[Edit] = []
    for (a, b, c, d), limit in zip(spans, limits, strict=True):
        # an edit may slide over equal leaves, but not into the other one
        room = list(before[start + b : limit])
        found = minimal([*before[start + a : start + b], *room], [*tokens[c:d], *room])
        if found is None:
            return None
        edits.append(Edit(start + a + found[0], start + a + found[1], found[2]))
    return tuple(edits)


def _small(removed: int, written: int) -> bool:
    return removed <= MAX_SPAN and written <= MAX_CONTENT


def apply(before: Sequence[str], edits: Sequence[Edit]) -> list[str]:
    """The leaf texts after the edits, which are in order and apart."""
    out = list(before)
    for edit in reversed(edits):
        out[edit.start : edit.end] = edit.tokens
    return out


def shape(edits: Sequence[Edit]) -> str:
    """The kind of one or two edits by what they do."""
    if len(edits) > 1:
        return "pair"
    return "insert" if edits[0].start == edits[0].end else "replace" if edits[0].tokens else "delete"  # fmt: skip


def judge(
    before: Module, after: Module, edits: Sequence[Edit], old: str, new: str
) -> tuple[str | None, str]:
    """(why the change is no fix, or None; its kind). `old` and `new` are the whole files, for the names that they know."""
    kind = shape(edits)
    try:
        trees = [ast.parse(module.source) for module in (before, after)]
        if _parameters(trees[0]) != _parameters(trees[1]):
            return "signature", kind
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "not Python 3", kind
    written = _written(after, edits)
    removed = [leaf for edit in edits for leaf in before.leaves[edit.start : edit.end]]
    texts = {leaf.text for leaf in (*removed, *written)}
    if texts & _DATED:
        return "port", kind
    if _is_rename(before, after):
        return "rename", kind
    words = set(_WORD.findall(old))
    names, imported = top_names(old)
    known = (
        {*_WORD.findall(before.source.decode("utf-8")), *names, *imported}
        | _BUILTINS
        | _bound(trees[1])
    )
    for leaf in written:
        if leaf.kind != "identifier" or leaf.text in known:
            continue
        if leaf.field == "attribute":
            reached = leaf.text in words or leaf.text in _members()
        else:
            reached = (leaf.parent, leaf.field) == ("keyword_argument", "name") and (
                leaf.text in words or leaf.text in _KEYWORDS
            )
        if not reached:
            return "name out of reach", kind
    later = set(_WORD.findall(new))
    for leaf in removed:
        if leaf.kind == "identifier" and leaf.text not in later and _is_defined(leaf.text, old):
            return "name removed from the file", kind
    try:
        reason = same_but_for(before.source, after.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "not Python 3", kind
    if reason and reason != "message":
        return reason, kind
    if reason and not all(map(_is_value, edits)):
        kind = "string"
    return None, kind


def top_names(source: str) -> tuple[list[str], set[str]]:
    """Names bound at module level in order of appearance, and those that any import of the file binds."""
    names: dict[str, None] = {}
    imported: set[str] = set()
    for found in _TOP.finditer(source):
        listed = found["from"] or found["import"]
        if listed is None:
            if name := found["def"] or found["set"]:
                names.setdefault(name)
            continue
        listed = re.sub(r"#[^\n]*|[()\\]", "", listed)
        for part in listed.split(","):
            words = part.split()
            if words and words[-1].split(".")[0].isidentifier():
                imported.add(name := words[-1].split(".")[0])
                if not found["in"]:
                    names.setdefault(name)
    return list(names), imported


_TOP = re.compile(
    r"^(?P<in>[ \t]*)(?:from[ \t]+\S+[ \t]+import[ \t]*(?P<from>\([^)]*\)|(?:[^\n#\\]|\\\n)*)|import[ \t]+(?P<import>[^\n#]*))"
    r"|^(?:(?:async[ \t]+)?def|class)[ \t]+(?P<def>\w+)|^(?P<set>[A-Za-z_]\w*)[ \t]*(?::[^=\n]+)?=(?!=)",
    re.MULTILINE,
)


def _is_defined(name: str, source: str) -> bool:
    """Whether the file defines, assigns or imports the name, as far as a pattern can tell."""
    pattern = (
        rf"\b(?:def|class|import)[ \t]+{name}\b|^from .*\bimport\b.*\b{name}\b|\b{name}[ \t]*=[^=]"
    )
    return bool(re.search(pattern, source, re.MULTILINE))


@functools.cache
def _members() -> frozenset[str]:
    """Attributes that anyone may think of."""
    members = {name for module in _MODULES for name in dir(importlib.import_module(module))}
    return frozenset(members.union(*map(dir, _TYPES)))


def _written(after: Module, edits: Sequence[Edit]) -> list[Leaf]:
    leaves: list[Leaf] = []
    shift = 0
    for edit in edits:
        start = edit.start + shift
        leaves += after.leaves[start : start + len(edit.tokens)]
        shift += len(edit.tokens) - (edit.end - edit.start)
    return leaves


def _is_value(edit: Edit) -> bool:
    """Whether the edit puts a short string of one word: a key, a mode, a separator. Words are meant for people."""
    return len(edit.tokens) == 1 and len(edit.tokens[0]) <= _SHORT and " " not in edit.tokens[0].strip("'\" ")  # fmt: skip


def _is_rename(before: Module, after: Module) -> bool:
    """Whether one identifier gets another name wherever it stands, more than once."""
    texts, now = ([leaf.text for leaf in module.leaves] for module in (before, after))
    changed = [pair for pair in zip(texts, now, strict=False) if pair[0] != pair[1]]
    old, new = changed[0] if changed else ("", "")
    return (
        len(texts) == len(now)
        and len(changed) > 1
        and len(set(changed)) == 1
        and old.isidentifier()
        and new.isidentifier()
        and old not in now
        and new not in texts
    )


def _parameters(tree: ast.AST) -> list[str]:
    function = tree.body[0] if isinstance(tree, ast.Module) and tree.body else None
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        raise SyntaxError("not a function")
    a = function.args
    arguments = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [argument.arg if argument else "" for argument in arguments]


def _bound(tree: ast.AST) -> set[str]:
    """Names that the function binds itself."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.add(other or name.split(".")[0])
    return names
