"""The worker's verdict on a candidate equals that of a plain pytest process."""

from __future__ import annotations

import ast
import io
import shutil
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.runner import Limits, Outcome, Runner

REPOS = Path(__file__).parent.parent / "fixtures" / "repos"
OTHER = {
    "+": ["-"], "-": ["+"], "*": ["+", "//"], "/": ["*"], "//": ["/"], "%": ["*"], "==": ["!="],
    "!=": ["=="], "<": ["<=", ">"], "<=": ["<"], ">": [">="], ">=": [">"], "+=": ["-=", "="],
    "-=": ["+="], "and": ["or"], "or": ["and"], "not": [""], "is": ["is not"], "in": ["not in"],
    "True": ["False"], "False": ["True"], "None": ["0"], "return": ["yield", ""], "max": ["min"],
    "sum": ["len"], "if": ["while"], "break": ["continue"], "lru_cache": ["wraps"],
}  # fmt: skip


def mutants(source: bytes) -> Iterator[tuple[str, bytes]]:
    """(what was done, new content): one token replaced, or one line deleted or doubled."""
    text = source.decode()
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        replacements = OTHER.get(token.string, [])
        if token.type == tokenize.NUMBER:
            replacements = [f"({token.string} + 1)", "0"]
        elif token.type == tokenize.STRING and "\n" not in token.string:
            replacements = ["'zz'"]
        begin = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        for new in replacements:
            yield (
                f"{token.start}: {token.string} -> {new}",
                (text[:begin] + new + text[end:]).encode(),
            )
    for number, line in enumerate(lines):
        if line.strip():
            indent = line[: len(line) - len(line.lstrip())]
            rest = lines[:number] + [indent + "pass\n"] + lines[number + 1 :]
            yield f"line {number + 1} -> pass", "".join(rest).encode()
            twice = lines[: number + 1] + lines[number:]
            yield f"line {number + 1} doubled", "".join(twice).encode()


def compiles(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError):
        return False
    return True


def outcomes(results) -> dict[str, bool]:
    good = (Outcome.PASSED, Outcome.SKIPPED)
    return {result.nodeid: result.outcome in good for result in results}


def disagreements(runner: Runner, path: str, chosen: list[tuple[str, bytes]]) -> list[str]:
    """What the worker and a plain process judge differently; each test by itself."""
    run = runner.baseline()
    tests = [result.nodeid for result in run.results]
    names = [name for name, _ in chosen]
    candidates = [(number, {path: data}) for number, (_, data) in enumerate(chosen)]
    found = []
    for number, verdict in runner.validate_many(candidates, tests, stop_at_first=False):
        # What hung here hangs there; the rest must not be cut on a busy machine.
        limit = 4.0 if verdict.outcome is Outcome.TIMEOUT else 90.0
        plain = runner.confirm(candidates[number][1], limit_seconds=limit)
        ours, theirs = outcomes(verdict.results), outcomes(plain.results)
        same = verdict.passed == (plain.exit_code == 0)
        if plain.exit_code == -1 or verdict.outcome in (Outcome.TIMEOUT, Outcome.CRASHED):
            same = same and plain.exit_code != 0 and not verdict.passed
        elif not plain.collection_errors and verdict.outcome is not Outcome.INVALID:
            same = same and ours == theirs
        if not same:
            what = {test for test in ours | theirs if ours.get(test) != theirs.get(test)}
            found.append(f"{names[number]}: {verdict.method} {verdict.outcome} {what}")
    return found


def judged(repo: str, path: str, tmp_path: Path, step: int) -> tuple[list[str], int]:
    root = tmp_path / repo
    shutil.copytree(REPOS / repo, root)
    source = (root / path).read_bytes()
    chosen = [pair for pair in mutants(source) if compiles(pair[1])][::step]
    assert chosen
    with Runner(root, sys.executable, limits=Limits(wall_floor=1.0)) as runner:
        return disagreements(runner, path, chosen), len(chosen)


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    # Plugins of our own environment cost a plain process more than all the rest.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


FIXTURES = [
    ("flat", "bank/account.py"),
    ("flat", "bank/interest.py"),
    ("src_layout", "src/shapes/area.py"),
    ("single", "wordcount.py"),
    ("unittest_style", "cart/__init__.py"),
    ("own_packages", "agent/__init__.py"),
    ("import_time", "units/__init__.py"),
]


@pytest.mark.parametrize(("repo", "path"), [("single", "wordcount.py")])
def test_a_sample_of_mutants_is_judged_alike(repo: str, path: str, tmp_path: Path) -> None:
    wrong, count = judged(repo, path, tmp_path, step=9)
    assert count >= 3
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(("repo", "path"), FIXTURES)
def test_every_mutant_is_judged_alike(repo: str, path: str, tmp_path: Path) -> None:
    wrong, count = judged(repo, path, tmp_path, step=1)
    assert count >= 8
    assert wrong == []
