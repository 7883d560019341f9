"""Sets that are folders of programs: QuixBugs, ConDefects, DebugBench, BugsInPy; as folders or (bare) git directories."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from trm.data.formats.fields import Damaged, FormatError, parsed
from trm.data.formats.functions import debugbench
from trm.data.formats.problem import NO_TESTS, Problem, Tests

Files = Mapping[str, bytes]
Found = tuple[str, "Problem | Damaged | None"]
_GIT = ("git", "-c", "safe.directory=*", "-C")

# Upstream skips these two itself: minutes long, or without an end (jkoppel/QuixBugs#47).
_ENDLESS = {"knapsack": 6404180, "levenshtein": "amanaplanacanalpanama"}


def folders_of(path: Path) -> set[str]:
    """Names of the folders at the top of a folder or of the HEAD of a git directory. Raises FormatError."""
    try:
        names = {each.name for each in path.iterdir() if each.is_dir()}
        if "objects" not in names and ".git" not in names:
            return names
        listed = subprocess.run([*_GIT, str(path), "ls-tree", "-d", "--name-only", "HEAD"],
                                capture_output=True, timeout=120, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise FormatError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return names | set(listed.stdout.decode("utf-8", "replace").split("\n"))


def read_tree(path: Path, *prefixes: str) -> dict[str, bytes]:
    """Files below `prefixes` of a folder or of the HEAD of a (bare) git directory, by their POSIX path.

    Raises FormatError if `path` is neither, or holds none of the prefixes.
    """
    if not path.is_dir():
        raise FormatError(f"{path}: no such folder")
    found: dict[str, bytes] = {}
    if any((path / prefix).is_dir() for prefix in prefixes):
        for prefix in prefixes:
            for file in sorted((path / prefix).rglob("*")):
                if file.is_file():
                    found[file.relative_to(path).as_posix()] = file.read_bytes()
        return found
    try:
        # a prefix that the commit lacks would fail the whole archive
        present = sorted(folders_of(path) & set(prefixes))
        if not present:
            raise FormatError(f"{path}: has none of {', '.join(prefixes)}")
        data = subprocess.run([*_GIT, str(path), "archive", "--format=tar", "HEAD", *present],
                              check=True, capture_output=True, timeout=600).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise FormatError(
            f"{path}: neither has {', '.join(prefixes)} nor is a git directory"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                found[member.name] = file.read()
    return found


def _text(files: Files, path: str) -> str:
    try:
        return files[path].decode("utf-8").replace("\r\n", "\n")
    except KeyError:
        raise Damaged(f"no file {path}") from None
    except UnicodeDecodeError:
        raise Damaged(f"{path}: not UTF-8") from None


def quixbugs(path: Path) -> Iterator[Found]:
    """A problem a program; every case of upstream's is a hidden test."""
    files = read_tree(
        path, "python_programs", "correct_python_programs", "json_testcases", "python_testcases"
    )
    for file in sorted(files):
        name = Path(file).stem
        if (
            not file.startswith("python_programs/")
            or not file.endswith(".py")
            or name == "node"
            or name.endswith("_test")
        ):
            continue
        try:
            tests = _quixbugs_tests(name, files)
            shared = any("Node" in body for body, _ in tests.cases)
            support = {"node.py": _text(files, "python_programs/node.py")} if shared else {}
            yield file, Problem(
                "quixbugs", name, code=_text(files, f"correct_{file}"), buggy=_text(files, file), entry_point=name,
                hidden=tests, licence="MIT", support=support,
            )  # fmt: skip
        except Damaged as damaged:
            yield file, damaged


def _quixbugs_tests(name: str, files: Files) -> Tests:
    if f"json_testcases/{name}.json" not in files:
        if f"python_testcases/test_{name}.py" not in files:
            return NO_TESTS
        return _graph_tests(name, _text(files, f"python_testcases/test_{name}.py"))
    cases: list[tuple[str, str]] = []
    for line in filter(str.strip, _text(files, f"json_testcases/{name}.json").splitlines()):
        try:
            given, expected = json.loads(line)
        except (ValueError, TypeError):
            raise Damaged(f"json_testcases/{name}.json: no [input, output]") from None
        given = given if isinstance(given, list) else [given]
        if given and given[0] == _ENDLESS.get(name):
            continue
        call = f"{name}({', '.join(map(repr, given))})"
        if name in ("flatten", "kheapsort"):
            call = f"list({call})"
        right = repr([tuple(move) for move in expected] if name == "hanoi" else expected)
        if name == "sqrt":
            right = f"pytest.approx({right}, abs={given[-1]!r})"
        cases.append((f"assert {call} == {right}", ""))
    return Tests("asserts", tuple(cases), "import pytest" if name == "sqrt" else "")


def _graph_tests(name: str, source: str) -> Tests:
    """Upstream's test functions, each with the module's set-up statements of its own: upstream's share and change nodes."""
    try:
        body = parsed(source).body
    except SyntaxError:
        raise Damaged(f"python_testcases/test_{name}.py: not Python") from None
    setup = [
        n for n in body if not isinstance(n, (ast.Import, ast.ImportFrom, ast.If, ast.FunctionDef))
    ]
    cases = []
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            own = node.body[1:] if ast.get_docstring(node) is not None else node.body
            cases.append(("\n".join(map(ast.unparse, [*setup, *own])), ""))
    return Tests("asserts", tuple(cases), "from node import Node" if "Node(" in source else "")


def condefects(path: Path) -> Iterator[Found]:
    """A problem a pair of contest submissions. The set's tests are published elsewhere: there are none here."""
    files = read_tree(path, "Code")
    for file in files:
        folder, _, name = file.rpartition("/")
        if name != "correctVersion.py":
            continue
        try:
            yield file, Problem(
                "condefects", folder.removeprefix("Code/"), code=_text(files, file),
                buggy=_text(files, f"{folder}/faultyVersion.py"), licence="MIT",
            )  # fmt: skip
        except Damaged as damaged:
            yield file, damaged


def debugbench_tree(path: Path) -> Iterator[Found]:
    """The repository's files, one a kind of bug and language."""
    for file, data in read_tree(path, "benchmark").items():
        name = file.rpartition("/")[2].removesuffix(".json")
        if not name.startswith("python3_"):
            continue
        try:
            rows = json.loads(data)
        except (ValueError, RecursionError):
            yield file, Damaged("not JSON")
            continue
        for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
            try:
                problem = debugbench(row) if isinstance(row, dict) else Damaged("not a JSON object")
            except Damaged as damaged:
                problem = damaged
            if isinstance(problem, Problem):
                problem = replace(
                    problem, bug_type=name.removeprefix("python3_"), licence="Apache-2.0"
                )
            yield f"{file}:{number}", problem


def bugsinpy(path: Path) -> Iterator[Found]:
    """A problem a bug: the patch and how to run its tests. The code is in projects that are not part of the set."""
    files = read_tree(path, "projects")
    for file in files:
        folder, _, name = file.rpartition("/")
        if name != "bug.info":
            continue
        try:
            parts = folder.split("/")  # projects/NAME/bugs/NUMBER
            wanted = ("bug.info", "bug_patch.txt", "run_test.sh")
            support = {name: _text(files, f"{folder}/{name}") for name in wanted}
            yield file, Problem("bugsinpy", f"{parts[1]}/{parts[-1]}", support=support)
        except Damaged as damaged:
            yield file, damaged
