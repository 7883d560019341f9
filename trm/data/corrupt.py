"""Breaking correct functions with the repair's own operators, and the fixes as targets.

Several bugs at once in most functions (learning.md: same cost, better localization); coverage is simulated for part of the
examples so that the network learns what "run by failing tests only" means before it sees executed ones.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.source.edits import Edit, EditError, splice
from tools.source.leaves import DEDENT, INDENT, Leaf, Module, SourceError, Unit
from tools.source.minimal import minimal
from tools.source.operators import Candidate, Scope, sample_edit
from trm.data.functions import Function
from trm.encode import LENGTHS, SEGMENT_LIMITS, Encoded, Execution, Target, encode, target_of
from trm.vocab import Vocab

# How often an operator is drawn for training, name -> weight: fitted to mined fixes by benchmarks/fit_operators.py.
OPERATOR_WEIGHTS = Path(__file__).with_name("operator_weights.json")
WEIGHTS: dict[str, float] = json.loads(OPERATOR_WEIGHTS.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Broken:
    """A mutated module and the edits that repair it, in its own leaf coordinates.

    edits: those that broke it, by rising start, in the coordinates of the whole one.
    """

    module: Module
    fixes: tuple[Edit, ...]
    operators: tuple[str, ...]
    families: tuple[str, ...]
    edits: tuple[Edit, ...] = ()


def break_function(
    module: Module, bugs: int, rng: random.Random, weights: Mapping[str, float] | None,
    names: Sequence[str] = (), unit: Unit | None = None,
) -> Broken | None:  # fmt: skip
    """Apply up to `bugs` sampled edits that do not touch one another to a unit, the first one unless told; None if none fits."""
    unit = unit or module.units[0]
    scope = Scope.of(module, unit, extra_names=tuple(names))
    chosen: list[Candidate] = []
    for _ in range(bugs * 2):
        if len(chosen) == bugs:
            break
        candidate = sample_edit(module, unit, scope, rng, weights)
        if candidate is None:
            continue
        edit = candidate.edit
        if all(
            edit.end + 1 < other.edit.start or other.edit.end + 1 < edit.start for other in chosen
        ):
            chosen.append(candidate)
    if not chosen:
        return None
    chosen.sort(key=lambda candidate: candidate.edit.start)
    try:
        source = module.source
        for candidate in reversed(chosen):
            source = splice(module, candidate.edit).apply(source)
        ast.parse(source)
        broken = Module(source)
    except (EditError, SourceError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    texts = [leaf.text for leaf in module.leaves]
    expected: list[str] = []
    spans: list[tuple[int, int, int, int]] = []  # in broken: start, end; in original: start, end
    at = 0
    for candidate in chosen:
        edit = candidate.edit
        expected += texts[at : edit.start]
        spans.append((len(expected), len(expected) + len(edit.tokens), edit.start, edit.end))
        expected += edit.tokens
        at = edit.end
    expected += texts[at:]
    now = [leaf.text for leaf in broken.leaves]
    if now != expected:
        return None
    fixes: list[Edit] = []
    # canonical form within a window, so that a fix may slide over equal tokens but not over another bug
    for index, (start, end, old_start, old_end) in enumerate(spans):
        right_limit = spans[index + 1][0] if index + 1 < len(spans) else len(now)
        room = min(20, right_limit - end)
        window = now[start : end + room]
        wanted = texts[old_start : old_end + room]
        found = minimal(window, wanted)
        if found is None:
            return None
        fixes.append(Edit(start + found[0], start + found[1], found[2]))
    return Broken(
        broken, tuple(fixes), tuple(c.operator for c in chosen), tuple(c.family for c in chosen),
        tuple(c.edit for c in chosen),
    )  # fmt: skip


def simulate_coverage(
    leaves: Sequence[Leaf], bug_lines: Sequence[int], rng: random.Random
) -> Execution | None:
    """Coverage as tests might have left it: blocks run or not by chance, a test that ran a bug fails more often than not.

    None if no simulated test failed: then nothing is known, as for an unexecuted function.
    """
    parents = [-1]  # of every block
    line_block: dict[int, int] = {}
    stack = [0]
    for leaf in leaves:
        if leaf.kind == INDENT:
            parents.append(stack[-1])
            stack.append(len(parents) - 1)
        elif leaf.kind == DEDENT:
            if len(stack) > 1:
                stack.pop()
        else:
            line_block.setdefault(leaf.line, stack[-1])
    first = leaves[0].line
    tests = rng.choice((1, 2, 3, 5, 8, 13))
    rates = [1.0 if parent <= 0 else rng.choice((0.15, 0.5, 0.8, 1.0)) for parent in parents]
    always_fails = rng.random() < 0.5
    cover_fail: dict[int, int] = {}
    cover_pass: dict[int, int] = {}
    failing = passing = 0
    bugs = set(bug_lines)
    for _ in range(tests):
        runs = [True] * len(parents)
        for block in range(1, len(parents)):
            runs[block] = runs[parents[block]] and rng.random() < rates[block]
        lines = [line for line, block in line_block.items() if runs[block] and line != first]
        hit = any(line in bugs for line in lines) or first in bugs
        failed = hit and (always_fails or rng.random() < 0.6)
        failing, passing = failing + failed, passing + (not failed)
        table = cover_fail if failed else cover_pass
        for line in lines:
            table[line] = table.get(line, 0) + 1
    if not failing:
        return None
    # passing tests are often not known to run the unit at all
    return Execution(failing, passing, cover_fail, cover_pass)


def example(
    vocab: Vocab, function: Function, module: Module, rng: random.Random,
    weights: Mapping[str, float] | None, *, multi: float = 0.65, no_bug: float = 0.05,
    executed: float = 0.5,
) -> tuple[Encoded, list[Target], tuple[str, ...]] | None:  # fmt: skip
    """One training example of a function, or None when the draw did not work out.

    multi: share with 2..4 bugs; no_bug: share left whole; executed: share with simulated coverage.
    """
    shown = shown_names(function.near, rng)
    if rng.random() < no_bug:
        encoded = encode(vocab, module.leaves, names=shown)
        return (encoded, [], ("none",)) if encoded.length <= LENGTHS[-1] else None
    bugs = rng.choice((2, 3, 4)) if rng.random() < multi else 1
    broken = break_function(module, bugs, rng, weights, function.names)
    if broken is None:
        return None
    made = as_text(vocab, broken.module.leaves, broken.fixes, shown, rng, executed)
    return (*made, broken.operators) if made is not None and made[1] else None


def shown_names(names: Sequence[str], rng: random.Random) -> Sequence[str]:
    """The first of the names in reach: none, or up to as many as a reader is told."""
    return names[: rng.choice((0, 8, 16, SEGMENT_LIMITS["names"]))]


def as_text(
    vocab: Vocab, leaves: Sequence[Leaf], fixes: Sequence[Edit], shown: Sequence[str], rng: random.Random, executed: float,
) -> tuple[Encoded, list[Target]] | None:  # fmt: skip
    """Code that was not run, with simulated coverage by chance, and its fixes; None if it is too long."""
    execution = None
    if rng.random() < executed:
        lines = [leaves[min(fix.start, len(leaves) - 1)].line for fix in fixes]
        execution = simulate_coverage(leaves, lines, rng)
    encoded = encode(vocab, leaves, names=shown, execution=execution)
    return (encoded, targets_of(vocab, encoded, fixes)) if encoded.length <= LENGTHS[-1] else None


def targets_of(vocab: Vocab, encoded: Encoded, fixes: Sequence[Edit]) -> list[Target]:
    """The fixes that the heads can express."""
    targets = [target_of(vocab, encoded, fix.start, fix.end, fix.tokens) for fix in fixes]
    return [target for target in targets if target is not None]
