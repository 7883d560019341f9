"""Where the true fix stands in the order of candidates, without running a test.

    python benchmarks/rank.py SET --data PATH [--checkpoint DIR] [--limit N] [--json FILE]

For every problem whose reference is one edit inside one function, the model reads the function's text alone (no coverage, no
failure), and the rank of the reference among all candidates (those that operators enumerate and those that the model
writes) is counted. Rows: the trained model at each number of supervision steps, the same architecture untrained,
and the orders without a model: tier and place, and chance (the expected rank: half of the candidates).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from agent.evalsets import load
from agent.propose import TIERS
from tools.source.edits import Edit
from tools.source.leaves import Module
from tools.source.minimal import minimal
from tools.source.operators import Scope, canonical, enumerate_edits
from trm.encode import encode
from trm.predict import Predictor

FAR = 10**9


def problems(name: str, data: Path):
    """(task, bug type, module, unit, fix) of every problem that is one edit inside one function."""
    for problem in load(name, data):
        changed = [p for p in problem.reference if problem.reference[p] != problem.files.get(p)]
        if len(changed) != 1:
            continue
        module = Module(problem.files[changed[0]])
        after = [leaf.text for leaf in Module(problem.reference[changed[0]]).leaves]
        before = [leaf.text for leaf in module.leaves]
        found = minimal(before, after)
        if found is None:
            continue
        for unit in module.units:
            if unit.kind == "function" and unit.start <= found[0] and found[1] <= unit.end:
                fix = found[0] - unit.start, found[1] - unit.start, found[2]
                yield problem.task, problem.bug_type, module, unit, fix


def candidates(module: Module, unit, texts: list[str]) -> dict[tuple, int]:
    """Canonical edits of the unit in tier order, with their place in that order."""
    order: dict[tuple, int] = {}
    for found in enumerate_edits(module, unit, Scope.of(module, unit), TIERS):
        start, end = found.edit.start - unit.start, found.edit.end - unit.start
        key = canonical(texts, Edit(start, end, found.edit.tokens))
        order.setdefault(key, len(order))
    return order


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    trained = Predictor(options.checkpoint)
    rows = {f"trm, {n} of {trained.config.steps} steps": Predictor(options.checkpoint, steps=n)
            for n in range(1, trained.config.steps)}  # fmt: skip
    rows[f"trm, all {trained.config.steps} steps"] = trained
    rows["untrained"] = Predictor(options.checkpoint, untrained=True)
    starts: dict[str, list[int]] = defaultdict(list)
    ranks: dict[str, list[int]] = defaultdict(list)
    types: list[str] = []
    began = time.monotonic()
    for _, kind, module, unit, fix in list(problems(options.set, options.data))[: options.limit]:
        types.append(kind)
        leaves = module.leaves[unit.start : unit.end]
        texts = [leaf.text for leaf in leaves]
        listed = candidates(module, unit, texts)
        ranks["tiers, in order"].append(listed.get(fix, FAR))
        ranks["chance (expected)"].append(len(listed) // 2 if fix in listed else FAR)
        for name, predictor in rows.items():
            analysis = predictor.analyse(encode(predictor.vocab, leaves))
            starts[name].append(int((analysis.start > analysis.start[fix[0] + 1]).sum()))
            scores: dict[tuple, float] = {}
            for found in predictor.propose(analysis, 400):
                key = canonical(texts, Edit(found.start, found.end, found.tokens))
                scores.setdefault(key, found.log_probability)
            missing = [key for key in listed if key not in scores]
            scores.update(zip(missing, predictor.score(analysis, missing).tolist(), strict=True))
            mine = scores.get(fix)
            ahead = FAR if mine is None else sum(score > mine for score in scores.values())
            ranks[name].append(ahead)
    print(f"{options.set}: {len(types)} fixes of one edit; share of fixes among the first k candidates; "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    print(f"{'':24}  start@1  start@5 |  @1    @20   @100  @300  reached  median rank")
    table = {}
    for name, found in ranks.items():
        rank = np.array(found)
        start = np.array(starts.get(name, [FAR] * len(found)))
        row = {f"start@{k}": float((start < k).mean()) for k in (1, 5)}
        row |= {f"@{k}": float((rank < k).mean()) for k in (1, 20, 100, 300)}
        row |= {"reached": float((rank < FAR).mean()), "median": float(np.median(rank))}
        by_type = {t: float(np.mean([r < 100 for r, k in zip(found, types, strict=True) if k == t]))
                   for t in sorted(set(types))}  # fmt: skip
        table[name] = {**row, "@100 by type": by_type, "n": len(found)}
        shown = (
            "-      -    "
            if name not in starts
            else f"{row['start@1']:.2f}     {row['start@5']:.2f} "
        )
        print(f"{name:24}  {shown} | {row['@1']:.2f}  {row['@20']:.2f}  {row['@100']:.2f}  {row['@300']:.2f}"
              f"  {row['reached']:.2f}     {row['median']:.0f}")  # fmt: skip
    for name in (f"trm, all {trained.config.steps} steps", "untrained"):
        print(
            f"{name}, @100 by bug type:",
            {k: round(v, 2) for k, v in table[name]["@100 by type"].items() if k},
        )
    if options.json:
        options.json.write_text(json.dumps({"checkpoint": trained.card, "rows": table}, indent=1))


if __name__ == "__main__":
    main()
