"""Problems as `fix` meets them: small repositories with a red suite, hidden tests and a reference fix.

Data sets are read by `trm.data.formats` from the user's own copies. A folder of one's own problems has one folder a task:

    TASK/repo/        the buggy project with its visible tests, at least one of them red
    TASK/hidden/      test files laid over the repaired project to judge it
    TASK/reference/   files of a right fix, laid over repo/ (optional: without it no edit distance is reported)
    TASK/meta.json    optional: {"bug_type": "...", "pytest_args": ["-q"]}

The set "packages" is a file that benchmarks/packages.py wrote: faults in real projects, which stay where they are.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.generated import ASKED, resolved, stub_of
from agent.problems import FROM_COPY, PackageFault
from agent.suites import Suite, module_of, program, suite
from tools.calls import Caller
from tools.runner import Runner
from tools.source.leaves import Module, SourceError
from tools.verdicts import Outcome
from trm.data.corrupt import WEIGHTS, break_function
from trm.data.formats.fields import FormatError
from trm.data.formats.problem import Problem, Tests
from trm.data.formats.registry import FORMATS, JUDGED, detect, read

VISIBLE = ("half", "full", "examples")
DEFAULT_VISIBLE = {"quixbugs": "half", "humanevalfix": "full"}
TASKS = ("repair", "generate")
_SPLIT = ("asserts", "stdin", "call")  # kinds of tests that can be shown in part
_SEEDED = 40  # draws of an operator until one fits

# Programs whose even-numbered cases all pass on the buggy version: the odd ones are shown.
_ODD_CASES = frozenset({"detect_cycle", "quicksort"})
_CONFIG = b'[tool.pytest.ini_options]\naddopts = ""\n'
_GIT = ("git", "-c", "user.name=eval", "-c", "user.email=eval@localhost", "-c", "commit.gpgsign=false",
        "-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")  # fmt: skip


@dataclass(frozen=True)
class RedRepository:
    """One task. Files are relative POSIX paths -> contents; `reference` has the right version of files that differ.

    python: interpreter of its tests, "" for that of the settings. judged: ids of the tests that decide, () for all tests of
    `files` and `hidden`; they run with the arguments `judge_args`. stub: "PATH::FUNCTION" of the function that is to be written,
    "" where something is to be repaired.
    """

    benchmark: str
    task: str
    files: Mapping[str, bytes]
    hidden: Mapping[str, bytes]
    reference: Mapping[str, bytes] = field(default_factory=dict)
    bug_type: str = ""
    pytest_args: tuple[str, ...] = ()
    python: str = ""
    judged: tuple[str, ...] = ()
    judge_args: tuple[str, ...] = ()
    stub: str = ""

    def materialize(self, folder: Path) -> Path:
        """Write the buggy project into `folder` (made if needed) as a git repository with one commit; returns it."""
        write_files(folder, self.files)
        for command in (
            ("init", "-q"),
            ("add", "-A", "-f"),
            ("commit", "-q", "-m", "the project as it is"),
        ):
            subprocess.run(
                [*_GIT, "-C", str(folder), *command], check=True, capture_output=True, timeout=60
            )
        return folder


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` below `folder`; raises UsageError for a path that leads out of it."""
    for path, data in files.items():
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{path}: leads out of the project")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def load(
    name: str, data: Path | None, visible: str | None = None, *, task: str = "repair", limit: int | None = None
) -> list[RedRepository]:  # fmt: skip
    """The first `limit` problems of `name`: a data set, packages, or a folder of problems.

    visible: which tests the agent sees: "half" of the cases, the "full" test or the published "examples"; None for the set's
    own default. task: "repair" of the published bug, or of one that an operator makes where there is none but a right program;
    "generate": the program is a stub, of which the function that the set names is written. Raises UsageError for an unknown set,
    a copy that cannot be read, or a choice that the set lacks.
    """
    if visible is not None and visible not in VISIBLE:
        raise UsageError(f"unknown choice of tests {visible!r}", f"one of {', '.join(VISIBLE)}")
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}", f"one of {', '.join(TASKS)}")
    if name in {form.name for form in FORMATS}:
        return list(islice(_of_set(name, data, visible, task), limit))
    if (name == "packages" or Path(name).is_dir()) and (visible is not None or task != "repair"):
        what = "packages fixes" if name == "packages" else "a folder of problems fixes"
        raise UsageError(f"{what} which tests are visible", "leave --visible and --task out")
    if name == "packages":
        return list(islice(_packages(_needed(name, data)), limit))
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(sorted({*JUDGED, "packages"}))
        raise UsageError(
            f"{name}: neither a known set nor a folder", f"{known}, or a folder of problems"
        )
    problems = [_of_folder(task) for task in sorted(folder.iterdir()) if (task / "repo").is_dir()]
    if not problems:
        raise UsageError(
            f"{name}: no task with a repo folder in it",
            "its layout: TASK/repo, TASK/hidden, TASK/meta.json",
        )
    return problems[:limit]


