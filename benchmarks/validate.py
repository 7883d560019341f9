"""Candidates judged per second: one pytest process each, against the test worker.

    python benchmarks/validate.py --clones DIR [--mutants 40] [--json FILE] [--package NAME ...]

DIR holds git clones (DIR/OWNER+NAME/repo or DIR/NAME) of the packages below; each is exported to
a temporary folder, so nothing of it stays. The same single-token mutants of one module go to

- a plain pytest process each (``Runner.confirm``: `python -m pytest TEST`, in the same
  confinement, since mutants are random programs), and
- the worker (``Runner.validate_many``), with one job and with two,

once with one test that runs the mutated lines ("one test") and once with the tests of its file
that do ("its file", until the first failure). CPU figures are of the candidates' processes and
of what the worker's server spends on each (compiling, forking, cleaning up); they hold on a busy
machine. Wall figures are what a user waits. Mutants that hang count in neither mean and are
reported apart. Agreement: passed or not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import tokenize
import venv
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.runner import Limits, Outcome, Runner, SuiteRun


@dataclass(frozen=True)
class Package:
    """A package to take mutants of: its clone, the mutated module, the tests of that module."""

    name: str
    clone: str
    module: str
    tests: str
    path: str = ""  # where imports start, "" for the root
    needs: tuple[str, ...] = ()


PACKAGES = (
    Package("voluptuous", "alecthomas+voluptuous", "voluptuous/validators.py",
            "voluptuous/tests/tests.py"),
    Package("tomli", "hukkin+tomli", "src/tomli/_parser.py", "tests", "src"),
    Package("schedule", "dbader+schedule", "schedule/__init__.py", "test_schedule.py",
            needs=("pytz",)),
    Package("parso", "davidhalter+parso", "parso/python/tokenize.py", "test/test_tokenize.py"),
)  # fmt: skip

SWAPS = {
    "+": "-", "-": "+", "*": "+", "/": "*", "//": "/", "%": "*", "==": "!=", "!=": "==",
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "and": "or", "or": "and", "is": "is not",
    "True": "False", "False": "True", "None": "0", "0": "1", "1": "2", "2": "1", "in": "not in",
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """(line, new text) with one token exchanged."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.string in SWAPS and token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER):
            begin = starts[token.start[0] - 1] + token.start[1]
            text = source[:begin] + SWAPS[token.string] + source[begin + len(token.string) :]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    compile(text, "mutant", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            yield token.start[0], text


def export(clone: Path, target: Path) -> None:
    """The files of the clone's HEAD."""
    data = subprocess.run(
        ["git", "-C", str(clone), "archive", "HEAD"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(data.stdout)) as archive:
        archive.extractall(target, filter="data")


def environment(folder: Path, packages: list[Package]) -> str:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    needs = sorted({"pytest", *(need for package in packages for need in package.needs)})
    subprocess.run([str(python), "-m", "pip", "install", "-q", *needs], check=True, timeout=600)
    return str(python)


def find_clone(clones: Path, package: Package) -> Path:
    for place in (clones / package.clone / "repo", clones / package.clone, clones / package.name):
        if place.is_dir():
            return place
    raise SystemExit(f"no clone of {package.name} below {clones}")


def choose(run: SuiteRun, package: Package, count: int, source: str, rng: random.Random):
    """(mutants, tests of the file that run their lines, the test that runs most of them)."""
    good = [each.nodeid for each in run.results if each.outcome is Outcome.PASSED]
    seconds = {each.nodeid: each.seconds for each in run.results}
    lines = {test: set(run.spectrum.lines_of(test).get(package.module, ())) for test in good}
    quick = [test for test in good if seconds[test] < 0.05]
    one = max(quick, key=lambda test: (len(lines[test]), test))
    pool = [(line, text) for line, text in mutants(source) if line in lines[one]]
    chosen = rng.sample(pool, min(count, len(pool)))
    touched = {line for line, _ in chosen}
    # Capped: a plain process gets them as arguments.
    return chosen, [test for test in good if lines[test] & touched][:60], one


def measure(runner: Runner, package: Package, chosen, tests: list[str]) -> dict[str, object]:
    files = [{package.module: text.encode()} for _, text in chosen]
    ours: dict[int, Outcome] = {}
    figures: dict[str, object] = {"mutants": len(files), "tests": len(tests)}
    cpu: dict[int, float] = {}
    swapped = 0
    for jobs in (1, 2):
        began = time.perf_counter()
        for number, verdict in runner.validate_many(enumerate(files), tests, jobs=jobs):
            ours[number], cpu[number] = verdict.outcome, verdict.seconds
            swapped += verdict.method == "swap"
        figures[f"worker_wall_{jobs}"] = time.perf_counter() - began
    hung = {number for number, outcome in ours.items() if outcome is Outcome.TIMEOUT}
    plain_cpu, plain_wall, disagree = [], [], []
    for number, changed in enumerate(files):
        began = time.perf_counter()
        # A hang is a hang after ten seconds too; the others must not be cut on a busy machine.
        run = runner.confirm(changed, tests, limit_seconds=10.0 if number in hung else 60.0)
        if number not in hung:
            plain_wall.append(time.perf_counter() - began)
            plain_cpu.append(run.cpu)
        if (run.exit_code == 0) != (ours[number] is Outcome.PASSED):
            disagree.append([chosen[number][0], ours[number].value, run.exit_code])
    # The worker again without the hangs, for a wall figure on the same mutants.
    rest = [(number, changed) for number, changed in enumerate(files) if number not in hung]
    for jobs in (1, 2):
        began = time.perf_counter()
        cpu_rest = [v.seconds for _, v in runner.validate_many(rest, tests, jobs=jobs)]
        figures[f"worker_per_second_{jobs}"] = len(rest) / (time.perf_counter() - began)
    figures.update(
        hangs=len(hung), disagreements=disagree, swapped=swapped / (2 * len(files)),
        plain_per_second=len(rest) / sum(plain_wall), plain_cpu_ms=1e3 * statistics.mean(plain_cpu),
        plain_cpu_median_ms=1e3 * statistics.median(plain_cpu),
        worker_cpu_ms=1e3 * statistics.mean(cpu_rest),
        worker_cpu_median_ms=1e3 * statistics.median(cpu_rest),
    )  # fmt: skip
    figures["ratio_wall"] = figures["worker_per_second_1"] / figures["plain_per_second"]  # type: ignore[operator]
    figures["ratio_cpu"] = figures["plain_cpu_ms"] / figures["worker_cpu_ms"]  # type: ignore[operator]
    median = figures["plain_cpu_median_ms"] / figures["worker_cpu_median_ms"]  # type: ignore[operator]
    figures["ratio_cpu_median"] = median
    return figures


def bench(package: Package, clones: Path, base: Path, python: str, count: int, seed: int):
    root = base / package.name
    root.mkdir()
    export(find_clone(clones, package), root)
    if package.path:
        os.environ["PYTHONPATH"] = str(root / package.path)
    else:
        os.environ.pop("PYTHONPATH", None)
    source = (root / package.module).read_text()
    limits = Limits(setup_seconds=60.0)
    with Runner(root, python, [package.tests], limits=limits) as runner:
        run = runner.baseline()
        if not any(each.outcome is Outcome.PASSED for each in run.results):
            raise SystemExit(f"{package.name}: no test passes: {run.collection_errors[:1]}")
        chosen, tests, one = choose(run, package, count, source, random.Random(seed))
        return {
            "package": asdict(package),
            "items": len(run.results),
            "one test": measure(runner, package, chosen, [one]) | {"nodeid": one},
            "its file": measure(runner, package, chosen, tests),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--mutants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--package", action="append", help="only these")
    options = parser.parse_args()
    wanted = [each for each in PACKAGES if not options.package or each.name in options.package]
    found = []
    with tempfile.TemporaryDirectory(prefix="trm-bench-") as folder:
        base = Path(folder)
        python = environment(base / "venv", wanted)
        head = ("package", "tests", "mutants", "hang", "swap", "pytest/s", "ours/s", "2 jobs/s",
                "wall x", "pytest ms", "ours ms", "CPU x", "median x", "differ")  # fmt: skip
        print(" ".join(f"{name:>10}" for name in head))
        for package in wanted:
            entry = bench(package, options.clones, base, python, options.mutants, options.seed)
            found.append(entry)
            for kind in ("one test", "its file"):
                f = entry[kind]
                row = (package.name, f["tests"], f["mutants"], f["hangs"], f["swapped"],
                       f["plain_per_second"], f["worker_per_second_1"], f["worker_per_second_2"],
                       f["ratio_wall"], f["plain_cpu_ms"], f["worker_cpu_ms"], f["ratio_cpu"],
                       f["ratio_cpu_median"], len(f["disagreements"]))  # fmt: skip
                cells = (f"{x:.2f}" if isinstance(x, float) else str(x) for x in row)
                print(" ".join(f"{cell:>10}" for cell in cells), flush=True)
    if options.json:
        load = os.getloadavg()
        data = {"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": load}
        options.json.write_text(json.dumps(data | {"packages": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
