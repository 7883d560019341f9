"""Benchmarks as problems: small repositories with a red suite, hidden tests and a reference fix.

QuixBugs and HumanEvalFix are read from the user's own copies. A folder of one's own problems has one folder a task:

    TASK/repo/        the buggy project with its visible tests, at least one of them red
    TASK/hidden/      test files laid over the repaired project to judge it
    TASK/reference/   files of a right fix, laid over repo/ (optional: without it no edit distance is reported)
    TASK/meta.json    optional: {"bug_type": "...", "pytest_args": ["-q"]}

The set "packages" is a file that benchmarks/packages.py wrote: faults in real projects, which stay where they are.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.problems import FROM_COPY, PackageProblem
from tools.runner import Runner
from tools.verdicts import Outcome
from trm.data.benchmarks import BenchmarkError, read_records, read_tree

VISIBLE = ("half", "full", "examples")
DEFAULT_VISIBLE = {"quixbugs": "half", "humanevalfix": "full"}

# Upstream skips these two itself: minutes long, or without an end (jkoppel/QuixBugs#47).
_ENDLESS = {"knapsack": 6404180, "levenshtein": "amanaplanacanalpanama"}
# Programs whose even-numbered cases all pass on the buggy version: the odd ones are shown.
_ODD_CASES = frozenset({"detect_cycle", "quicksort"})
_CONFIG = b'[tool.pytest.ini_options]\naddopts = ""\n'
_GIT = ("git", "-c", "user.name=eval", "-c", "user.email=eval@localhost", "-c", "commit.gpgsign=false",
        "-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One task. Files are relative POSIX paths -> contents; `reference` has the right version of files that differ.

    python: interpreter of its tests, "" for that of the settings. judged: ids of the tests that decide, () for all tests of
    `files` and `hidden`; they run with the arguments `judge_args`.
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


def load(name: str, data: Path | None, visible: str | None = None) -> list[Problem]:
    """The problems of `name`: quixbugs, humanevalfix, or a folder of problems.

    visible: which tests the agent sees: "half" of the cases, the "full" test or the docstring's "examples"; None for the
    set's own default. Raises UsageError for an unknown set, a copy that cannot be read, or a choice that the set lacks.
    """
    if visible is not None and visible not in VISIBLE:
        raise UsageError(f"unknown choice of tests {visible!r}", f"one of {', '.join(VISIBLE)}")
    try:
        if name == "quixbugs":
            return list(_quixbugs(_needed(name, data), visible or "half"))
        if name == "humanevalfix":
            return list(_humanevalfix(_needed(name, data), visible or "full"))
        if name == "packages":
            if visible is not None:
                raise UsageError("packages fixes which tests are visible", "leave --visible out")
            return list(_packages(_needed(name, data)))
    except BenchmarkError as error:
        raise UsageError(str(error), f"--data is where your copy of {name} is") from error
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(
            f"{name}: neither a known set nor a folder",
            "quixbugs, humanevalfix, packages, or a folder of problems",
        )
    if visible is not None:
        raise UsageError(
            "a folder of problems fixes which tests are visible", "leave --visible out"
        )
    problems = [_of_folder(task) for task in sorted(folder.iterdir()) if (task / "repo").is_dir()]
    if not problems:
        raise UsageError(
            f"{name}: no task with a repo folder in it",
            "its layout: TASK/repo, TASK/hidden, TASK/meta.json",
        )
    return problems


def _needed(name: str, data: Path | None) -> Path:
    if data is None:
        raise UsageError(f"{name} needs --data", "the path of your copy of it")
    return data


# QuixBugs.


def _quixbugs(data: Path, visible: str) -> Iterator[Problem]:
    if visible == "examples":
        raise UsageError("quixbugs has no examples to show", "--visible half or full")
    files = read_tree(
        data, "python_programs", "correct_python_programs", "json_testcases", "python_testcases"
    )
    names = [
        Path(path).stem
        for path in files
        if path.startswith("python_programs/") and path.endswith(".py")
    ]
    for name in sorted(names):
        if name == "node" or name.endswith("_test"):
            continue
        imports, tests = _quixbugs_tests(name, files)
        shown, kept = tests[0::2], tests[1::2]
        if name in _ODD_CASES:
            shown, kept = kept, shown
        if visible == "full":
            shown, kept = tests, tests
        module = f"{name}.py"
        repo = {module: files[f"python_programs/{module}"], f"test_{name}.py": _test_file(imports, shown),
                "pyproject.toml": _CONFIG}  # fmt: skip
        if any("Node" in test for _, test in tests):
            repo["node.py"] = files["python_programs/node.py"]
        yield Problem("quixbugs", name, repo, {f"test_{name}_hidden.py": _test_file(imports, kept)},
                      {module: files[f"correct_python_programs/{module}"]})  # fmt: skip


def _quixbugs_tests(name: str, files: Mapping[str, bytes]) -> tuple[str, list[tuple[str, str]]]:
    """Imports, and (name, body) of every case."""
    cases = files.get(f"json_testcases/{name}.json")
    if cases is None:
        return _graph_tests(name, files[f"python_testcases/test_{name}.py"].decode())
    tests: list[tuple[str, str]] = []
    for number, line in enumerate(filter(str.strip, cases.decode().splitlines()), 1):
        given, expected = json.loads(line)
        given = given if isinstance(given, list) else [given]
        if given and given[0] == _ENDLESS.get(name):
            continue
        call = f"{name}({', '.join(map(repr, given))})"
        if name in ("flatten", "kheapsort"):
            call = f"list({call})"
        right = repr([tuple(move) for move in expected] if name == "hanoi" else expected)
        if name == "sqrt":
            right = f"pytest.approx({right}, abs={given[-1]!r})"
        tests.append((f"test_{number}", f"assert {call} == {right}"))
    return ("import pytest\n" if name == "sqrt" else "") + f"from {name} import {name}\n", tests


def _graph_tests(name: str, source: str) -> tuple[str, list[tuple[str, str]]]:
    """Upstream's test functions, each with the module's set-up statements of its own: upstream's share and change nodes."""
    tree = ast.parse(source)
    setup = [
        node
        for node in tree.body
        if not isinstance(node, (ast.Import, ast.ImportFrom, ast.If, ast.FunctionDef))
    ]
    tests: list[tuple[str, str]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            tests.append(
                (
                    f"test_{node.name.removeprefix('test')}",
                    "\n".join(map(ast.unparse, [*setup, *body])),
                )
            )
    imports = "from node import Node\n" if "Node(" in source else ""
    return f"{imports}from {name} import {name}\n", tests


# HumanEvalFix.


def _humanevalfix(data: Path, visible: str) -> Iterator[Problem]:
    if visible == "half":
        raise UsageError("humanevalfix is not split in half", "--visible full or examples")
    for row in read_records(data):
        if "buggy_solution" not in row:
            raise BenchmarkError(f"{data}: not humanevalpack.jsonl (no field buggy_solution)")
        entry = row["entry_point"]
        module = entry if entry not in sys.stdlib_module_names else f"{entry}_"
        right = row["declaration"] + row["canonical_solution"]
        whole = _check_tests(row["test"], entry, module, right, split=False)
        shown = whole and _check_tests(
            row["test" if visible == "full" else "example_test"], entry, module, right
        )
        if not whole or not shown:
            continue  # no usable examples
        number = int(row["task_id"].rpartition("/")[2])
        repo = {f"{module}.py": (row["declaration"] + row["buggy_solution"]).encode(), f"test_{module}.py": shown,
                "pyproject.toml": _CONFIG}  # fmt: skip
        yield Problem("humanevalfix", f"{number:03d}_{entry}", repo, {f"test_{module}_hidden.py": whole},
                      {f"{module}.py": right.encode()}, row.get("bug_type", ""))  # fmt: skip


def _check_tests(
    text: str, entry: str, module: str, program: str, split: bool = True
) -> bytes | None:
    """A test file of a `check(candidate)` function: one test an assert where the statements allow it, else one in all.

    None where the text is empty or not Python (a few docstring examples are neither).
    """
    try:
        tree = ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return None
    checks = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"
    ]
    if not checks:
        return None
    check = checks[0]
    helpers = [node for node in tree.body if node is not check and not isinstance(node, ast.Expr)]
    tests = _split(check.body) if split else [("test_all", "\n".join(map(ast.unparse, check.body)))]
    argument = check.args.args[0].arg
    defined = {
        node.name for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)
    } - {entry}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & defined
    alias = f" as {argument}" if argument != entry else ""
    imports = "".join(
        f"from {module} import {name}\n" for name in [f"{entry}{alias}", *sorted(used)]
    )
    return _test_file(imports + "".join(f"{ast.unparse(node)}\n" for node in helpers), tests)


