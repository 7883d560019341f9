"""Mining real fixes: small changes of single functions in the git histories of the recorded repositories.

Most commits are turned away before anything is parsed: by their number of files, then by comparing the texts of functions that
are cut out by indentation alone. Only what remains is parsed, and judged by `fixes.judge`.
"""

from __future__ import annotations

import functools
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from tools.source.edits import Edit
from tools.source.leaves import Module
from trm.config import MAX_SPAN
from trm.data import fixes as fx
from trm.data.build import _blocklist, in_processes
from trm.data.fixes import Fix
from trm.data.functions import MAX_LEAVES, held_out, reach_of, token_hash
from trm.data.sources import (
    Source,
    _contents,
    _git,
    git_directory,
    is_excluded,
    is_excluded_text,
    is_test_path,
)

MAX_FILES = 3  # files of a commit that are no tests
MAX_FUNCTIONS = 6  # functions that a commit changes
MAX_TESTED = 2  # the same where only its tests speak for a repair
SAME = 3  # functions of a commit that may get the same edit
MAX_LINES = 14  # lines of a function that are removed, or written
STRING_SHARE = 0.03  # of all fixes: messages alone
_AT_ONCE = 300  # pairs of files in memory
# a message may hold any one of these characters
_BEGIN, _FIELD, _END = "\x01\x02\x01", "\x01\x03\x01", "\x01\x04\x01"
_TOKEN = re.compile(
    rb"#[^\n]*|\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\w+|[^\w\s]"
)
_HEAD = re.compile(rb"^([ \t]*)(?:(?:async[ \t]+)?(def)|class)[ \t]+(\w+)", re.MULTILINE)
_DECORATORS = re.compile(rb"(?:^[ \t]*@[^\n]*\n)+\Z", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit's id and subject, its (path, old blob, new blob) worth comparing, and what speaks for a repair."""

    id: str
    subject: str
    changes: tuple[tuple[str, str, str], ...]
    touches_tests: bool
    fixlike: bool


@functools.lru_cache(maxsize=65_536)
def _use_of(path: str) -> str:
    """ "test", "code", or "" for a path that must not be used."""
    pure = PurePosixPath(path)
    if is_test_path(pure):
        return "test"
    return (
        "" if is_excluded(pure) or pure.name in ("setup.py", "conf.py", "versioneer.py") else "code"
    )


def commits(source: Source, mirror: Path, dropped: Counter[str]) -> Iterator[Commit]:
    """The commits before the recorded one that change few files. Raises SourceError where the repository is missing."""
    log = _git(
        git_directory(source, mirror), "log", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-merges",
        f"--format={_BEGIN}%H{_FIELD}%s{_FIELD}%b{_END}", source.commit, "--", "*.py",
    )  # fmt: skip
    for entry in log.decode("utf-8", "replace").split(_BEGIN)[1:]:
        message, _, raw = entry.partition(_END)
        number, subject, body = message.split(_FIELD, 2)
        fields = raw.strip("\0\n").split("\0")
        changes: list[tuple[str, str, str]] = []
        code = 0
        tests = False
        for meta, path in zip(fields[::2], fields[1::2], strict=False):
            use = _use_of(path)
            tests |= use == "test"
            if use == "test":
                continue
            code += 1
            old_mode, mode, old, new, status = meta.lstrip("\n:").split(" ")
            if status == "M" and use and mode.startswith("100") and old_mode.startswith("100"):
                changes.append((path, old, new))
        dropped["commits"] += 1
        if code > MAX_FILES:
            dropped["commit: many files"] += 1
        elif not changes:
            dropped["commit: no file to compare"] += 1
        elif subject.lower().startswith("revert"):
            dropped["commit: revert"] += 1
        elif not (fixlike := fx.speaks_of_fault(subject, body)) and (
            not tests or fx.speaks_of_else(subject)
        ):
            dropped["commit: no sign of a repair"] += 1
        else:
            yield Commit(number, subject, tuple(changes), tests, fixlike)


def cut(source: bytes, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """(qualified name, text) of the functions that reach into source[start:end], by indentation alone, decorators included.

    A function inside a function belongs to the outer one, as in `Module.units`.
    """
    classes: list[tuple[int, str]] = []
    past = 0
    heads = [*_HEAD.finditer(source, 0, end), None]
    for head, following in pairwise(heads):
        assert head is not None
        if head.start() < past:
            continue
        indent = len(head[1])
        while classes and classes[-1][0] >= indent:
            classes.pop()
        name = head[3].decode("utf-8", "replace")
        if not head[2]:
            classes.append((indent, name))
            continue
        if following and following.start() < start and len(following[1]) <= indent:
            continue
        following = _ending(indent).search(source, head.end())
        past = following.start() if following else len(source)
        if past < start:
            continue
        above = _DECORATORS.search(source, max(0, head.start() - 400), head.start())
        text = source[above.start() if above else head.start() : past]
        yield ".".join([*(c for _, c in classes), name]), text


@functools.cache
def _ending(indent: int) -> re.Pattern[bytes]:
    """The first line after a function: no deeper than its head, neither blank nor comment, nor the head's own last line."""
    return re.compile(rb"^[ \t]{0,%d}[^\s#)\]}]" % indent, re.MULTILINE)


def changed(old: bytes, new: bytes) -> list[tuple[str, bytes, bytes]]:
    """(qualified name, text before, text after) of functions that both versions have and whose texts differ."""
    start = _common(old, new)
    tail = min(_common(old[:-1000:-1], new[:-1000:-1]), len(old) - start, len(new) - start)
    before = list(cut(old, start, len(old) - tail))
    if not before:
        return []
    after = list(cut(new, start, len(new) - tail))
    old_names, new_names = (Counter(name for name, _ in part) for part in (before, after))
    same_names = {name for name, count in old_names.items() if new_names[name] == count}
    later: dict[str, list[bytes]] = {}
    for name, text in after:
        later.setdefault(name, []).append(text)
    pairs = [(name, text, later[name].pop(0)) for name, text in before if name in same_names]
    return [pair for pair in pairs if pair[1].strip() != pair[2].strip()]


def _common(a: bytes, b: bytes) -> int:
    """Length of the common prefix."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def glance(before: bytes, after: bytes) -> str | None:
    """Why a change of a function cannot be ours, from its lines and from tokens as a pattern finds them; None if it may be."""
    old, new = (Counter(line.strip() for line in text.split(b"\n")) for text in (before, after))
    if max((old - new).total(), (new - old).total()) > MAX_LINES:
        return "many lines"
    old, new = ([t for t in _TOKEN.findall(text) if t[:1] != b"#"] for text in (before, after))
    # operators of two characters count twice here, so there is room
    if max(len(old), len(new)) > 1.4 * MAX_LEAVES:
        return "length"
    removed, written = Counter(old), Counter(new)
    if max((removed - written).total(), (written - removed).total()) > 3 * MAX_SPAN:
        return "large edit"
    return None


@dataclass(frozen=True, slots=True)
class _Change:
    """A function that a commit changes little."""

    path: str
    qualname: str
    before: Module
    after: Module
    edits: tuple[Edit, ...]
    old: bytes
    new: bytes

    @property
    def tokens(self) -> tuple[Any, ...]:
        """What is removed and written, wherever it stands."""
        leaves = self.before.leaves
        return tuple((tuple(l.text for l in leaves[e.start : e.end]), e.tokens) for e in self.edits)


def mine_repository(source: Source, mirror: Path) -> tuple[list[Fix], Counter[str]]:
    """The fixes of one repository and how many were left out, by reason. Raises SourceError where it is missing."""
    dropped: Counter[str] = Counter()
    found: list[Fix] = []
    directory = git_directory(source, mirror)
    history = commits(source, mirror, dropped)
    while part := list(islice(history, _AT_ONCE)):
        blobs = [blob for commit in part for _, *pair in commit.changes for blob in pair]
        contents = _contents(directory, blobs)
        for commit in part:
            texts = [(path, next(contents), next(contents)) for path, _, _ in commit.changes]
            found += _fixes_of(source, commit, texts, dropped)
    return found, dropped


def _fixes_of(
    source: Source, commit: Commit, texts: Sequence[tuple[str, bytes | None, bytes | None]],
    dropped: Counter[str],
) -> Iterator[Fix]:  # fmt: skip
    functions: list[tuple[str, bytes, bytes, str, bytes, bytes]] = []
    for path, old, new in texts:
        if old is None or new is None:
            dropped["file: missing or too large"] += 1
            continue
        functions += [(path, old, new, *pair) for pair in changed(old, new)]
    if len(functions) > (MAX_FUNCTIONS if commit.fixlike else MAX_TESTED):
        dropped["commit: many functions"] += 1
        return
    changes: list[_Change] = []
    for path, old, new, qualname, before, after in functions:
        made = _change(path, old, new, qualname, before, after)
        if isinstance(made, str):
            dropped[f"function: {made}"] += 1
        else:
            changes.append(made)
    often = Counter(change.tokens for change in changes)
    for change in changes:
        if often[change.tokens] > SAME:
            dropped["function: same edit all over the commit"] += 1
            continue
        made = _fix(source, commit, change, len(functions))
        if isinstance(made, str):
            dropped[f"function: {made}"] += 1
        else:
            yield made


def _change(
    path: str, old: bytes, new: bytes, qualname: str, before: bytes, after: bytes
) -> _Change | str:
    """The change, or why it is none of ours: everything that can be told from the tokens alone."""
    if reason := glance(before, after):
        return reason
    try:
        modules = [fx.parse(textwrap.dedent(t.decode("utf-8"))) for t in (before, after)]
    except UnicodeDecodeError:
        return "not UTF-8"
    first, second = modules
    if first is None or second is None:
        return "length or syntax"
    first = fx.with_docstring_of(first, second)
    if first is None:
        return "docstring"
    edits = fx.between(*([leaf.text for leaf in module.leaves] for module in (first, second)))
    if edits is None:
        return "large edit"
    if not edits:
        return "same tokens"
    return _Change(path, qualname, first, second, edits, old, new)


def _fix(source: Source, commit: Commit, change: _Change, functions: int) -> Fix | str:
    before, after = change.before, change.after
    try:
        old, new = change.old.decode("utf-8"), change.new.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    reason, kind = fx.judge(before, after, change.edits, old, new)
    if reason:
        return reason
    if reason := is_excluded_text(change.old) or is_excluded_text(change.new):
        return f"file {reason}"
    name = change.qualname.rpartition(".")[2]
    for module in (before, after):
        if blocked := _blocklist().matches([leaf.text for leaf in module.leaves], name):
            return f"benchmark {blocked.split()[0]}"
    text = before.source.decode("utf-8")
    names, _ = fx.top_names(old)
    return Fix(
        before=text,
        after=after.source.decode("utf-8"),
        name=name,
        names=reach_of(text, (n for n in names if n != name)),
        origin=f"{source.name}:{change.path}:{change.qualname}",
        licence=source.licence,
        commit=commit.id,
        subject=commit.subject[:200],
        fixlike=commit.fixlike,
        touches_tests=commit.touches_tests,
        held_out=held_out(source.name),
        kind=kind,
        functions=functions,
        edits=change.edits,
    )


def _mine_part(task: tuple[Source, Path, Path]) -> tuple[str, int, dict[str, int]]:
    source, mirror, parts = task
    fixes, dropped = mine_repository(source, mirror)
    fx.write(parts / f"{source.folder}.jsonl.gz", fixes)
    counts = dict(dropped.most_common())
    # written last: where it stands, the repository is done
    (parts / f"{source.folder}.json").write_text(json.dumps(counts), encoding="utf-8")
    return source.name, len(fixes), counts


def mine(
    sources: Sequence[Source], mirror: Path, out: Path, *, jobs: int = 1, resume: bool = True,
    progress: Callable[[int, int, str, int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Mine every source into `out`/parts, then merge them to `out`/fixes.jsonl.gz; returns and writes `out`/mine.json.

    With `resume`, repositories that stand in `out`/parts are kept. `progress(done, repositories, name, fixes, commits)` is
    called after each one that is mined. Sources that the mirror lacks must not be given.
    """
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    tasks = [(source, mirror, parts) for source in sources
             if not (resume and (parts / f"{source.folder}.json").is_file())]  # fmt: skip
    for done, (name, fixes, counts) in enumerate(in_processes(_mine_part, tasks, jobs), 1):
        if progress is not None:
            progress(done, len(tasks), name, fixes, counts.get("commits", 0))
    return merge(sources, out)


def merge(sources: Sequence[Source], out: Path) -> dict[str, Any]:
    """Put the mined repositories together: each fix once, none that another one undoes, few of messages alone."""
    dropped: Counter[str] = Counter()
    per_source: Counter[str] = Counter()
    seen: dict[tuple[str, str], Fix] = {}
    # held-out repositories first: what they share with others stays held out
    for source in sorted(sources, key=lambda s: (not held_out(s.name), s.name)):
        part = out / "parts" / f"{source.folder}.jsonl.gz"
        if not part.is_file():
            continue
        dropped.update(json.loads(part.with_suffix("").with_suffix(".json").read_text("utf-8")))
        for fix in fx.read(part):
            key = (token_hash(fix.before.split()), token_hash(fix.after.split()))
            if key in seen:
                dropped["fix: duplicate"] += 1
            else:
                seen[key] = fix
    kept: list[Fix] = []
    strings = 0
    for (before, after), fix in seen.items():
        if (after, before) in seen:
            dropped["fix: undone elsewhere"] += 1
        elif fix.kind == "string" and strings >= STRING_SHARE * len(kept):
            dropped["fix: message alone"] += 1
        else:
            strings += fix.kind == "string"
            kept.append(fix)
            per_source[fix.package] += 1
    fx.write(out / "fixes.jsonl.gz", kept)
    summary = _summary(kept, per_source, dropped)
    (out / "mine.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def _summary(
    kept: Sequence[Fix], per_source: Counter[str], dropped: Counter[str]
) -> dict[str, Any]:
    sizes = Counter("+".join(f"{e.end - e.start}->{len(e.tokens)}" for e in f.edits)
                    for f in kept if len(f.edits) == 1)  # fmt: skip
    return {
        "commits": dropped.pop("commits", 0),
        "fixes": len(kept),
        "fixlike": sum(f.fixlike for f in kept),
        "touches_tests": sum(f.touches_tests for f in kept),
        "held_out": sum(f.held_out for f in kept),
        "kinds": dict(Counter(f.kind for f in kept).most_common()),
        "licences": dict(Counter(f.licence for f in kept).most_common()),
        "sizes": dict(sizes.most_common(40)),
        "repositories": dict(per_source.most_common()),
        "dropped": dict(dropped.most_common()),
    }  # fmt: skip
