"""What the model's order of candidates costs, and whether two versions of the code have the same.

    python benchmarks/order.py PROJECT... [--python P] [--candidates 300] [--keep FILE] [--against FILE]
        [--runs DIR] [--fix SECONDS]

PROJECT is a folder whose suite is red. It is run once, confined; then candidates are drawn in this thread and none is run.
Columns: suspects, units that gave a candidate, CPU seconds to read the first units, and to 30, 100, 300, 1,000 and 3,000
candidates. It is CPU time, so what else the machine does matters little; the first run after a change of the model's code
compiles, so measure the second. --keep writes the candidates; --against compares with those that another checkout kept.
--runs keeps the runs of the suites (pickles of our own making). --fix also repairs for so many seconds, with one test process,
and tells candidates tried and the CPU seconds of the agent and of its worker.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import agent.reading
from agent import locate, propose
from agent.budget import Budget
from agent.events import Finished
from agent.loop import FixRequest, fix
from agent.reading import Reader
from tools.runner import Runner
from tools.verdicts import SuiteRun
from tools.workspace import find_workspace
from trm.predict import Predictor

MARKS = (30, 100, 300, 1000, 3000)
NEAR = 1e-3  # nats: candidates whose scores differ by less may change places


def suite_run(project: Path, python: str | None, kept: Path | None) -> tuple[SuiteRun, Path]:
    """The run of the suite, and the root that its paths are relative to."""
    workspace = find_workspace(project, python)
    file = (
        kept / (str(project.resolve()).strip("/").replace("/", "-") + ".pickle") if kept else None
    )
    if file is not None and file.is_file():
        return pickle.loads(file.read_bytes()), workspace.root
    with Runner(workspace.root, workspace.python, workspace.pytest_args(()), jobs=1) as runner:
        run = runner.baseline()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(run))
    return run, workspace.root


def last_of(events: Iterator[Any]) -> Any:
    """What a generator of events returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def drawn(run: SuiteRun, root: Path, predictor: Predictor, most: int) -> tuple[list[list], dict]:
    """Candidates as (path, start, end, tokens, operator, tier, score), and what they cost."""
    sources = locate.Sources(root)
    found = locate.suspects(run, sources)
    reader = Reader("trm", None, 0, Budget(1e9, None), predictor)
    threaded = agent.reading.merged
    agent.reading.merged = lambda streams, unread=(): propose._merged(streams, iter(unread))
    began = time.process_time()
    stream = last_of(reader.candidates(run, sources, found, False))
    agent.reading.merged = threaded
    read = time.process_time()
    rows, units, marks = [], set(), {}
    for number, one in enumerate(islice(stream, most), 1):
        edit = one.edit
        rows.append(
            [one.path, edit.start, edit.end, list(edit.tokens), one.operator, one.tier, one.score]
        )
        units.add(one.suspect.name)
        if number in MARKS:
            marks[number] = round(time.process_time() - read, 2)
    return rows, {
        "suspects": len(found),
        "units": len(units),
        "read": round(read - began, 2),
        **marks,
    }


def compare(old: list[list], new: list[list]) -> str:
    """Where two orders part, in words."""
    most = min(len(old), len(new))
    old, new = old[:most], new[:most]
    first, second = (
        {json.dumps(row[:4]): at for at, row in enumerate(rows)} for rows in (old, new)
    )
    both = first.keys() & second.keys()
    gaps = [abs(old[first[edit]][6] - new[second[edit]][6]) for edit in both]
    # of what stands elsewhere, how much the scores of the two that are at its place differ
    moved = [abs(a[6] - b[6]) for a, b in zip(old, new, strict=True) if a[:4] != b[:4]]
    same = next(
        (at for at, (a, b) in enumerate(zip(old, new, strict=True)) if a[:4] != b[:4]), most
    )
    return (
        f"of {most} the first {same} are the same; {most - len(both)} are in one only; "
        f"scores differ by at most {max(gaps, default=0):.1e}; "
        f"{len(moved)} stand elsewhere, {sum(gap > NEAR for gap in moved)} by more than {NEAR:g} nats"
    )


def repaired(project: Path, python: str | None, seconds: float) -> str:
    """A real `fix`: what was tried, and the CPU time of both sides."""
    before = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    request = FixRequest(project, python=python, max_seconds=seconds, jobs=1)
    (end,) = (event for event in fix(request) if isinstance(event, Finished))
    after = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    agent_cpu, worker_cpu = (
        b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime
        for a, b in zip(before, after, strict=True)
    )
    tried = f"{end.status}: {end.tried} tried in {end.seconds:.0f} s"
    return f"{tried}; CPU of the agent {agent_cpu:.1f} s, of the worker {worker_cpu:.1f} s"


def main() -> int:
    """Print a line a project."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--fix", type=float)
    options = parser.parse_args()
    former = json.loads(options.against.read_text(encoding="utf-8")) if options.against else {}
    predictor = Predictor()
    for _ in predictor.warm():
        pass
    kept: dict[str, list] = {}
    for project in options.projects:
        run, root = suite_run(project, options.python, options.runs)
        rows, cost = drawn(run, root, predictor, options.candidates)
        kept[str(project)] = rows
        print(project.name, " ".join(f"{name}={value}" for name, value in cost.items()), flush=True)
        if str(project) in former:
            print(" ", compare(former[str(project)], rows), flush=True)
        if options.fix:
            print(" ", repaired(project, options.python, options.fix), flush=True)
        if options.keep:
            options.keep.write_text(json.dumps(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
