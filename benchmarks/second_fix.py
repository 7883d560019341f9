"""What the cache saves: the time until the search begins, in a first and in a second `fix` of the same code.

    python benchmarks/second_fix.py --clones DIR [--package NAME ...] [--repeat 3] [--json FILE]

Packages, clones and environment are those of benchmarks/validate.py. A token of the package's module is exchanged so that a test
fails; then `fix` runs up to the end of its look at the suite: without a cache, with an empty one, and with what that left. Wall
is what a user waits; CPU is of the agent and of all test processes. Medians of the repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from validate import PACKAGES, Package, environment, export, find_clone, mutants

from agent.events import SuiteRan
from agent.loop import FixRequest, fix

WAYS = ("without", "first", "second")


def look(root: Path, python: str, tests: str, cache: bool) -> tuple[SuiteRan, float, float]:
    """(what the suite showed, wall seconds until then, CPU seconds) of the beginning of a `fix`."""
    request = FixRequest(root, python, (tests,), rank="ochiai", jobs=1, cache=cache)
    before, began = _cpu(), time.monotonic()
    with contextlib.closing(fix(request)) as events:
        ran = next(event for event in events if isinstance(event, SuiteRan))
        wall = time.monotonic() - began
    return ran, wall, _cpu() - before


def _cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def broken(package: Package, root: Path, python: str) -> SuiteRan:
    """Exchange a token of the package's module such that some tests fail, not all. Returns what the suite shows then."""
    module = root / package.module
    source = module.read_text()
    found = list(mutants(source))
    random.Random(0).shuffle(found)
    for _, text in found:
        module.write_text(text)
        ran, _, _ = look(root, python, package.tests, cache=False)
        if ran.failed and ran.passed:
            return ran
    raise SystemExit(f"{package.name}: no test fails with any mutant")


def bench(package: Package, root: Path, python: str, repeat: int) -> dict[str, object]:
    os.environ["PYTHONPATH"] = str(root / package.path) if package.path else ""
    ran = broken(package, root, python)
    figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        for way in WAYS:
            seen, *spent = look(root, python, package.tests, cache=way != "without")
            assert seen.recalled == (way == "second"), (way, seen)
            assert (seen.passed, seen.failed) == (ran.passed, ran.failed), (way, seen)
            figures[way].append((spent[0], spent[1]))
    medians = {
        f"{way} {kind}": statistics.median(row[at] for row in rows)
        for way, rows in figures.items()
        for at, kind in enumerate(("wall", "CPU"))
    }
    return {"package": package.name, "passed": ran.passed, "failed": ran.failed, **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--package", action="append", help="only these")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [each for each in PACKAGES if not options.package or each.name in options.package]
    found = []
    with tempfile.TemporaryDirectory(prefix="trm-bench-") as folder:
        base = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        python = environment(base / "venv", wanted)
        columns = [f"{way} {kind}" for kind in ("wall", "CPU") for way in WAYS]
        print(
            "| " + " | ".join(("package", "tests", "failing", *columns, "wall x", "CPU x")) + " |"
        )
        print("|" + "---|" * (len(columns) + 5))
        for package in wanted:
            root = base / package.name
            root.mkdir()
            export(find_clone(options.clones, package), root)
            row = bench(package, root, python, options.repeat)
            found.append(row)
            cells = [f"{row[name]:.2f}" for name in columns]
            ratios = [row[f"without {kind}"] / row[f"second {kind}"] for kind in ("wall", "CPU")]  # type: ignore[operator]
            total = row["passed"] + row["failed"]  # type: ignore[operator]
            line = (
                package.name,
                total,
                row["failed"],
                *cells,
                *(f"{ratio:.1f}" for ratio in ratios),
            )
            print("| " + " | ".join(map(str, line)) + " |", flush=True)
    if options.json:
        data = {"python": sys.version.split()[0], "load": os.getloadavg(), "packages": found}
        options.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
