"""Figures of an evaluation: what was fixed, what only looked so, how many candidates it took, and ranks side by side."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from agent.evaluate import Result

CONTROLS = ("ochiai", "untrained", "random")


@dataclass(frozen=True)
class Summary:
    """One rank on one set. Candidates, seconds and excess are those of the fixed problems; None where nothing was fixed.

    eligible: problems with a red visible test. ceiling: those of them whose reference is one small edit (None: no references).
    wrong_share: of the patches that pass what is visible, the share that fails a hidden test.
    """

    rank: str
    total: int
    eligible: int
    ceiling: int | None
    fixed: int
    plausible: int
    unfixed: int
    errors: int
    wrong_share: float | None
    candidates_median: float | None
    candidates_mean: float | None
    seconds_median: float | None
    seconds_mean: float | None
    excess_median: float | None
    excess_mean: float | None
    by_bug_type: Mapping[str, tuple[int, int]]  # fixed, eligible


def summarize(results: Sequence[Result]) -> list[Summary]:
    """One summary a rank, in order of appearance."""
    ranks = dict.fromkeys(result.settings.rank for result in results)
    return [_summary(rank, [r for r in results if r.settings.rank == rank]) for rank in ranks]


def _summary(rank: str, results: Sequence[Result]) -> Summary:
    eligible = [r for r in results if r.status != "ineligible"]
    fixed = [r for r in eligible if r.status == "fixed"]
    status = Counter(r.status for r in results)
    patched = status["fixed"] + status["plausible"]
    known = [r for r in eligible if r.reachable is not None]
    excess = [float(r.excess) for r in fixed if r.excess is not None]
    candidates, seconds = [float(r.candidates) for r in fixed], [r.seconds for r in fixed]
    kinds = sorted({r.bug_type for r in eligible if r.bug_type})
    return Summary(
        rank, len(results), len(eligible), sum(bool(r.reachable) for r in known) if known else None,
        status["fixed"], status["plausible"], status["unfixed"], status["error"],
        status["plausible"] / patched if patched else None,
        _median(candidates), _mean(candidates), _median(seconds), _mean(seconds), _median(excess), _mean(excess),
        {kind: (sum(r.bug_type == kind for r in fixed), sum(r.bug_type == kind for r in eligible)) for kind in kinds},
    )  # fmt: skip


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """Two ranks on the problems that the control repaired with an edit of at least `tier`.

    problems: how many the control fixed there; both: fixed by the two. The medians are over `problems`; one that `rank` did not
    fix counts as infinitely many candidates. ratio: the control's median over the rank's; speedup: geometric mean over `both`.
    """

    rank: str
    control: str
    tier: int
    problems: int
    both: int
    median: float | None
    control_median: float | None
    ratio: float | None
    speedup: float | None


def compare(results: Sequence[Result], rank: str, control: str, tier: int = 1) -> Comparison:
    """How many candidates `rank` needs where `control` found the fix in `tier` or a later one."""
    by_rank = {(r.settings.rank, r.benchmark, r.task): r for r in results}
    pairs: list[tuple[float, float]] = []
    for (name, benchmark, task), theirs in by_rank.items():
        ours = by_rank.get((rank, benchmark, task))
        if (
            name != control
            or ours is None
            or theirs.status != "fixed"
            or _tier(theirs.operator) < tier
        ):
            continue
        pairs.append((ours.candidates if ours.status == "fixed" else math.inf, theirs.candidates))
    both = [(a, b) for a, b in pairs if math.isfinite(a)]
    own, other = _median([a for a, _ in pairs]), _median([b for _, b in pairs])
    return Comparison(
        rank, control, tier, len(pairs), len(both), own, other,
        other / own if own and other else None,
        math.exp(statistics.fmean(math.log(max(1.0, b) / max(1.0, a)) for a, b in both)) if both else None,
    )  # fmt: skip


@cache
def _tiers() -> dict[str, int]:
    from tools.source.operators import OPERATORS

    return {operator.name: operator.tier for operator in OPERATORS}


def _tier(operator: str) -> int:
    """The operator's tier; 0 for the model's own edits and what an exception suggests."""
    return _tiers().get(operator, 0)


def table(results: Sequence[Result]) -> str:
    """The figures as text: a row a rank, then bug types, then comparisons with the controls that were run."""
    summaries = summarize(results)
    head = ["rank", "fixed", "plausible only", "unfixed", "errors", "ceiling", "eligible", "total", "wrong share",
            "candidates median", "mean", "seconds median", "mean", "excess median", "mean"]  # fmt: skip
    rows = [[s.rank, str(s.fixed), str(s.plausible), str(s.unfixed), str(s.errors), _text(s.ceiling), str(s.eligible),
             str(s.total), "-" if s.wrong_share is None else f"{s.wrong_share:.0%}", _text(s.candidates_median),
             _text(s.candidates_mean), _text(s.seconds_median), _text(s.seconds_mean), _text(s.excess_median),
             _text(s.excess_mean)] for s in summaries]  # fmt: skip
    parts = [_grid([head, *rows])]
    kinds = list(dict.fromkeys(kind for s in summaries for kind in s.by_bug_type))
    if kinds:
        lines = [[kind, *(_of(s.by_bug_type.get(kind)) for s in summaries)] for kind in kinds]
        parts.append(_grid([["fixed by bug type", *(s.rank for s in summaries)], *lines]))
    lines = []
    for rank in (s.rank for s in summaries):
        for control in (
            s.rank for s in summaries if s.rank in CONTROLS and s.rank != rank and rank == "trm"
        ):
            for tier in (1, 2):
                c = compare(results, rank, control, tier)
                which = "all" if tier == 1 else "tiers 2 and 3"
                lines.append([f"{rank} against {control}", which, f"{c.both} of {c.problems}", _text(c.median),
                              _text(c.control_median), _text(c.ratio), _text(c.speedup)])  # fmt: skip
    if lines:
        parts.append(_grid([["candidates to the fix", "fixed by the control", "fixed by both", "median", "control's",
                             "ratio", "geometric mean"], *lines]))  # fmt: skip
    return "\n\n".join(parts)


def _of(pair: tuple[int, int] | None) -> str:
    return f"{pair[0]} of {pair[1]}" if pair else "-"


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "not fixed"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
