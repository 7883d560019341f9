"""The model alone on recorded mutants: does it look at the right line, and does it write the right edit?

    python benchmarks/alone.py PARTS [--checkpoint DIR] [--untrained] [--steps N] [--limit N] [--without evidence]

PARTS: a folder of `data mutate` whose packages were never trained on; mutants with one fix count. No tests run and no operators
help: edits are what the network itself writes, likeliest first, each compared with the fix as token sequences. Right line: the
line of the unit with most start mass has the fix. Intervals: 95 %, by resampling units, since mutants of a unit are alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tools.source.edits import Edit
from tools.source.leaves import Module
from tools.source.operators import canonical
from trm.data.mutants import Mutant, read
from trm.encode import FailureText, carry_to_continuations, encode, padded_length
from trm.predict import Predictor

MOST = 100  # edits asked for
NAMES = ("right line", "edit @1", "@5", "@20", "@100")


def chosen(folder: Path, limit: int | None) -> list[Mutant]:
    """Mutants with one fix, a random part of them."""
    found = [
        mutant
        for part in sorted((folder / "parts").glob("*.jsonl.gz"))
        for mutant in read(part)
        if len(mutant.fixes) == 1
    ]
    random.Random(0).shuffle(found)
    return found[:limit]


def judged(mutant: Mutant, predictor: Predictor, evidence: bool) -> list[bool] | None:
    """NAMES of one mutant; None where it is too long to be read."""
    leaves = Module(mutant.source.encode()).leaves
    seen = mutant.execution if evidence else dataclasses.replace(mutant.execution, evidence={})
    carry_to_continuations(leaves, seen.cover_fail, seen.cover_pass)
    failure = mutant.failure if mutant.failure != FailureText() else None
    encoded = encode(
        predictor.vocab, leaves, names=mutant.names[:64], execution=seen, failure=failure
    )
    if padded_length(encoded.length) is None:
        return None
    analysis = predictor.analyse(encoded, greedy=False)
    texts = [leaf.text for leaf in leaves]
    (fix,) = mutant.fixes
    wanted = canonical(texts, fix)
    mass: dict[int, float] = {}
    for leaf, value in zip(leaves, analysis.leaf_mass, strict=True):
        mass[leaf.line] = mass.get(leaf.line, 0.0) + float(value)
    line = leaves[min(fix.start, len(leaves) - 1)].line
    rank = MOST
    for number, found in enumerate(predictor.propose(analysis, MOST)):
        if canonical(texts, Edit(found.start, found.end, found.tokens)) == wanted:
            rank = number
            break
    return [max(mass, key=lambda n: mass[n]) == line, *(rank < k for k in (1, 5, 20, 100))]


def interval(rows: np.ndarray, units: Sequence[str]) -> np.ndarray:
    """(2, columns): 95 % interval of the means of rows (n, columns), resampling whole units."""
    groups: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        groups.setdefault(unit, []).append(index)
    sums = np.array([rows[group].sum(0) for group in groups.values()])
    sizes = np.array([len(group) for group in groups.values()])
    draws = np.random.default_rng(0).integers(0, len(sums), (2000, len(sums)))
    means = sums[draws].sum(1) / sizes[draws].sum(1)[:, None]
    return np.quantile(means, (0.025, 0.975), axis=0)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--steps", type=int, help="supervision steps")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--without", choices=["evidence"])
    options = parser.parse_args()
    predictor = Predictor(options.checkpoint, untrained=options.untrained, steps=options.steps)
    began, rows, kept = time.monotonic(), [], []
    for mutant in chosen(options.parts, options.limit):
        row = judged(mutant, predictor, options.without != "evidence")
        if row is not None:
            rows.append(row)
            kept.append(mutant)
    table = np.array(rows, float)
    units = [f"{mutant.package} {mutant.origin}" for mutant in kept]
    print(f"{options.parts}: {len(rows)} mutants of {len(set(units))} functions of {len({m.package for m in kept})} packages, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    searched = np.array([bool(mutant.execution.evidence) for mutant in kept])
    for title, mask in (("all", np.full(len(kept), True)), ("with evidence of a search", searched)):
        if mask.any():
            low, high = interval(table[mask], [u for u, m in zip(units, mask, strict=True) if m])
            cells = "  ".join(
                f"{name} {mean:.3f} [{a:.3f}, {b:.3f}]"
                for name, mean, a, b in zip(NAMES, table[mask].mean(0), low, high, strict=True)
            )
            print(f"{title} ({int(mask.sum())}): {cells}")


if __name__ == "__main__":
    main()
