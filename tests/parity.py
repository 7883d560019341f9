"""Verdicts of the test worker beside those of a plain pytest process, mutant by mutant.

    python tests/parity.py [--cache DIR] [--mutants N] [--seed N] [--python P] [--package NAME ...]

Takes packages from PyPI (source archives that hold their tests, permissive licences, not judged elsewhere), breaks lines
that their tests run in N ways each, and has every mutant judged by the worker and by a plain pytest process in the same
confinement. A table goes to stdout, every disagreement to stderr; the exit code is 1 if there was any.
--cache keeps the archives.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.runner import Limits, Outcome, Runner

OTHER = {
    "+": ["-"], "-": ["+"], "*": ["+", "//"], "/": ["*"], "//": ["/"], "%": ["*"], "==": ["!="],
    "!=": ["=="], "<": ["<=", ">"], "<=": ["<"], ">": [">="], ">=": [">"], "+=": ["-=", "="],
    "-=": ["+="], "and": ["or"], "or": ["and"], "not": [""], "is": ["is not"], "in": ["not in"],
    "True": ["False"], "False": ["True"], "None": ["0"], "return": ["yield", ""], "max": ["min"],
    "sum": ["len"], "if": ["while"], "break": ["continue"], "lru_cache": ["wraps"],
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of a file: its line, what was done, the new content."""

    line: int
    what: str
    data: bytes


@dataclass(frozen=True)
class Case:
    """What became of a mutant. `differing`: tests that one of the two let pass and the other did not."""

    mutant: Mutant
    method: str
    outcome: Outcome
    accepted: bool
    plain: bool
    differing: frozenset[str]

    @property
    def same(self) -> bool:
        return self.accepted == self.plain and not self.differing


@dataclass(frozen=True)
class Package:
    """A package to take mutants of. `path`: where its imports start; `args`: for pytest; `needs`: what its tests import."""

    name: str
    version: str
    modules: tuple[str, ...]
    path: str = ""
    args: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


ASYNC = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
PACKAGES = (
    Package("hyperframe", "6.1.0", ("src/hyperframe/frame.py", "src/hyperframe/flags.py"), "src"),
    Package("async-timeout", "5.0.1", ("async_timeout/__init__.py",), "", ("-o", "addopts=", *ASYNC), ("pytest_asyncio",)),
    Package("blinker", "1.9.0", ("src/blinker/base.py", "src/blinker/_utilities.py"), "src", ASYNC, ("pytest_asyncio",)),
    Package("schedule", "1.2.2", ("schedule/__init__.py",), "", ("test_schedule.py",)),
    Package("voluptuous", "0.16.0", ("voluptuous/schema_builder.py", "voluptuous/validators.py", "voluptuous/util.py")),
    Package("idna", "3.20", ("idna/core.py", "idna/codec.py"), "", ("tests/test_idna.py", "tests/test_idna_codec.py")),
    Package("packaging", "26.4", ("src/packaging/version.py", "src/packaging/specifiers.py"), "src",
            ("tests/test_version.py", "tests/test_specifiers.py"), ("pretend", "hypothesis")),
)  # fmt: skip
MOST_TESTS = (
    25  # of those that run the mutated line, the quickest: a plain process gets them as arguments
)


def mutants(source: bytes) -> Iterator[Mutant]:
    """One token replaced, or one line deleted or doubled; only what parses."""
    for mutant in _all_mutants(source):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(mutant.data)
        except (SyntaxError, ValueError):
            continue
        yield mutant


def _all_mutants(source: bytes) -> Iterator[Mutant]:
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
            what = f"{token.start}: {token.string} -> {new}"
            yield Mutant(token.start[0], what, (text[:begin] + new + text[end:]).encode())
    for number, line in enumerate(lines, 1):
        if line.strip():
            indent = line[: len(line) - len(line.lstrip())]
            rest = lines[: number - 1] + [indent + "pass\n"] + lines[number:]
            yield Mutant(number, f"line {number} -> pass", "".join(rest).encode())
            twice = lines[:number] + lines[number - 1 :]
            yield Mutant(number, f"line {number} doubled", "".join(twice).encode())


def _outcomes(results) -> dict[str, bool]:
    good = (Outcome.PASSED, Outcome.SKIPPED)
    return {result.nodeid: result.outcome in good for result in results}


def compare(
    runner: Runner, path: str, chosen: Sequence[Mutant], tests: Sequence[str]
) -> Iterator[Case]:
    """Both verdicts on each mutant of the file `path`, each test of `tests` by itself."""
    candidates = [(number, {path: mutant.data}) for number, mutant in enumerate(chosen)]
    for number, verdict in runner.validate_many(candidates, tests, stop_at_first=False):
        # What hung here hangs there; the rest must not be cut on a busy machine.
        limit = 4.0 if verdict.outcome is Outcome.TIMEOUT else 90.0
        plain = runner.confirm(candidates[number][1], tests, limit_seconds=limit)
        ours, theirs = _outcomes(verdict.results), _outcomes(plain.results)
        differing: frozenset[str] = frozenset()
        ended = plain.exit_code == -1 or verdict.outcome in (Outcome.TIMEOUT, Outcome.CRASHED)
        if not ended and not plain.collection_errors and verdict.outcome is not Outcome.INVALID:
            differing = frozenset(t for t in theirs if t in ours and ours[t] != theirs[t])
            if verdict.passed:  # else tests after one that was cut were not run
                differing |= theirs.keys() - ours.keys()
        yield Case(
            chosen[number], verdict.method, verdict.outcome, verdict.passed, plain.exit_code == 0, differing
        )  # fmt: skip


