"""Reading copies of public benchmarks: folders, bare git directories and JSON-lines files. Nothing is executed.

For decontamination and for evaluation only; no function read here may reach a training set.
"""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(ValueError):
    """The path is not a copy of a benchmark that we know, or it cannot be read."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program text of a benchmark; `task` names its task within the set ("gcd", "Python/12")."""

    benchmark: str
    task: str
    source: str


def read_tree(path: Path, *prefixes: str) -> dict[str, bytes]:
    """Files below `prefixes` of a folder or of the HEAD of a (bare) git directory, by their POSIX path.

    Raises BenchmarkError if `path` is neither, or holds none of the prefixes.
    """
    if not path.is_dir():
        raise BenchmarkError(f"{path}: no such folder")
    found: dict[str, bytes] = {}
    if any((path / prefix).is_dir() for prefix in prefixes):
        for prefix in prefixes:
            for file in sorted((path / prefix).rglob("*")):
                if file.is_file():
                    found[file.relative_to(path).as_posix()] = file.read_bytes()
        return found
    git = ["git", "-c", "safe.directory=*", "-C", str(path)]
    try:
        # a prefix that the commit lacks would fail the whole archive
        listed = subprocess.run([*git, "ls-tree", "-d", "--name-only", "HEAD", *prefixes],
                                check=True, capture_output=True, timeout=120).stdout.decode().split("\n")  # fmt: skip
        present = [prefix for prefix in prefixes if prefix in listed]
        if not present:
            raise BenchmarkError(f"{path}: has none of {', '.join(prefixes)}")
        data = subprocess.run([*git, "archive", "--format=tar", "HEAD", *present],
                              check=True, capture_output=True, timeout=600).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchmarkError(
            f"{path}: neither has {', '.join(prefixes)} nor is a git directory"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                found[member.name] = file.read()
    return found


def read_records(path: Path) -> Iterator[dict]:
    """Records of a .json (a list), .jsonl or .jsonl.gz file. Raises BenchmarkError on anything else."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        rows = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else map(json.loads, text.splitlines())
        )
        for row in rows:
            if not isinstance(row, dict):
                raise BenchmarkError(f"{path}: a record is not a JSON object")
            yield row
    except (OSError, ValueError) as error:
        raise (
            error if isinstance(error, BenchmarkError) else BenchmarkError(f"{path}: {error}")
        ) from error


def programs(path: Path) -> Iterator[Program]:
    """The Python programs of the benchmark copy at `path`; of QuixBugs and HumanEvalPack the buggy ones as well.

    Known: QuixBugs, ConDefects and DebugBench as a folder or git directory; HumanEval, HumanEvalPack, MBPP and CRUXEval as
    JSON lines (or gzipped, or a JSON list). Raises BenchmarkError otherwise.
    """
    if path.is_dir():
        yield from _of_tree(path)
        return
    for row in read_records(path):
        task = str(row.get("task_id", row.get("id", row.get("slug", ""))))
        if "buggy_solution" in row:
            for body in (row["buggy_solution"], row["canonical_solution"]):
                yield Program("humanevalfix", task, row["declaration"] + body)
        elif "canonical_solution" in row:
            yield Program("humaneval", task, row["prompt"] + row["canonical_solution"])
        elif "test_list" in row:
            yield Program("mbpp", task, row["code"])
        elif "buggy_code" in row:
            yield from (
                Program("debugbench", task, row[k])
                for k in ("oracle_code", "solution")
                if row.get(k)
            )
        elif {"code", "input", "output"} <= row.keys():
            yield Program("cruxeval", task, row["code"])
        else:
            raise BenchmarkError(
                f"{path}: not a benchmark that we know (fields: {', '.join(sorted(row)[:6])})"
            )


def _of_tree(path: Path) -> Iterator[Program]:
    files = read_tree(path, "python_programs", "correct_python_programs", "Code", "benchmark")
    for name, data in files.items():
        text = data.decode("utf-8", "replace")
        parts = name.split("/")
        if name.endswith(".py") and parts[0].endswith("python_programs"):
            if not parts[1].endswith("_test.py"):
                yield Program("quixbugs", parts[1].removesuffix(".py"), text)
        elif name.endswith("correctVersion.py"):
            yield Program("condefects", "/".join(parts[1:-1]), text)
        elif parts[0] == "benchmark" and parts[-1].startswith("python3_"):
            for row in json.loads(text):
                for key in ("oracle_code", "solution"):
                    if row.get(key):
                        yield Program("debugbench", row.get("slug", ""), row[key])
