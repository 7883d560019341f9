"""Mutants judged a second: mutmut 3, a plain pytest process each, and the test worker, on mutmut's own mutants.

    python benchmarks/mutation.py --clones DIR [--package NAME ...] [--mutants 30] [--seed 0] [--json FILE]

DIR and the packages are those of validate.py. mutmut, which forks after it has imported pytest and runs the tests that it saw
call a function, writes all mutants of the module. A sample of those of the function that has the most is judged by

- mutmut, one child at a time: its run over the sample less its run over one, so that neither its start nor its first run of the
  suite counts;
- a plain pytest process each, which is cosmic-ray's way, with the tests that run the function, until the first one fails;
- the worker with the same tests, one job and two. Its start and its first run of the suite do not count either.

mutmut does not confine what it runs, so all of it runs below Landlock: it writes into its temporary folder only. CPU is of all
processes. Mutants that one side cut for time are left out everywhere and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import validate

from tools.runner import Limits, Outcome, Runner

SURVIVED, KILLED = 0, 1  # exit codes of mutmut's children
_CONFINED = """
import os, runpy, sys
folder, tools, *sys.argv = sys.argv[1:]
for name in ("namespaces", "confine"):
    space = runpy.run_path(f"{tools}/{name}.py", run_name="_trm_worker_" + name)
    sys.modules["_trm_worker_" + name] = type(sys)(name)
    vars(sys.modules["_trm_worker_" + name]).update(space)
space["Landlock"](deny_tcp=True).restrict([folder])
os.execv(sys.argv[0], sys.argv)
"""
_TOOLS = Path(__file__).resolve().parent.parent / "tools" / "worker"


@dataclass(frozen=True)
class Mutant:
    """A mutant of mutmut's. key: its name there; body: lines of its function before, without the first; source: of the module."""

    key: str
    body: range
    source: str


