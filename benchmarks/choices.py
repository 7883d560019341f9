"""Which of several patches that pass the visible tests is right, and by what it could have been told.

    python benchmarks/choices.py SET --data PATH --out CHOICES.jsonl [--visible V] [--patience S] [--max-seconds S]
    python benchmarks/choices.py --table CHOICES.jsonl ...

The first form runs `fix` on every problem, looks on for some seconds after a first patch, and judges all patches that pass by the
hidden tests. The second prints how often the one that is shown is right: by the score alone, by what `agent.choose` takes off it
for breaking down (trouble) and for what it changes of the faulty program's doing, at several prices.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import agent.search
from agent import choose
from agent.budget import Budget
from agent.errors import AgentError
from agent.evalsets import RedRepository, load, write_files
from agent.evaluate import _passes, _test_files
from agent.events import Event
from agent.loop import FixRequest, fix
from tools.runner import Runner

PRICES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # nats


def rows(problem: RedRepository, patience: float, seconds: float) -> list[dict[str, Any]]:
    """What passes the visible tests of a problem, in the order of trying; [] where nothing does. Raises AgentError."""
    seen: list[tuple[Sequence[choose.Passing], choose.Witnesses | None]] = []

    def spy(runner: Runner, passing: Sequence[choose.Passing], budget: Budget) -> Iterator[Event]:
        seen.append((passing, choose.witnesses(runner, passing)))
        return (yield from choose.choose(runner, passing, budget))

    with tempfile.TemporaryDirectory(prefix="trm-choices-", ignore_cleanup_errors=True) as scratch:
        root = problem.materialize(Path(scratch) / "repo")
        python = problem.python or sys.executable
        request = FixRequest(path=root, python=python, pytest_args=problem.pytest_args, patience=patience,
                             max_seconds=seconds, jobs=1)  # fmt: skip
        agent.search.choose = spy
        try:
            for _ in fix(request):
                pass
        finally:
            agent.search.choose = choose.choose
        if not seen:
            return []
        passing, known = seen[0]
        changed = known.changed() if known else [(0, 0)] * len(passing)
        write_files(root, problem.hidden)
        tests = problem.judged or _test_files({**problem.hidden, **problem.files})
        with Runner(root, python, problem.judge_args or problem.pytest_args) as runner:
            return [
                {
                    "score": one.candidate.score, "size": one.candidate.size, "line": one.candidate.line,
                    "before": one.candidate.before, "after": one.candidate.after, "operator": one.candidate.operator,
                    "trouble": choose.trouble(index, known.patches) if known else 0.0, "changed": changed[index],
                    "right": _passes(runner, one.patch.contents(), tests)[0],
                }
                for index, one in enumerate(passing)
            ]  # fmt: skip


def _shown(patches: Sequence[dict[str, Any]], trouble: float, change: float) -> dict[str, Any]:
    dear = choose.more_changed([row["changed"] for row in patches])
    marks = [
        row["score"] - trouble * row["trouble"] - change * more
        for row, more in zip(patches, dear, strict=True)
    ]
    best = min(range(len(marks)), key=lambda at: (-marks[at], patches[at]["size"]))
    return patches[best]


def table(found: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Right ones among those shown first, by price of trouble (rows) and of change (columns)."""
    several = [one for one in found if len({row["right"] for row in one}) == 2]
    lines = [f"{len(found)} problems with a passing patch, {len(several)} with right and wrong ones",
             f"right by the first that passed {sum(one[0]['right'] for one in several)}",
             "| trouble | " + " | ".join(f"change {price:g}" for price in PRICES) + " |",
             "|---" * (len(PRICES) + 1) + "|"]  # fmt: skip
    for trouble in PRICES:
        cells = []
        for change in PRICES:
            right = sum(_shown(one, trouble, change)["right"] for one in several)
            cells.append(str(right))
        lines.append(f"| {trouble:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Writes a line a problem, or prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--visible")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--patience", type=float, default=6.0)
    parser.add_argument("--max-seconds", type=float, default=40.0)
    parser.add_argument("--table", type=Path, nargs="+")
    options = parser.parse_args()
    if options.table:
        lines = [line for path in options.table for line in path.read_text("utf-8").splitlines()]
        print(table([rows for rows in (json.loads(line)["patches"] for line in lines) if rows]))
        return 0
    done = options.out.read_text("utf-8") if options.out.exists() else ""
    known = {json.loads(line)["task"] for line in done.splitlines()}
    problems = load(options.set, options.data, visible=options.visible)
    with options.out.open("a", encoding="utf-8") as out:
        for problem in problems[: options.limit]:
            if problem.task in known:
                continue
            try:
                patches = rows(problem, options.patience, options.max_seconds)
            except AgentError as error:
                print(f"{problem.task}: {error}", file=sys.stderr)
                patches = []
            out.write(json.dumps({"task": problem.task, "patches": patches}) + "\n")
            out.flush()
            print(problem.task, len(patches), sum(row["right"] for row in patches), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
