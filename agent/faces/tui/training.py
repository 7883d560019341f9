"""What a training looks like after its first k reports. Imports no textual.

A report is what trm.metrics writes: a "step" and numbers by name. Beside reports come samples, {"step": ..., "samples": [...]},
each with what was broken, what is right, and what the network proposes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RECENT = 8
"""Reports from which speed is taken for what remains."""


@dataclass(frozen=True)
class Sample:
    """One function of the held-out part: its name, the broken line, the right one, and the network's, which may be none."""

    name: str
    broken: str
    right: str
    proposed: str
    probability: float
    hit: bool
    """Whether the proposal is the right edit, to the byte."""


class Training:
    """Reports and samples so far. steps, seconds: where it will stop; 0 or infinite: never by that."""

    def __init__(self, steps: float = math.inf, seconds: float = 0.0) -> None:
        self.steps, self.seconds = steps, seconds
        self.reports: list[Mapping[str, Any]] = []
        self.earlier = 0
        self.samples: tuple[Sample, ...] = ()
        self.sampled_at = 0
        self.saved_at = 0

    def load(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Reports of the runs that this one goes on from."""
        for report in reports:
            self.apply(report)
        self.earlier = len(self.reports)

    def apply(self, report: Mapping[str, Any]) -> None:
        """Take one report or samples in. Steps that were taken before are forgotten: they are taken again."""
        step = int(report["step"])
        if "samples" in report:
            self.samples = tuple(Sample(**sample) for sample in report["samples"])
            self.sampled_at = step
            return
        while self.reports and self.reports[-1]["step"] >= step:
            self.reports.pop()
        self.earlier = min(self.earlier, len(self.reports))
        self.reports.append(report)
        if report.get("saved"):
            self.saved_at = step

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest report, {} before the first."""
        return self.reports[-1] if self.reports else {}

    @property
    def now(self) -> list[Mapping[str, Any]]:
        """The reports of this run."""
        return self.reports[self.earlier :]

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every report that has this figure."""
        return [
            (int(r["step"]), float(r[name]))
            for r in self.reports
            if name in r and math.isfinite(r[name])
        ]

    def left(self) -> float | None:
        """Seconds until the nearer of the two ends at the pace of the last reports; None where that is not known."""
        now, ends = self.now[-RECENT:], []
        if self.seconds and now:
            ends.append(self.seconds - float(now[-1]["seconds"]))
        if len(now) > 1 and math.isfinite(self.steps):
            steps = now[-1]["step"] - now[0]["step"]
            spent = now[-1]["seconds"] - now[0]["seconds"]
            if steps > 0 and spent > 0:
                ends.append((self.steps - now[-1]["step"]) * spent / steps)
        return max(0.0, min(ends)) if ends else None


def smooth(curve: list[tuple[int, float]], width: int) -> list[float | None]:
    """The curve in `width` columns of equal steps: the mean of each, what lies before it where a column has none."""
    if not curve or width <= 0:
        return []
    first, last = curve[0][0], curve[-1][0]
    sums, counts = [0.0] * width, [0] * width
    for step, value in curve:
        column = (step - first) * width // (last - first + 1)
        sums[column] += value
        counts[column] += 1
    columns: list[float | None] = []
    for total, count in zip(sums, counts, strict=True):
        before = columns[-1] if columns else None
        columns.append(total / count if count else before)
    return columns
