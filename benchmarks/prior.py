"""How likely each operator is to have the repair, before a model has read anything: fitted to mined fixes.

    python benchmarks/prior.py --fixes mined/fixes.jsonl.gz [--mirror M] [--number N] [--problems P --weight W] [--write]

Of a fix of one edit all edits of the operators are enumerated. The chance that an operator has the fix is its weight among those
that have any edit there, and its edits share that chance alike. Weights are the likeliest ones (minorization-maximization, as of
a Plackett-Luce choice: Hunter, Annals of Statistics 2004) of half of the repositories; of the other half the nats of the fixes
are printed, beside those by shares of the tiers. --write stores the weights that `agent.propose` mixes with the model.

--mirror (as of `data mine`) shows each fix in its file before the commit, so that what the file lends counts; without it only
names in reach are known.

--problems adds the references of problems of benchmarks/packages.py, each as W fixes: bugs that somebody wrote by hand are others
than those that get as far as a commit.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rank import applied, reference

from agent.evalsets import RedRepository, load
from agent.propose import OPERATOR_SHARES
from tools.source.leaves import Module, Unit
from tools.source.operators import OPERATORS, Scope, enumerate_edits
from tools.source.operators.view import Change
from trm.data import fixes as fx
from trm.data.fixes import Fix
from trm.data.mined import sample_for_profile
from trm.data.sources import git_directory, load_sources

_TIERS = {1: 0.5, 2: 0.35, 3: 0.12, 4: 0.03}
_MOST = 60_000  # edits of a function
_LONGEST_FILE = 200_000  # bytes
_ROUNDS = 200
_AS_SEEN = 0.5  # fixes that each operator is taken to have had beside those it had


@dataclass(frozen=True)
class Found:
    """A fix that operator `name` has; edits: how many each operator has there."""

    package: str
    name: str
    edits: Counter[str]


def found(name: str, module: Module, unit: Unit, scope: Scope, fix: Change) -> Found | None:
    """Who has the fix (start, end, tokens) of a unit's leaves; None if no operator has, or there are too many edits."""
    texts = [leaf.text for leaf in module.leaves[unit.start : unit.end]]
    result = applied(texts, *fix)
    edits: Counter[str] = Counter()
    operator = ""
    for candidate in islice(enumerate_edits(module, unit, scope), _MOST):
        edits[candidate.operator] += 1
        start, end = candidate.edit.start - unit.start, candidate.edit.end - unit.start
        if not operator and applied(texts, start, end, candidate.edit.tokens) == result:
            operator = candidate.operator
    return Found(name, operator, edits) if operator and edits.total() < _MOST else None


def of_fix(fix: Fix, repositories: Mapping[str, Path]) -> Found | None:
    """The same of a mined fix. repositories: git directories by name."""
    module = Module(fix.before.encode("utf-8"))
    unit, (edit,) = module.units[0], fix.edits
    change = edit.start - unit.start, edit.end - unit.start, edit.tokens
    texts = [leaf.text for leaf in module.leaves[unit.start : unit.end]]
    place = in_file(fix, texts, repositories[fix.package]) if repositories else None
    module, unit = place or (module, unit)
    scope = Scope.of(module, unit, extra_names=fix.names)
    return found(fix.package, module, unit, scope, change)


def in_file(fix: Fix, texts: Sequence[str], repository: Path) -> tuple[Module, Unit] | None:
    """The function, of these leaves, in its file before the commit; None where it is not found there."""
    _, path, _ = fix.origin.split(":", 2)
    command = ["git", f"--git-dir={repository}", "show", f"{fix.commit}^:{path}"]
    source = subprocess.run(command, capture_output=True, check=False).stdout
    if not 0 < len(source) < _LONGEST_FILE:
        return None
    module = Module(source)
    for unit in module.units:
        if [leaf.text for leaf in module.leaves[unit.start : unit.end]] == texts:
            return module, unit
    return None


