"""What a run looks like after its first k events, without any user interface.

`RunState.apply` is the only place that gives events a meaning on the screen. `Timeline` keeps all events of a run and can
show the state at any of them, so that a live run can be paused and walked back exactly like a recorded one.
"""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent import events as ev

STAGES = ("tests", "locate", "think", "try", "check")
"""The way of a fix as five stations; think and try take turns."""
BISECT_STAGES = ("tests", "last green", "first red", "change")
"""The way of a bisect: what fails, where it still passed, the commit since which it fails, what in it."""

KEPT_CANDIDATES = 500
KEPT_DECISIONS = 200
SNAPSHOT_EVERY = 512


@dataclass
class RunState:
    """The state of one run. Mutable; `copy` is cheap (lists of frozen events are copied shallowly)."""

    started: ev.Started | None = None
    notes: list[ev.Note] = field(default_factory=list)
    tests: list[ev.FailingTest] = field(default_factory=list)
    suite: ev.SuiteRan | None = None
    suite_progress: ev.SuiteProgress | None = None
    suspects: dict[int, ev.Suspect] = field(default_factory=dict)
    steps: list[ev.RecursionStep] = field(default_factory=list)
    rollout: int = 0
    intervals: list[ev.Interval] = field(default_factory=list)
    decisions: deque[ev.Decision] = field(default_factory=lambda: deque(maxlen=KEPT_DECISIONS))
    decided: int = 0
    candidates: deque[ev.CandidateTried] = field(
        default_factory=lambda: deque(maxlen=KEPT_CANDIDATES)
    )
    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    search: ev.SearchProgress | None = None
    narrowed: list[ev.Narrowing] = field(default_factory=list)
    probes: list[tuple[ev.Narrowing, ev.Probe]] = field(default_factory=list)
    running: ev.Probe | None = None
    patch: ev.PatchFound | None = None
    finished: ev.Finished | None = None
    stage: str = "tests"
    visited: set[str] = field(default_factory=set)
    at: float = 0.0
    idle: float = 0.0

    def copy(self) -> RunState:
        """A copy that shares no mutable part with this one."""
        twin = copy.copy(self)
        for name in ("notes", "tests", "suspects", "steps", "intervals", "decisions", "candidates",
                     "narrowed", "probes"):  # fmt: skip
            setattr(twin, name, copy.copy(getattr(self, name)))
        twin.outcomes = self.outcomes.copy()
        twin.visited = self.visited.copy()
        return twin

    def apply(self, event: ev.Event) -> None:
        """Take one event in. Unknown events only move the clock."""
        if self.waiting:
            self.idle += max(0.0, event.at - self.at)
        self.at = max(self.at, event.at)
        match event:
            case ev.Started():
                self.started = event
            case ev.Note():
                self.notes.append(event)
            case ev.SuiteProgress():
                self.suite_progress = event
                self._enter("check" if self.suite else "tests")
            case ev.FailingTest():
                self.tests.append(event)
            case ev.SuiteRan():
                self.suite = event
                self.suite_progress = None
                self._enter(self.stages[1])
            case ev.Suspect():
                if event.rank == 0 and 0 in self.suspects:
                    self.suspects.clear()
                self.suspects[event.rank] = event
                self._enter("locate")
            case ev.RecursionStep():
                last = self.steps[-1] if self.steps else None
                if last is None or last.unit != event.unit or event.step <= last.step:
                    self.steps.clear()
                    self.rollout += 1
                self.steps.append(event)
                self._enter("think")
            case ev.Decision():
                self.decisions.append(event)
                self.decided += 1
            case ev.Interval():
                if self.intervals and self.intervals[-1].path != event.path:
                    self.intervals.clear()
                self.intervals.append(event)
            case ev.Narrowing():
                self.narrowed.append(event)
                stage = {"revision": "last green", "commit": "first red"}
                self._enter(stage.get(event.level, "change"))
            case ev.Probe():
                self.running = event if event.verdict == "running" else None
                if self.narrowed and event.verdict != "running":
                    self.probes.append((self.narrowed[-1], event))
            case ev.CandidateTried():
                self.candidates.append(event)
                self.tried = max(self.tried, event.number)
                self.outcomes[event.outcome] += 1
                self._enter("try")
            case ev.SearchProgress():
                self.search = event
                self.tried = max(self.tried, event.tried)
            case ev.PatchFound():
                self.patch = event
                self.suite_progress = None
                self._enter("check")
            case ev.PatchRejected():
                self.patch = None
                self._enter("try")
            case ev.Finished():
                self.finished = event
                self.suite_progress = self.running = None
                if event.status in ("fixed", "green", "found"):
                    self.visited.add(self.stage)

    def _enter(self, stage: str) -> None:
        if stage != self.stage:
            self.visited.add(self.stage)
            self.stage = stage

    @property
    def bisecting(self) -> bool:
        """Whether this is a run of `bisect`."""
        return self.started is not None and self.started.rank == "bisect"

    @property
    def stages(self) -> tuple[str, ...]:
        """The stations of this run."""
        return BISECT_STAGES if self.bisecting else STAGES

    @property
    def waiting(self) -> bool:
        """Whether the search waits for what the user says to its patch."""
        return self.patch is not None and self.finished is None

    @property
    def seconds(self) -> float:
        """Seconds of the search so far, without those that it waited for the user."""
        return self.at - self.idle

    @property
    def diff(self) -> str:
        """The verified patch, or what `bisect` found; "" before."""
        if self.patch:
            return self.patch.diff
        return self.finished.diff if self.finished else ""

    @property
    def left(self) -> tuple[int, int]:
        """First and last item of the newest Narrowing that are still in question."""
        narrowing = self.narrowed[-1]
        probe = self.probes[-1] if self.probes else None
        if probe and probe[0] is narrowing:
            return probe[1].first, probe[1].last
        return 0, len(narrowing.items) - 1

    @property
    def turned_green(self) -> frozenset[str]:
        """Node ids that the patch repaired."""
        return frozenset(self.patch.turned_green) if self.patch else frozenset()

    def suspect_shown(self) -> int | None:
        """Rank of the suspect that the run is busy with, or None without suspects."""
        if not self.suspects:
            return None
        if self.patch:
            for rank, suspect in sorted(self.suspects.items()):
                if suspect.path in self.patch.paths:
                    return rank
        if self.steps:
            unit = self.steps[-1].unit
            for rank, suspect in sorted(self.suspects.items()):
                if unit_is(suspect, unit):
                    return rank
        return min(self.suspects)


