"""Keeping the benchmarks out of the corpus: hashes of their functions, exact and by shingles of eight tokens.

`blocklist.json.gz` beside this file holds hashes only, no code, so the corpus can be rebuilt without the benchmarks. To make it anew:

    python -c "from trm.data.decontaminate import regenerate; regenerate()" QUIXBUGS_DIR humanevalpack.jsonl [more copies ...]

where a copy is anything that `trm.data.benchmarks.programs` reads.
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
from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

from tools.source.leaves import LAYOUT, NEWLINE, Module, SourceError
from trm.data.benchmarks import programs

PACKAGED = Path(__file__).with_name("blocklist.json.gz")
SHINGLE = 8  # tokens
SMALLEST = 12  # tokens; below this every function looks like some other
NEAR = 0.5  # share of the smaller function's shingles
NEAR_NAMED = 0.25  # the same for a function that is called like a benchmark's
NAMED_SETS = ("quixbugs", "humanevalfix", "humaneval")

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
        if string and statement_begins and (index + 1 == len(tokens) or tokens[index + 1] == NEWLINE):
            continue  # a docstring, or a string that does nothing
        out.append("<str>" if string else token)
        statement_begins = False
    return out


def _is_free(tokens: Sequence[str], index: int) -> bool:
    """Whether the token is an identifier that a copy may have renamed. Attributes keep their names: most are the language's own."""
    token = tokens[index]
    return token not in _KEPT and (index == 0 or tokens[index - 1] != ".") and _NAME.match(token) is not None


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
    before: list[int] = []  # place of the identifier's previous occurrence, -1 for none, -2 for other tokens
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
    """Hash of a whole normalized function: 16 hex digits."""
    return hashlib.blake2b("\x1f".join(normal).encode(), digest_size=8).hexdigest()