def confined(folder: Path, command: Sequence[str], cwd: Path) -> tuple[float, float]:
    """Run a command that can write below `folder` only; (wall, CPU) seconds of it and its children."""
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CONFINED, str(folder), str(_TOOLS), *command],
        cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command}: {(done.stdout + done.stderr)[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def mutants(written: Path, source: str, module: str) -> list[Mutant]:
    """The mutants in a module that mutmut wrote, each as the whole source with one function exchanged."""
    lines = written.read_text(encoding="utf-8").splitlines(keepends=True)
    spans = json.loads(Path(f"{written}.spans").read_text(encoding="utf-8"))["spans"]

    def text(name: str) -> str:
        first, last = spans[name]
        plain = re.split("ǁ|^x_", name.rpartition("__mutmut_")[0])[-1]
        return "".join(lines[first:last]).replace(name, plain, 1)

    found = []
    for name in spans:
        stem, _, number = name.rpartition("__mutmut_")
        before = text(f"{stem}__mutmut_orig")
        if number != "orig" and source.count(before) == 1:
            at = source.index(before)
            changed = source[:at] + text(name) + source[at + len(before) :]
            first = source.count("\n", 0, at) + 1
            body = range(first + 1, first + before.count("\n"))
            found.append(Mutant(f"{module}.{name}", body, changed))
    return found


def bench(
    package: validate.Package, clone: Path, base: Path, python: str, count: int, seed: int
) -> dict[str, Any]:
    """Figures of one package; times in seconds."""
    root = base / package.name
    root.mkdir()
    validate.export(clone, root)
    os.environ.pop("PYTHONPATH", None)
    if package.path:
        os.environ["PYTHONPATH"] = str(root / package.path)
    top = package.path or Path(package.module).parts[0]
    with (root / "setup.cfg").open("a", encoding="utf-8") as file:
        file.write(
            f"\n[mutmut]\nsource_paths={top}\nonly_mutate={package.module}\nalso_copy={top}\n"
        )
        file.write(f"pytest_add_cli_args_test_selection={package.tests}\n")
    source = (root / package.module).read_text(encoding="utf-8")
    written = root / "mutants" / package.module
    module = ".".join(Path(package.module).relative_to(package.path).with_suffix("").parts)
    module = module.removesuffix(".__init__")

    def mutmut(keys: Sequence[str]) -> tuple[float, float]:
        return confined(base, [python, "-m", "mutmut", "run", "--max-children", "1", *keys], root)

    mutmut([f"{module}.*__mutmut_1"])
    made = mutants(written, source, module)
    with Runner(root, python, [package.tests], limits=Limits(setup_seconds=60.0)) as runner:
        run = runner.baseline()
        passing = [each.nodeid for each in run.results if each.outcome is Outcome.PASSED]
        lines = {t: set(run.spectrum.lines_of(t).get(package.module, ())) for t in passing}
        body, _ = Counter(
            m.body for m in made if any(map(set(m.body).intersection, lines.values()))
        ).most_common(1)[0]
        tests = [t for t in lines if lines[t].intersection(body)]
        pool = [m for m in made if m.body == body and not m.key.endswith("__mutmut_1")]
        chosen = random.Random(seed).sample(pool, min(count, len(pool)))
        function = chosen[0].key.rpartition("__mutmut_")[0]
        print(f"{function}: {len(chosen)} mutants, {len(tests)} tests", file=sys.stderr)
        wall, cpu = mutmut([m.key for m in chosen])
        codes = json.loads(Path(f"{written}.meta").read_text())["exit_code_by_key"]
        start = mutmut([chosen[0].key])  # known by now: it starts, and runs one
        figures: dict[str, Any] = {
            "package": package.name,
            "function": function,
            "tests": len(tests),
        }
        files = {m.key: {package.module: m.source.encode()} for m in chosen}
        ours: dict[str, Outcome] = {}

        def judge(keys: set[str], jobs: int) -> tuple[float, float]:
            began, spent = time.perf_counter(), 0.0
            group = [(key, files[key]) for key in files if key in keys]
            for key, verdict in runner.validate_many(group, tests, jobs=jobs):
                ours[str(key)] = verdict.outcome
                spent += verdict.seconds
            return time.perf_counter() - began, spent

        judge(set(files), 1)
        decided = {
            k for k in files if codes[k] in (SURVIVED, KILLED) and ours[k] is not Outcome.TIMEOUT
        }
        figures["worker"], figures["worker, 2 jobs"] = judge(decided, 1), judge(decided, 2)
        plain = [0.0, 0.0]
        agreed = 0
        for m in chosen:
            if m.key in decided:
                began = time.perf_counter()
                done = runner.confirm(files[m.key], tests, limit_seconds=60.0)
                plain[0] += time.perf_counter() - began
                plain[1] += done.cpu
                passed = done.exit_code == 0
                agreed += passed == (codes[m.key] == SURVIVED) == (ours[m.key] is Outcome.PASSED)
        figures["pytest process"] = plain
        # mutmut ran all of the sample: what it spent on mutants that were cut is taken off by its own times of each
        took = json.loads(Path(f"{written}.meta").read_text())["durations_by_key"]
        share = sum(took[k] for k in decided) / sum(took[m.key] for m in chosen)
        less = took[chosen[0].key]
        figures["mutmut"] = ((wall - start[0] + less) * share, (cpu - start[1] + less) * share)
        return figures | {
            "mutants": len(decided),
            "cut": len(files) - len(decided),
            "agreed": agreed,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--mutants", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--package", action="append", help="only these")
    options = parser.parse_args()
    wanted = [p for p in validate.PACKAGES if not options.package or p.name in options.package]
    found = []
    with tempfile.TemporaryDirectory(prefix="trm-bench-") as folder:
        base = Path(folder)
        python = validate.environment(base / "venv", wanted)
        subprocess.run([python, "-m", "pip", "install", "-q", "mutmut>=3"], check=True, timeout=600)
        print("| package | mutants, cut | by | a second | CPU ms each | CPU, times ours |")
        print("|---|---|---|---|---|---|")
        for package in wanted:
            clone = validate.find_clone(options.clones, package)
            entry = bench(package, clone, base, python, options.mutants, options.seed)
            found.append(entry)
            n = entry["mutants"]
            for side in ("worker", "worker, 2 jobs", "mutmut", "pytest process"):
                wall, cpu = entry[side]
                row = (package.name, f"{n}, {entry['cut']}", side, f"{n / wall:.1f}",
                       f"{1e3 * cpu / n:.1f}", f"{cpu / entry['worker'][1]:.1f}")  # fmt: skip
                print(f"| {' | '.join(row)} |", flush=True)
            print(f"{package.name}: all three agree on {entry['agreed']} of {n}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