def unit_is(suspect: ev.Suspect, unit: str) -> bool:
    """Whether a `RecursionStep.unit` names this suspect: by name, or by path and name."""
    return unit in (
        suspect.name,
        f"{suspect.path}::{suspect.name}",
        f"{suspect.path}:{suspect.name}",
    )


class Timeline:
    """All events of a run and the state after the first `position` of them.

    Invariants: 0 <= position <= len(events); `state` is what a fresh RunState becomes by `events[:position]`.
    """

    def __init__(self, events: Iterable[ev.Event] = ()) -> None:
        self.events: list[ev.Event] = list(events)
        self.position = 0
        self.state = RunState()
        self._snapshots: dict[int, RunState] = {0: RunState()}

    def __len__(self) -> int:
        return len(self.events)

    def append(self, event: ev.Event) -> None:
        """Record an event; the position does not move."""
        self.events.append(event)

    @property
    def at_end(self) -> bool:
        return self.position == len(self.events)

    def forward(self) -> bool:
        """Apply one more event; False at the end."""
        if self.at_end:
            return False
        self.state.apply(self.events[self.position])
        self.position += 1
        if self.position % SNAPSHOT_EVERY == 0 and self.position not in self._snapshots:
            self._snapshots[self.position] = self.state.copy()
        return True

    def seek(self, position: int) -> None:
        """Show the state after `position` events (clamped to what there is)."""
        position = max(0, min(position, len(self.events)))
        if position < self.position:
            base = max(k for k in self._snapshots if k <= position)
            self.state = self._snapshots[base].copy()
            self.position = base
        while self.position < position:
            self.forward()

    def milestone(self, direction: int) -> int:
        """Position after the next (+1) or previous (-1) event that is not mere progress."""
        k = self.position
        if direction > 0:
            while k < len(self.events):
                k += 1
                if not self.events[k - 1].progress:
                    break
            return k
        k -= 1
        while k > 0 and self.events[k - 1].progress:
            k -= 1
        return max(k, 0)