def of_problem(problem: RedRepository) -> Found | None:
    """The same of the reference of a problem, where it is one edit of one function."""
    fix = reference(problem)
    if fix is None:
        return None
    path, name, change = fix
    module = Module(problem.files[path])
    unit = next(unit for unit in module.units if unit.name == name)
    return found(problem.task, module, unit, Scope.of(module, unit), change)


def fitted(cases: Sequence[Found], times: Sequence[float]) -> dict[str, float]:
    """The weight of each operator; they sum to 1. times: how often each case counts."""
    names = sorted({operator.name for operator in OPERATORS if operator.tier in _TIERS})
    at = {name: index for index, name in enumerate(names)}
    applies = np.zeros((len(cases), len(names)))
    counts = np.full(len(names), _AS_SEEN)
    for row, case in enumerate(cases):
        counts[at[case.name]] += times[row]
        applies[row, [at[name] for name in case.edits]] = 1
    # what is seen beside the fixes is seen where all operators apply
    applies = np.vstack([applies, np.ones((1, len(names)))])
    weight = np.append(times, _AS_SEEN * len(names))
    weights = counts / counts.sum()
    for _ in range(_ROUNDS):
        among = applies @ weights
        weights = counts / (applies * (weight / among)[:, None]).sum(0)
        weights /= weights.sum()
    return dict(zip(names, weights.tolist(), strict=True))


def by_operators(case: Found, weights: dict[str, float]) -> float:
    """Nats of the fix."""
    among = sum(weights[name] for name in case.edits)
    return -math.log(weights[case.name] / among / case.edits[case.name])


def by_tiers(case: Found) -> float:
    """The same where the edits of a tier share its chance alike."""
    tier = {operator.name: operator.tier for operator in OPERATORS}
    alike = sum(count for name, count in case.edits.items() if tier[name] == tier[case.name])
    return -math.log(_TIERS.get(tier[case.name], 1e-9) / alike)


def main() -> None:
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fixes", type=Path, required=True, help="of data mine")
    parser.add_argument("--mirror", type=Path, help="where data mine has its repositories")
    parser.add_argument("--number", type=int, default=3000)
    parser.add_argument("--problems", type=Path)
    parser.add_argument("--weight", type=float, default=1.0, help="of a problem")
    parser.add_argument("--write", action="store_true", help=f"to {OPERATOR_SHARES.name}")
    options = parser.parse_args()
    sample = sample_for_profile(fx.read(options.fixes), options.number)
    repositories = {}
    if options.mirror:
        repositories = {s.name: git_directory(s, options.mirror) for s in load_sources()}
    cases = [case for fix in sample if (case := of_fix(fix, repositories)) is not None]
    packages = sorted({case.package for case in cases})
    random.Random(0).shuffle(packages)
    half = set(packages[::2])
    first = [case for case in cases if case.package in half]
    weights = fitted(first, [1.0] * len(first))
    rest = [case for case in cases if case.package not in half]
    old, new = np.array([(by_tiers(case), by_operators(case, weights)) for case in rest]).T
    print(
        f"{len(sample)} fixes, {len(cases)} among the operators' edits; nats of the {len(rest)} of other repositories:"
    )
    print(
        f"by tiers {old.mean():.2f}, by operators {new.mean():.2f}; better in {np.mean(new < old):.0%}"
    )
    problems = load("packages", options.problems) if options.problems else []
    more = [case for case in map(of_problem, problems) if case is not None]
    cases += more
    weights = fitted(cases, [1.0] * (len(cases) - len(more)) + [options.weight] * len(more))
    print(f"and {len(more)} problems:", ", ".join(f"{case.package} {case.name}" for case in more))
    fixes = Counter(case.name for case in cases)
    for name, weight in sorted(weights.items(), key=lambda pair: -pair[1]):
        print(f"{weight:8.4f} {fixes[name]:5} {name}")
    if options.write:
        text = json.dumps({name: round(weight, 5) for name, weight in weights.items()}, indent=1)
        OPERATOR_SHARES.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
