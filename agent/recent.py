"""Edits that take back a part of a recent change: what turned a test red is often in the last commit, or in none yet.

A change is taken back hunk by hunk of tokens, within one function. Only tests tell whether that is a repair: where they were
changed with the code, no old version passes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

from agent.locate import SourceFile, Suspect
from tools.history import History, HistoryError
from tools.source.leaves import Leaf, Module, SourceError
from tools.source.operators.view import Change

DOUBT = 1.0  # nats, of what is not committed yet; so much more for each commit that lies between
COMMITS = 3  # that are looked at
_MOST_HUNKS = 12  # of a function: beyond, it is another function
UNCOMMITTED, COMMITTED = "uncommitted change", "recent commit"  # operators
TAKEN_BACK = {UNCOMMITTED: "a change that is not committed yet", COMMITTED: "a recent commit"}


class Recent:
    """Files of the project at `root` as they were before its latest changes; nothing where there is no history."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # as HEAD has them, as its parent has them, ...
        self._old: list[dict[str, Module]] = [{} for _ in range(COMMITS + 1)]

    @cached_property
    def _history(self) -> tuple[History, list[str]] | None:
        """With the commits that are looked at, the newest first; None where there are none."""
        try:
            history = History(self._root)
            commits = [history.head]
            while len(commits) <= COMMITS and (before := history.parent(commits[-1])):
                commits.append(before)
        except HistoryError:
            return None
        return history, commits

    def look(self, files: Iterable[SourceFile]) -> None:
        """Read what these files were like; of versions that are alike the newest is kept."""
        if self._history is None:
            return
        history, commits = self._history
        newer = {file.path: file.module.source for file in files}
        for commit, old in zip(commits, self._old, strict=False):
            try:
                then = history.contents(commit, newer)
            except HistoryError:
                continue
            for path, source in then.items():
                if source != newer[path] and (module := _parsed(source)) is not None:
                    old[path] = module
            newer |= then

    def taken_back(self, suspect: Suspect) -> Iterator[tuple[Change, str, float]]:
        """(change of the file's leaves, operator, doubt in nats): each hunk in the unit, and all together if they are several.

        `look` must have seen the file.
        """
        start, end = suspect.unit.start, suspect.unit.end
        now = _texts(suspect.file.module.leaves[start:end])
        for age, files in enumerate(self._old):
            old = _unit(files.get(suspect.file.path), suspect.unit.name)
            codes = SequenceMatcher(None, old, now, autojunk=False).get_opcodes() if old else []
            hunks = [places for tag, *places in codes if tag != "equal"]
            if not 0 < len(hunks) <= _MOST_HUNKS:
                continue
            operator = COMMITTED if age else UNCOMMITTED
            doubt = DOUBT * (age + 1) + math.log(len(files)) + math.log(len(hunks))
            whole = (hunks[0][0], hunks[-1][1], hunks[0][2], hunks[-1][3])
            for i, j, low, high in [*hunks, whole]:
                yield (start + low, start + high, tuple(old[i:j])), operator, doubt


def _unit(module: Module | None, name: str) -> list[str]:
    """Tokens of the one unit of that name, [] where there is none."""
    units = [unit for unit in module.units if unit.name == name] if module else []
    return (
        _texts(module.leaves[units[0].start : units[0].end]) if module and len(units) == 1 else []
    )


def _parsed(source: bytes) -> Module | None:
    try:
        return Module(source)
    except SourceError:
        return None


def _texts(leaves: Sequence[Leaf]) -> list[str]:
    return [leaf.text for leaf in leaves]