def _needed(name: str, data: Path | None) -> Path:
    if data is None:
        raise UsageError(f"{name} needs --data", "the path of your copy of it")
    return data


# Data sets.


def published(name: str, data: Path | None) -> Iterator[Problem]:
    """The problems of the set `name` that have tests. Raises UsageError where `data` is no copy of it or has no tests."""
    path = _needed(name, data)
    any_tests = False
    try:
        form = detect(path)
        if form.name != name:
            hint = f"trm-agent eval {form.name}, or another --data"
            raise UsageError(f"{path} is {form.title}", hint)
        for problem in read(path, form=form):
            if problem.hidden:
                any_tests = True
                yield problem
    except FormatError as error:
        raise UsageError(str(error), f"--data is where your copy of {name} is") from error
    if not any_tests:
        raise UsageError(
            f"{form.title} publishes no tests here", "it can be read, not evaluated on"
        )


def _of_set(
    name: str, data: Path | None, visible: str | None, task: str
) -> Iterator[RedRepository]:
    any_repository = False
    with Caller(**ASKED) as caller:
        for problem in published(name, data):
            repository = _repository(problem, caller, visible, task)
            if repository is not None:
                any_repository = True
                yield repository
    if not any_repository:
        chosen = f" with --visible {visible}" if visible else ""
        hint = "another --task or --visible; --samples judges programs"
        raise UsageError(f"{name} has nothing for --task {task}{chosen}", hint)


def _repository(
    problem: Problem, caller: Caller, visible: str | None, task: str
) -> RedRepository | None:
    """The problem as a repository; None where it lacks a bug, tests, or the choice of tests."""
    found = _faulty(problem) if task == "repair" else (stub_of(problem), "stub")
    if found is None or not found[0].strip():
        return None
    visible_tests, hidden = (
        resolved(problem, caller, tests) for tests in (problem.visible, problem.hidden)
    )
    problem = replace(problem, visible=visible_tests, hidden=hidden)
    both = _shared_out(problem, visible or DEFAULT_VISIBLE.get(problem.source))
    if both is None:
        return None
    shown, kept = both
    faulty, kind = found
    module = module_of(problem)
    config = {"pyproject.toml": _CONFIG}
    extra = {
        path: text.encode() for path, text in [*shown.files, *kept.files, *problem.support.items()]
    }
    return RedRepository(
        problem.source, _task_of(problem),
        {f"{module}.py": program(problem, faulty).encode(), f"test_{module}.py": shown.text(), **config, **extra},
        {f"test_{module}_hidden.py": kept.text()},
        {f"{module}.py": program(problem, problem.code).encode()} if problem.code else {}, kind,
        stub=f"{module}.py::{problem.entry_point}" if task == "generate" and problem.entry_point else "",
    )  # fmt: skip


def _task_of(problem: Problem) -> str:
    """Of "Set/12": "012_entry"; any other id without what a path must not have."""
    number = re.fullmatch(r".*/(\d+)", problem.task)
    if number and problem.entry_point:
        return f"{int(number[1]):03d}_{problem.entry_point}"
    return re.sub(r"[^\w.-]+", "_", problem.task)


def _faulty(problem: Problem) -> tuple[str, str] | None:
    """A wrong program and what is wrong: the published one, or the right one after an operator of the repair's own."""
    if problem.buggy:
        return problem.buggy, problem.bug_type
    try:
        module = Module(problem.code.encode())
    except SourceError:
        return None
    rng = random.Random(f"{problem.source} {problem.task}")
    for _ in range(_SEEDED if module.units else 0):
        broken = break_function(module, 1, rng, WEIGHTS)
        if broken is not None:
            return broken.module.source.decode(), broken.operators[0]
    return None