def fetch(packages: Sequence[Package], cache: Path) -> str:
    """Puts the source archives into `cache`, by pip; "" or why that was not possible."""
    missing = [package for package in packages if archive(package, cache) is None]
    if not missing:
        return ""
    cache.mkdir(parents=True, exist_ok=True)
    # pip asks a source archive for its metadata: with what builds it at hand that is quick.
    backends = cache / "backends"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    steps = (
        []
        if backends.is_dir()
        else [["install", "--target", str(backends), "setuptools", "flit_core"]]
    )
    steps += [["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(cache),
               package.requirement] for package in missing]  # fmt: skip
    for step in steps:
        try:
            done = subprocess.run(
                [*pip, *step], capture_output=True, text=True, check=False, timeout=120,
                env={**os.environ, "PYTHONPATH": str(backends)},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"pip {step[0]} did not end within 120 s"
        if done.returncode:
            return (
                f"pip {step[0]} {step[-1]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
            )
    return ""


def archive(package: Package, cache: Path) -> Path | None:
    names = (
        f"{name}-{package.version}.tar.gz"
        for name in (package.name, package.name.replace("-", "_"))
    )
    return next((cache / name for name in names if (cache / name).exists()), None)


def judge(
    package: Package, cache: Path, base: Path, python: str, count: int, seed: int
) -> list[Case]:
    """Both verdicts on `count` mutants of lines of the package that its tests run."""
    source = archive(package, cache)
    assert source is not None, package.name
    with tarfile.open(source) as packed:
        packed.extractall(base, filter="data")
    root = base / source.name.removesuffix(".tar.gz")
    os.environ["PYTHONPATH"] = str(root / package.path)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    rng, cases = random.Random(seed), []
    args = ["-p", "no:cacheprovider", *package.args]
    with Runner(
        root,
        python,
        args,
        limits=Limits(wall_floor=10.0, collect_seconds=300.0, setup_seconds=300.0),
    ) as runner:
        run = runner.baseline()
        good = sorted((r.seconds, r.nodeid) for r in run.results if r.outcome is Outcome.PASSED)
        if not good:
            missing = {e.missing_module for e in run.collection_errors if e.missing_module}
            raise LookupError(
                f"no test passes under {python}; missing: {sorted(missing) or 'nothing known'}"
            )
        lines = {test: run.spectrum.lines_of(test) for _, test in good}
        pool = []
        for module in package.modules:
            covered = set().union(*(found.get(module, ()) for found in lines.values()))
            pool += [
                (module, m) for m in mutants((root / module).read_bytes()) if m.line in covered
            ]
        for module, mutant in rng.sample(pool, min(count, len(pool))):
            tests = [test for _, test in good if mutant.line in lines[test].get(module, ())]
            cases += compare(runner, module, [mutant], tests[:MOST_TESTS])
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--mutants", type=int, default=300, help="of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--package", action="append", help="only these")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no further package after these"
    )
    options = parser.parse_args()
    wanted = [each for each in PACKAGES if not options.package or each.name in options.package]
    total, began = Counter[str](), time.monotonic()
    print(
        "| package | mutants | accepted by both | exchanged | wrong accepts | wrong rejects | other test | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="trm-parity-") as name:
        cache = options.cache or Path(name) / "archives"
        if reason := fetch(wanted, cache):
            print(reason, file=sys.stderr)
            return 2
        for package in wanted:
            if time.monotonic() - began > options.seconds:
                break
            start, row = time.monotonic(), Counter[str]()
            try:
                cases = judge(
                    package, cache, Path(name), options.python, options.mutants, options.seed
                )
            except LookupError as error:
                print(f"{package.name}: {error}", file=sys.stderr)
                total["unjudged"] += 1
                continue
            for case in cases:
                row["mutants"] += 1
                row["both"] += case.accepted and case.plain
                row["swap"] += case.method == "swap"
                row["accepts"] += case.accepted and not case.plain
                row["rejects"] += case.plain and not case.accepted
                row["tests"] += case.accepted == case.plain and bool(case.differing)
                if not case.same:
                    verdicts = f"{case.method} {case.outcome}, plain {case.plain}"
                    print(
                        f"{package.name}: {case.mutant.what}: {verdicts}: {sorted(case.differing)[:4]}",
                        file=sys.stderr,
                    )
            show(package.requirement, row, time.monotonic() - start)
            total += row
    show("all", total, time.monotonic() - began)
    odd = ("accepts", "rejects", "tests", "unjudged")
    return 1 if any(total[key] for key in odd) else 0


def show(name: str, row: Counter[str], seconds: float) -> None:
    cells = (
        name,
        *(row[key] for key in ("mutants", "both", "swap", "accepts", "rejects", "tests")),
        f"{seconds:.0f}",
    )
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
