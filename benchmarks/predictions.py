"""What the model sees in the faulty function of each problem, step by step, beside the fix that was wanted: to be read.

    python benchmarks/predictions.py SET --data PATH [--visible V] [--checkpoint DIR] [--limit N] [--runs DIR]

For every problem whose reference is one edit inside one function: the function with suspicion and start mass a line, the failure,
what each supervision step holds for the likeliest edit and how sure it is of it, and what the wanted one costs, part by part.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rank import Fix, reference, suite_run

from agent import locate
from agent.evalsets import RedRepository, load, write_files
from agent.reading import encode_suspect
from tools.source.leaves import Leaf
from tools.source.parts import LONGEST
from tools.verdicts import RunnerError
from trm.analysis import Analysis
from trm.predict import Predictor

SHOWN = 0.02  # start mass or suspicion of a line that is printed


def shown(problem: RedRepository, fix: Fix, predictor: Predictor, kept: Path | None) -> str:
    """The page of one problem. Raises RunnerError."""
    run, files = suite_run(problem, kept)
    path, name, wanted = fix
    with tempfile.TemporaryDirectory(prefix="trm-predictions-") as scratch:
        write_files(Path(scratch), files)
        found = locate.suspects(run, locate.Sources(Path(scratch)))
    place = next(
        (i for i, s in enumerate(found) if s.file.path == path and s.unit.name == name), None
    )
    rows = [f"## {problem.task} ({problem.bug_type}), {path}, {name}"]
    if place is None:
        return "\n".join([*rows, "not among the suspects"])
    suspect = found[place]
    if suspect.unit.end - suspect.unit.start > LONGEST:
        return "\n".join([*rows, f"suspect {place + 1} of {len(found)}, too long to be read"])
    analysis = predictor.analyse(encode_suspect(predictor.vocab, suspect, run))
    rows.append(
        f"suspect {place + 1} of {len(found)}; {len(run.failing)} of {len(run.results)} tests fail"
    )
    failure = locate.failure_of(suspect, run)
    if failure is not None:
        first = (failure.message or "").splitlines()[:1]
        rows.append(
            f"{failure.exception}: {''.join(first)[:100]}  in  {failure.test_line.strip()[:100]}"
        )
    rows += _code(suspect, analysis, wanted)
    leaves = suspect.file.module.leaves[suspect.unit.start : suspect.unit.end]
    for number, step in enumerate(analysis.steps, 1):
        text = f"step {number}: halt {step.halt:.2f}, no bug here {step.start[0]:.2f}"
        if step.best is not None:
            best = step.best
            change = _change(leaves, best.start, best.end, best.tokens)
            text += f", {math.exp(best.log_probability):.3f} for  {change}"
        rows.append(text)
    rows.append(f"wanted: {_change(leaves, *wanted)}")
    rows.append(_cost(predictor, analysis, wanted))
    return "\n".join(rows)


def _change(leaves: Sequence[Leaf], start: int, end: int, tokens: Sequence[str]) -> str:
    removed = " ".join(leaf.text for leaf in leaves[start:end])
    return f"{removed or '(nothing)'} -> {' '.join(tokens) or '(nothing)'}"


def _code(suspect: locate.Suspect, analysis: Analysis, wanted: tuple[int, int, Any]) -> list[str]:
    """The unit's lines: `>` at the wanted place, suspicion, start mass."""
    unit, module = suspect.unit, suspect.file.module
    mass: dict[int, float] = {}
    for index, value in enumerate(analysis.leaf_mass):
        line = module.leaves[unit.start + index].line
        mass[line] = mass.get(line, 0.0) + float(value)
    right = suspect.line_of(unit.start + wanted[0])
    rows = []
    for number, text in enumerate(module.source.decode("utf-8", "replace").splitlines(), 1):
        if unit.first_line <= number <= unit.last_line:
            score, start = suspect.scores.get(number, 0.0), mass.get(number, 0.0)
            columns = "".join(f"{v:5.2f}" if v > SHOWN else "     " for v in (score, start))
            rows.append(f"{'>' if number == right else ' '}{columns}  {text[:110]}")
    return rows


def _cost(
    predictor: Predictor, analysis: Analysis, wanted: tuple[int, int, tuple[str, ...]]
) -> str:
    """Nats of the wanted edit: start, length, each content slot."""
    (target,) = predictor.targets(analysis, [wanted])
    if target is None:
        return "beyond what the heads can write"
    depths = range(len(target.piece) + 1)
    scores = predictor.score_targets(analysis, [target] * len(depths), list(depths))
    start = -float(analysis.start[target.start])
    length = -float(analysis.length[target.start, target.length])
    slots = " ".join(f"{a - b:.1f}" for a, b in itertools.pairwise(scores))
    return f"costs {-scores[-1]:.1f} nats: start {start:.1f}, length {length:.1f}, contents {slots}"


def main() -> None:
    """Print a page a problem."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--visible")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--runs", type=Path, help="keep the runs of the suites in a folder")
    options = parser.parse_args()
    if options.runs:
        options.runs.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(options.checkpoint)
    for problem in load(options.set, options.data, options.visible)[: options.limit]:
        fix = reference(problem)
        if fix is None:
            continue
        try:
            print(shown(problem, fix, predictor, options.runs), end="\n\n", flush=True)
        except RunnerError as error:
            print(f"{problem.task}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
