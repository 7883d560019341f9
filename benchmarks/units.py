"""How likely suspicion and rank make the faulty unit: what `agent.propose.biases` weighs, fitted by a conditional logit.

    python benchmarks/units.py PROBLEMS [PROBLEMS ...] [--runs DIR]

PROBLEMS are those of benchmarks/packages.py whose reference is one edit of one function. Printed are the nats of the faulty unit
among all suspects with twice the logarithm of the suspicion, with the fitted weight of that alone, and with the rank's beside it;
each also with the weights of the other projects (a task is PROJECT-NUMBER).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rank import reference, suite_run

from agent import locate
from agent.evalsets import load, write_files
from tools.verdicts import RunnerError

_STEPS = 50  # of Newton's method
_RIDGE = 1e-3


@dataclass(frozen=True)
class Case:
    """rows: (units, 2) logarithms of suspicion against the most suspect unit's and of rank; at: the faulty unit."""

    project: str
    rows: Any
    at: int


def cases(problems: Path, kept: Path | None) -> list[Case]:
    """Those whose faulty unit is a suspect."""
    made = []
    for problem in load("packages", problems):
        fix = reference(problem)
        if fix is None:
            continue
        try:
            run, files = suite_run(problem, kept)
        except RunnerError as error:
            print(f"{problem.task}: {error}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(prefix="trm-units-") as scratch:
            write_files(Path(scratch), files)
            found = locate.suspects(run, locate.Sources(Path(scratch)))
        place = [i for i, s in enumerate(found) if (s.file.path, s.unit.name) == fix[:2]]
        if not place:
            continue
        best = max(found[0].prior, 1e-3)
        rows = [(math.log(max(s.prior, 1e-3) / best), math.log(i)) for i, s in enumerate(found, 1)]
        made.append(Case(problem.task.rpartition("-")[0], np.array(rows), place[0]))
    return made


def nats(case: Case, weights: Any) -> float:
    """Of the faulty unit."""
    scores = case.rows[:, : len(weights)] @ weights
    return float(np.logaddexp.reduce(scores) - scores[case.at])


def fitted(some: list[Case], count: int) -> Any:
    """The likeliest weights of the first `count` columns (Newton's method: the likelihood is concave)."""
    weights = np.zeros(count)
    for _ in range(_STEPS):
        slope, bend = _RIDGE * weights, _RIDGE * np.eye(count)
        for case in some:
            rows = case.rows[:, :count]
            scores = rows @ weights
            share = np.exp(scores - np.logaddexp.reduce(scores))
            mean = share @ rows
            slope += mean - rows[case.at]
            bend += (rows - mean).T @ ((rows - mean) * share[:, None])
        step = np.linalg.solve(bend, slope)
        before = sum(nats(case, weights) for case in some)
        while sum(nats(case, weights - step) for case in some) > before + 1e-9:
            step /= 2  # a whole step may go too far
        weights -= step
    return weights


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("problems", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, help="keeps the runs of the suites, as rank.py does")
    options = parser.parse_args()
    if options.runs:
        options.runs.mkdir(parents=True, exist_ok=True)
    every = [case for problems in options.problems for case in cases(problems, options.runs)]
    projects = {case.project for case in every}
    first = np.mean([case.at == 0 for case in every])
    print(f"{len(every)} faults of {len(projects)} projects; the most suspect unit has {first:.2f}")
    print(
        f"suspicion, weight 2: {np.mean([nats(case, np.array([2.0])) for case in every]):.2f} nats"
    )
    for count, name in ((1, "suspicion"), (2, "suspicion and rank")):
        weights = fitted(every, count)
        others = {p: fitted([c for c in every if c.project != p], count) for p in projects}
        print(f"{name}, weights {weights.round(2)}: {np.mean([nats(c, weights) for c in every]):.2f} nats, "
              f"with those of the other projects {np.mean([nats(c, others[c.project]) for c in every]):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
