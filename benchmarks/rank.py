"""Where the true fix stands in the order in which `fix` would try its candidates; none of them is run.

    python benchmarks/rank.py SET --data PATH [--visible V] [--checkpoint DIR] [--steps 1,2] [--limit N] [--json FILE]

For every problem whose reference is one edit inside one function, the suite is run once, confined (coverage and failures are
what the model reads and Ochiai needs), and the candidates are counted up to the reference. Rows: the trained model, the
same with fewer supervision steps, the same architecture untrained, and the orders without a model. A reference that is in no
operator's reach and that the model does not write either has no rank, and counts as unreached.

--runs keeps the runs of the suites in a folder (pickles of our own making), so that other weights are compared on the same runs.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent import locate
from agent.budget import Budget
from agent.evalsets import RedRepository, load, write_files
from agent.reading import Reader
from tools.runner import Runner
from tools.source.edits import Edit
from tools.source.leaves import Module
from tools.source.minimal import minimal
from tools.source.operators import canonical
from tools.verdicts import RunnerError, SuiteRun
from tools.workspace import find_workspace

FAR = 10**9
MOST = 3000  # candidates counted
Fix = tuple[str, str, tuple[int, int, tuple[str, ...]]]  # path, unit, canonical edit


def reference(problem: RedRepository) -> Fix | None:
    """The reference as one canonical edit of one function, None if it is not that."""
    found: list[Fix] = []
    for path, data in problem.reference.items():
        if data == problem.files.get(path):
            continue
        before, after = _functions(problem.files[path]), _functions(data)
        for name, texts in before.items():
            edit = minimal(texts, after.get(name, texts))
            if edit is not None:
                found.append((path, name, canonical(texts, Edit(*edit))))
    return found[0] if len(found) == 1 else None


def _functions(source: bytes) -> dict[str, list[str]]:
    module = Module(source)
    return {u.name: [leaf.text for leaf in module.leaves[u.start : u.end]]
            for u in module.units if u.kind == "function"}  # fmt: skip


def suite_run(problem: RedRepository, kept: Path | None) -> tuple[SuiteRun, dict[str, bytes]]:
    """The run of the visible tests, and the files below the root."""
    name = hashlib.sha256(repr((problem.task, sorted(problem.files.items()))).encode()).hexdigest()
    file = kept / f"{problem.task.replace('/', '-')}-{name[:12]}.pickle" if kept else None
    if file is not None and file.is_file():
        return pickle.loads(file.read_bytes())  # our own
    with tempfile.TemporaryDirectory(prefix="trm-rank-", ignore_cleanup_errors=True) as scratch:
        root = problem.materialize(Path(scratch) / "repo")
        workspace = find_workspace(root, problem.python or sys.executable)
        arguments = workspace.pytest_args(problem.pytest_args)
        with Runner(root, workspace.python, arguments, jobs=1) as runner:
            run = runner.baseline()
        files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.py")}
    if file is not None:
        file.write_bytes(pickle.dumps((run, files)))
    return run, files


def rank_of(
    fix: Fix, reader: Reader, run: SuiteRun, sources: locate.Sources
) -> tuple[int, str, float]:
    """How many candidates come before the fix (FAR: it does not come), its operator, and the seconds of the processor."""
    began = time.process_time()
    found = locate.suspects(run, sources)
    if not found:
        return FAR, "", 0.0
    told = reader.candidates(run, sources, found, bool(run.collection_errors))
    stream: Iterator[Any] = iter(())
    while True:
        try:
            next(told)
        except StopIteration as stop:
            stream = stop.value
            break
    path, unit, wanted = fix
    for number, candidate in enumerate(itertools.islice(stream, MOST)):
        suspect = candidate.suspect
        if candidate.path != path or suspect.unit.name != unit:
            continue
        base = suspect.unit.start
        texts = [leaf.text for leaf in suspect.file.module.leaves[base : suspect.unit.end]]
        start, end = candidate.edit.start - base, candidate.edit.end - base
        if applied(texts, start, end, candidate.edit.tokens) == applied(texts, *wanted):
            operator = f"{candidate.tier} {candidate.operator}"
            return number, operator, time.process_time() - began
    return FAR, "", time.process_time() - began


def applied(texts: list[str], start: int, end: int, tokens: Sequence[str]) -> list[str]:
    """The texts after an edit."""
    return [*texts[:start], *tokens, *texts[end:]]


def readers(options: argparse.Namespace) -> dict[str, Reader]:
    """A reader a row of the table."""
    from trm.predict import Predictor

    rows: dict[str, Reader] = {}
    for rank in options.rank.split(","):
        rows[rank] = Reader(rank, options.checkpoint, 0, Budget(1e9, None))
        if rows[rank].reads:
            _ = rows[rank].predictor  # compiled now: candidates that come meanwhile are not its own
    for steps in filter(None, options.steps.split(",")):
        predictor = Predictor(options.checkpoint, steps=int(steps))
        rows[f"trm, steps={steps}"] = Reader("trm", None, 0, Budget(1e9, None), predictor)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--visible")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--rank", default="ochiai,random,untrained,trm", help="rows")
    parser.add_argument("--steps", default="", help="other numbers of supervision steps")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.runs:
        options.runs.mkdir(parents=True, exist_ok=True)
    rows = readers(options)
    ranks: dict[str, list[int]] = {name: [] for name in rows}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    tasks: list[dict[str, Any]] = []
    began = time.monotonic()
    kept: Path | None = options.runs
    for problem in load(options.set, options.data, options.visible)[: options.limit]:
        fix = reference(problem)
        if fix is None:
            continue
        try:
            run, files = suite_run(problem, kept)
        except RunnerError as error:
            print(f"{problem.task}: {error}", file=sys.stderr)
            continue
        if not run.failing:
            continue
        told: dict[str, Any] = {"task": problem.task, "type": problem.bug_type}
        with tempfile.TemporaryDirectory(prefix="trm-rank-") as scratch:
            write_files(Path(scratch), files)
            sources = locate.Sources(Path(scratch))
            for name, reader in rows.items():
                told[name], operator, spent = rank_of(fix, reader, run, sources)
                told["operator"] = operator or told.get("operator", "")
                told[f"{name}, seconds"] = round(spent, 3)
                ranks[name].append(told[name])
                seconds[name].append(spent)
        tasks.append(told)
        print(json.dumps(told), file=sys.stderr, flush=True)
    print(f"{options.set}: {len(tasks)} fixes of one edit; share of them among the first k candidates; "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    for title, tiers in (
        ("all", "01234"),
        ("tiers 2-4 and the model's own", "0234"),
        ("tier 1", "1"),
    ):
        chosen = [i for i, told in enumerate(tasks) if (told["operator"] or "0")[0] in tiers]
        print(
            f"\n{title}: {len(chosen)}\n{'':16}    @1   @20  @100  @300  reached  median rank  CPU s to it"
        )
        for name, found in ranks.items():
            rank = np.array([found[i] for i in chosen])
            if len(rank):
                shares = "  ".join(f"{(rank < k).mean():.2f}" for k in (1, 20, 100, 300, FAR))
                spent = np.median([seconds[name][i] for i in chosen])
                print(f"{name:16}  {shares}     {np.median(rank):11.0f}  {spent:11.2f}")
    if options.json:
        options.json.write_text(json.dumps(tasks, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