def _split(body: Sequence[ast.stmt]) -> list[tuple[str, str]]:
    """One test an assert or loop, each after all plain statements that stand before it. Constant asserts are dropped."""
    tests: list[tuple[str, str]] = []
    setup: list[str] = []
    for node in body:
        if isinstance(node, ast.Assert):
            if isinstance(node.test, ast.Constant):
                continue
            # "This prints if this assert fails" says less than the values that pytest shows without it
            lines = [*setup, f"assert {ast.unparse(node.test)}"]
        elif isinstance(node, (ast.For, ast.While, ast.With, ast.Try, ast.If)):
            lines = [*setup, ast.unparse(node)]
        else:
            if not (isinstance(node, ast.Expr) and ast.unparse(node).startswith("print(")):
                setup.append(ast.unparse(node))
            continue
        tests.append((f"test_{len(tests) + 1}", "\n".join(lines)))
    return tests


# Packages.


def _packages(data: Path) -> Iterator[Problem]:
    """Problems of agent.problems. The files are those that git tracks, or all where there is no repository."""
    try:
        lines = data.read_text(encoding="utf-8").splitlines()
        problems = [PackageProblem.from_json(line) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{data}: no file of problems: {error}", "benchmarks/packages.py writes one"
        ) from error
    yield from _in_full(problems)


