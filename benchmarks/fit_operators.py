"""How often each operator should break code, so that the repairs look like those that people make: fitted by maximum likelihood.

    python benchmarks/fit_operators.py --fixes mined/fixes.jsonl.gz --functions corpus/functions.jsonl.gz [--prior F] [--write]

A repair has a form: how many leaves it removes and writes, of which kind the first of them are, and whether lines change. Each
operator, breaking functions, needs repairs of some distribution of forms; the mined fixes are a mixture of these, whose shares
expectation-maximization finds, drawn towards the shares in use by a Dirichlet prior that weighs F times what the fixes do.
Printed are the forms and the operators before and after; --write stores the weights that `data build` and `data mutate` use.
"""

from __future__ import annotations

import argparse
import bisect
import json
import keyword
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tools.source.edits import Edit
from tools.source.leaves import LAYOUT, Module
from tools.source.operators import OPERATORS
from trm.config import MAX_CONTENT, MAX_SPAN
from trm.data import fixes as fx
from trm.data import functions as fn
from trm.data.corrupt import OPERATOR_WEIGHTS, WEIGHTS, break_function

Form = tuple[str, ...]
_BOUNDS = (0, 1, 3, 8)  # leaves, as classes: none, one, to three, to eight, more
_WANTED = 150  # draws of an operator that took
_TRIES = 600
_SMOOTHING = 0.02  # share of all operators' forms in each operator's
_ROUNDS = 300
_SELDOM = 0.05  # what applies to fewer functions gets no further weight, or nothing else would break these
_KEYWORDS = frozenset(keyword.kwlist)


def form_of(texts: Sequence[str], edit: Edit) -> Form:
    """Sizes and first leaves of what is removed and written, and whether lines come or go."""
    removed, written = texts[edit.start : edit.end], edit.tokens
    before = texts[edit.start - 1] if edit.start else ""
    lines = any(text in LAYOUT for text in (*removed, *written))
    size = [str(bisect.bisect_left(_BOUNDS, len(part))) for part in (removed, written)]
    return (*size, _kind(removed, before), _kind(written, before), "lines" if lines else "inline")


def _kind(texts: Sequence[str], before: str) -> str:
    if not texts:
        return "-"
    text = texts[0]
    if text in LAYOUT:
        return "layout"
    if text.isidentifier():
        return "attribute" if before == "." else "word" if text in _KEYWORDS else "name"
    return "literal" if text[0].isdigit() or text.lstrip("rbufRBUF")[:1] in ("'", '"') else text


def mined_forms(path: Path) -> Counter[Form]:
    """Of the fixes that may be trained on and speak of a fault; each edit of a pair counts a half."""
    found: Counter[Form] = Counter()
    for fix in fx.read(path):
        if fix.fixlike and not fix.held_out and fix.kind != "string":
            texts = [leaf.text for leaf in Module(fix.before.encode()).leaves]
            for edit in fix.edits:
                found[form_of(texts, edit)] += 1
    return found


def drawn_forms(
    functions: Sequence[fn.Function], rng: random.Random
) -> Iterator[tuple[str, Counter[Form], float]]:
    """(operator, forms of the repairs that it makes needed, share of draws that break a function within the model's reach)."""
    modules: dict[int, Module] = {}
    for operator in OPERATORS:
        found: Counter[Form] = Counter()
        tries = 0
        while found.total() < _WANTED and tries < _TRIES:
            tries += 1
            number = rng.randrange(len(functions))
            function = functions[number]
            module = modules.setdefault(number, Module(function.source.encode()))
            broken = break_function(module, 1, rng, {operator.name: 1.0}, function.names)
            if broken is not None and _writable(broken.fixes[0]):
                texts = [leaf.text for leaf in broken.module.leaves]
                found[form_of(texts, broken.fixes[0])] += 1
        yield operator.name, found, found.total() / tries


def _writable(edit: Edit) -> bool:
    return edit.end - edit.start <= MAX_SPAN and len(edit.tokens) <= MAX_CONTENT


def fit(wanted: np.ndarray, forms: np.ndarray, shares: np.ndarray, prior: float) -> np.ndarray:
    """Shares [operators] of a mixture of forms [operators, forms] for counts `wanted` [forms]: the posterior's mode."""
    added = prior * wanted.sum() * shares
    fitted = shares.copy()
    for _ in range(_ROUNDS):
        joint = fitted[:, None] * forms
        fitted = (joint / joint.sum(0).clip(1e-12) * wanted).sum(1) + added
        fitted /= fitted.sum()
    return fitted


def main() -> None:
    """Fit, print, and write if wished."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fixes", type=Path, required=True)
    parser.add_argument("--functions", type=Path, required=True)
    parser.add_argument("--prior", type=float, default=0.3)
    parser.add_argument("--sample", type=int, default=2000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rng = random.Random(0)
    functions = rng.sample(list(fn.read(options.functions)), options.sample)
    mined = mined_forms(options.fixes)
    drawn = list(drawn_forms(functions, rng))
    names = [name for name, _, _ in drawn]
    all_forms = sorted(set().union(*(found for _, found, _ in drawn)))
    counts = np.array([[found[form] for form in all_forms] for _, found, _ in drawn], float)
    forms = counts / counts.sum(1, keepdims=True).clip(1)
    takes = np.array([share for _, _, share in drawn])
    before = np.array([WEIGHTS[name] for name in names]) * takes
    before /= before.sum()
    forms = (1 - _SMOOTHING) * forms + _SMOOTHING * (before @ forms)
    wanted = np.array([mined[form] for form in all_forms], float)
    print(
        f"{mined.total()} edits of mined fixes, {wanted.sum() / mined.total():.1%} of a form that operators need"
    )
    after = fit(wanted, forms, before, options.prior)
    seen = wanted > 0
    likelihood = [
        float(wanted[seen] @ np.log((shares @ forms)[seen].clip(1e-6)) / wanted.sum())
        for shares in (before, after)
    ]
    print(f"log-likelihood an edit: {likelihood[0]:.3f} before, {likelihood[1]:.3f} after")
    print("\nform: mined, before, after")
    kinds = {"nothing removed, inline": lambda f: f[0] == "0" and f[4] == "inline",
             "nothing removed, lines": lambda f: f[0] == "0" and f[4] == "lines",
             "nothing written": lambda f: f[1] == "0", "one for one": lambda f: f[:2] == ("1", "1"),
             "others": lambda f: "0" not in f[:2] and f[:2] != ("1", "1")}  # fmt: skip
    for kind, of_kind in kinds.items():
        mask = np.array([of_kind(form) for form in all_forms])
        total = sum(count for form, count in mined.items() if of_kind(form)) / mined.total()
        print(f"{kind:24} {total:6.1%} {before @ forms @ mask:6.1%} {after @ forms @ mask:6.1%}")
    print("\noperator: before, after")
    for place in np.argsort(-after):
        print(f"{names[place]:24} {before[place]:6.2%} {after[place]:6.2%}")
    if options.write:
        # an operator is drawn among those of a function, so what seldom applies needs more weight for the same share
        weights = {
            names[i]: round(float(100 * after[i] / takes[i].clip(_SELDOM)), 3)
            for i in np.argsort(names)
        }
        OPERATOR_WEIGHTS.write_text(json.dumps(weights, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
