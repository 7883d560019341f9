"""Mined fixes executed: the repaired function says what is right, the version before shows how the fault looks.

A function that needs nothing but the standard library and its own package, as the fixing commit has them, is called alone: with
the arguments that the tests of the commit give it, and with made-up ones. The version before the fix is called the same way:
where it does something else, people repaired just that. Most small changes of real code are seen by no such call; those that
are become mutants like any other, with the fix that a person wrote.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tools.source.leaves import Module, SourceError
from trm.data import mined, mutants
from trm.data import sources as src
from trm.data.alone import Kept, self_contained
from trm.data.build import in_processes
from trm.data.executed import Calls, Test, Tested, calls_in, seen, with_all_tests
from trm.data.fixes import Fix
from trm.data.functions import Function, Surroundings, held_out
from trm.data.mutants import Mutant
from trm.data.sources import Source
from trm.vocab import Vocab

_TRIES = 2  # with other arguments, where all calls agree
_MOST_GIVEN = 60
_FAILING = (1, 1, 1, 2, 3)  # tests of a suite that fail
_PASSING = (0, 1, 2, 3, 4, 6)


class _Files:
    """The files of one commit. tests: those of its tests that it changes. Raises SourceError where the commit is not there."""

    def __init__(self, directory: Path, commit: str) -> None:
        self._directory = directory
        self._read: dict[str, str | None] = {}
        listed = src._git(directory, "diff-tree", "--no-commit-id", "--name-only", "-r", "-z", "--root", commit)  # fmt: skip
        names = [name.decode("utf-8", "replace") for name in listed.split(b"\0") if name.endswith(b".py")]  # fmt: skip
        self.tests = [name for name in names if src.is_test_path(PurePosixPath(name))]
        self._blobs = {str(path): blob for path, blob in src._tree(directory, commit)}

    def __call__(self, path: str) -> str | None:
        if path not in self._read:
            self._read[path] = self._content(path)
        return self._read[path]

    def _content(self, path: str) -> str | None:
        if path not in self._blobs:
            return None
        content = next(src._contents(self._directory, [self._blobs[path]]))
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True)
class Apart:
    """A repaired function, and calls by which the version before differs (failing) and does not (passing)."""

    tested: Tested
    failing: tuple[Test, ...]
    passing: tuple[Test, ...]


def told_apart(fix: Fix, directory: Path, calls: Calls, rng: random.Random) -> Apart | str:
    """Calls that tell a function from its version before, or why there are none. directory: its bare repository."""
    try:
        files = _Files(directory, fix.commit)
    except src.SourceError:
        return "commit cannot be read"
    function = Function(fix.after, fix.name, fix.names, (), fix.origin, fix.licence)
    alone = next(self_contained([function], Kept({fix.package: files})), None)
    if alone is None:
        return "cannot be called alone"
    given = [one for path in files.tests for one in calls_in(files(path) or "", fix.name)]
    reason = "no call comes to a result"
    for _ in range(_TRIES):
        tested = with_all_tests(alone, calls, rng, given[:_MOST_GIVEN])
        results = None if tested is None else tested.run(calls, [fix.before])[0]
        if tested is None or results is None:
            continue
        reason = "no call tells the versions apart"
        passed = [result.outcome == "passed" for result in results]
        if not all(passed):
            named = _with_names(tested, files)
            if isinstance(named, str):
                return named
            pairs = list(zip(tested.tests, passed, strict=True))
            failing = tuple(test for test, good in pairs if not good)
            return Apart(named, failing, tuple(test for test, good in pairs if good))
    return reason


def replay(
    fixes: Sequence[Fix], directory: Path, calls: Calls, suites: int
) -> Iterator[Mutant | str]:
    """Up to `suites` mutants of each fix, with other tests each, or why it gave none. directory: their bare repository."""
    for fix in fixes:
        rng = random.Random(fix.commit + fix.origin)
        apart = told_apart(fix, directory, calls, rng)
        if isinstance(apart, str):
            yield apart
        else:
            yield from _mutants(fix, apart, calls, rng, suites) or ["calls depend on one another"]


def _with_names(tested: Tested, files: _Files) -> Tested | str:
    """The same with the names that the rest of its file has: looked for last, since most fixes come to nothing before."""
    _, path, qualified = tested.function.origin.split(":", 2)
    try:
        module = Module((files(path) or "").encode("utf-8"))
        unit = next(unit for unit in module.units if unit.name == qualified)
    except (SourceError, RecursionError, StopIteration):
        return "file cannot be read"
    function = replace(tested.function, near=Surroundings(module).near(unit))
    return replace(tested, alone=replace(tested.alone, function=function))


def _mutants(fix: Fix, apart: Apart, calls: Calls, rng: random.Random, suites: int) -> list[Mutant]:
    broken = Module(fix.before.encode("utf-8"))
    tested, failing, passing = apart.tested, apart.failing, apart.passing
    made: dict[str, Mutant] = {}
    for _ in range(suites):
        chosen = [
            *rng.sample(failing, min(len(failing), rng.choice(_FAILING))),
            *rng.sample(passing, min(len(passing), rng.choice(_PASSING))),
        ]
        rng.shuffle(chosen)
        suite = replace(tested, tests=tuple(chosen))
        again = suite.run(calls, [fix.before])[0]
        if again is None or all(result.outcome == "passed" for result in again):
            continue  # depends on the calls before it
        execution, failure = seen(suite, broken.leaves, again, rng)
        made[repr(failure)] = Mutant(
            package=fix.package, licence=fix.licence, origin=f"{fix.origin}@{fix.commit}", source=fix.before, fixes=fix.edits,
            operators=("mined",), names=tested.function.near, execution=execution, failure=failure,
        )  # fmt: skip
    return list(made.values())


def _replay_part(task: tuple[Source, Path, Path, Sequence[Fix], Any, int]) -> tuple[str, int, dict[str, int]]:  # fmt: skip
    source, mirror, part, fixes, calls, suites = task
    dropped: Counter[str] = Counter()
    kept: list[Mutant] = []
    with calls() as caller:
        for made in replay(fixes, src.git_directory(source, mirror), caller, suites):
            if isinstance(made, str):
                dropped[made] += 1
            else:
                kept.append(made)
    mutants.write(part, kept)
    return source.name, len({mutant.origin for mutant in kept}), dict(dropped)


def replay_all(
    sources: Sequence[Source], mirror: Path, folder: Path, calls: Callable[[], AbstractContextManager[Calls]], *,
    suites: int, jobs: int = 1, resume: bool = True,
) -> Iterator[tuple[str, int, dict[str, int]]]:  # fmt: skip
    """Replay what speaks of a fault in `folder`/fixes.jsonl.gz into `folder`/executed/parts, a file a repository.

    Yields (repository, fixes that calls tell apart, how many others by reason). With `resume` finished parts are kept. calls:
    makes the confined process (tools.calls.Caller).
    """
    parts = folder / "executed" / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    of_source: dict[str, list[Fix]] = {}
    for fix in sorted(mined.repairs(folder, all_of_them=True), key=lambda fix: fix.origin):
        of_source.setdefault(fix.package, []).append(fix)
    part_of = {source.name: parts / f"{source.folder}.jsonl.gz" for source in sources}
    tasks = [
        (source, mirror, part_of[source.name], of_source[source.name], calls, suites)
        for source in sources
        if source.name in of_source and not (resume and part_of[source.name].is_file())
    ]
    yield from in_processes(_replay_part, tasks, jobs)


def build_shards(folder: Path, vocab: Vocab) -> Iterator[tuple[str, int, int]]:
    """Shards of `folder`/executed, as `trm.data.mutants` makes them; eval-00000 holds the fixes that are held out or reserved."""

    def kept_out(mutant: Mutant) -> bool:
        return held_out(mutant.package) or mined.reserved(mutant.origin.rpartition("@")[2])

    yield from mutants.build_shards(folder / "executed", vocab, kept_out=kept_out)