def _shared_out(problem: Problem, visible: str | None) -> tuple[Suite, Suite] | None:
    """The tests that are shown and those that judge. None where there are none of this choice."""
    hidden = problem.hidden
    if not hidden:
        return None
    in_half = hidden.kind in _SPLIT and len(hidden.cases) > 1
    visible = visible or ("examples" if problem.visible else "half" if in_half else "full")
    if visible == "half":
        if not in_half:
            return None
        odd = problem.source == "quixbugs" and problem.task in _ODD_CASES
        shown, kept = _every_second(problem, hidden, odd), _every_second(problem, hidden, not odd)
    else:
        shown = suite(problem, hidden if visible == "full" else problem.visible)
        kept = suite(problem, hidden, split=hidden.kind != "check")
        if visible == "examples" and not problem.visible:
            return None
    return (shown, kept) if shown and kept else None


def _every_second(problem: Problem, tests: Tests, odd: bool) -> Suite | None:
    """Named by the place in the whole."""
    whole = suite(problem, tests)
    return whole and replace(whole, tests=whole.tests[odd::2])


# Packages.


def _packages(data: Path) -> Iterator[RedRepository]:
    """Problems of agent.problems. The files are those that git tracks, or all where there is no repository."""
    try:
        lines = data.read_text(encoding="utf-8").splitlines()
        problems = [PackageFault.from_json(line) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{data}: no file of problems: {error}", "benchmarks/packages.py writes one"
        ) from error
    yield from _in_full(problems)


def sound(one: PackageFault) -> PackageFault | None:
    """Without the tests that fail on the right program in a copy of the project elsewhere; None where no test would be left.

    Raises RunnerError where the suite does not run there.
    """
    (problem,) = _in_full([one])
    with tempfile.TemporaryDirectory(prefix="trm-eval-", ignore_cleanup_errors=True) as scratch:
        root = problem.materialize(Path(scratch) / "repo")
        write_files(root, problem.reference)
        with Runner(root, one.python, problem.judge_args) as runner:
            verdict = runner.validate({}, one.judging, stop_at_first=False)
    good = {result.nodeid for result in verdict.results if result.outcome is Outcome.PASSED}
    judging = tuple(test for test in one.judging if test in good)
    gone = [test for test in one.judging if test not in good]
    left_out = tuple(dict.fromkeys([*one.left_out, *gone]))
    return (
        replace(one, judging=judging, left_out=left_out) if set(judging) - set(left_out) else None
    )


def _in_full(problems: Sequence[PackageFault]) -> Iterator[RedRepository]:
    trees: dict[str, dict[str, bytes]] = {}
    for one in problems:
        if one.root not in trees:
            trees = {one.root: _tracked(Path(one.root))}
        tree = trees[one.root]
        if one.path not in tree:
            raise UsageError(f"{one.task}: {one.root} has no {one.path}", "make the problems again")
        faulty = one.source.encode("utf-8", "surrogateescape")
        ignored = [f"--ignore={path}" for path in one.left_out if "::" not in path]
        deselected = [f"--deselect={test}" for test in one.left_out if "::" in test]
        always = (*FROM_COPY, *ignored)
        yield RedRepository("packages", one.task, {**tree, one.path: faulty}, {}, {one.path: tree[one.path]}, one.bug_type,
                      (*always, *deselected), one.python, one.judging, always)  # fmt: skip


def _tracked(root: Path) -> dict[str, bytes]:
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)  # fmt: skip
    if listed.returncode:
        return dict(_files_below(root))
    paths = [os.fsdecode(path) for path in listed.stdout.split(b"\0") if path]
    return {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}


# All.


def _of_folder(task: Path) -> RedRepository:
    meta: dict[str, Any] = {}
    if (task / "meta.json").is_file():
        try:
            meta = json.loads((task / "meta.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{task / 'meta.json'}: {error}") from error
    parts = {name: dict(_files_below(task / name)) for name in ("repo", "hidden", "reference")}
    if not parts["hidden"]:
        raise UsageError(f"{task}: no hidden tests", "put test files into its folder `hidden`")
    return RedRepository(task.parent.name, task.name, parts["repo"], parts["hidden"], parts["reference"],
                   str(meta.get("bug_type", "")), tuple(meta.get("pytest_args", ())))  # fmt: skip


def _files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and "__pycache__" not in path.parts and ".git" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()