def sound(one: PackageProblem) -> PackageProblem | None:
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


def _in_full(problems: Sequence[PackageProblem]) -> Iterator[Problem]:
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
        yield Problem("packages", one.task, {**tree, one.path: faulty}, {}, {one.path: tree[one.path]}, one.bug_type,
                      (*always, *deselected), one.python, one.judging, always)  # fmt: skip


def _tracked(root: Path) -> dict[str, bytes]:
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)  # fmt: skip
    if listed.returncode:
        return dict(_files_below(root))
    paths = [os.fsdecode(path) for path in listed.stdout.split(b"\0") if path]
    return {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}


# All.


def _test_file(imports: str, tests: Sequence[tuple[str, str]]) -> bytes:
    parts = [
        imports,
        *(f"\n\ndef {name}():\n{textwrap.indent(body, '    ')}\n" for name, body in tests),
    ]
    return "".join(parts).encode()


def _of_folder(task: Path) -> Problem:
    meta: dict[str, Any] = {}
    if (task / "meta.json").is_file():
        try:
            meta = json.loads((task / "meta.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{task / 'meta.json'}: {error}") from error
    parts = {name: dict(_files_below(task / name)) for name in ("repo", "hidden", "reference")}
    if not parts["hidden"]:
        raise UsageError(f"{task}: no hidden tests", "put test files into its folder `hidden`")
    return Problem(task.parent.name, task.name, parts["repo"], parts["hidden"], parts["reference"],
                   str(meta.get("bug_type", "")), tuple(meta.get("pytest_args", ())))  # fmt: skip


def _files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and "__pycache__" not in path.parts and ".git" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()
