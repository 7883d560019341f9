"""Every event of a run: frozen, JSON-able, the one thing that faces read.

`agent.loop.fix` is a generator of these and ends in exactly one terminal event (`Finished`). TUI, console and JSON lines are
three readers of the same stream; a recorded run is the same events as JSON lines, so it can be replayed. Faces may drop or
coalesce events of which `progress` is true, and no others.

docs/events.schema.json is made from this module (docs/make_schema.py). Within one SCHEMA events and fields may be added, with
defaults; what is renamed, removed or means something else makes a new one.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

SCHEMA = 1

Level = Literal["info", "warning"]
Kind = Literal["halt", "side", "accept", "choose", "combine", "stop"]
Stretch = Literal["revision", "commit", "hunk", "line", "token"]
Verdict = Literal["running", "passes", "fails", "unclear"]
Status = Literal["fixed", "partly_fixed", "not_fixed", "green", "found", "interrupted", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. `at` is seconds since the run began."""

    progress: ClassVar[bool] = False
    at: float = field(default=0.0, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict with the event's name under "event"."""
        return {"event": type(self).__name__, **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True)
class Started(Event):
    """First event: what runs where. `python_reason` says why this interpreter."""

    schema: int
    run: str
    root: str
    python: str
    python_reason: str
    python_version: str
    pytest_args: tuple[str, ...]
    rank: str
    checkpoint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note(Event):
    """Something a person should know (xdist switched off, no network guard, ...)."""

    text: str
    level: Level = "info"


@dataclass(frozen=True, slots=True)
class SuiteProgress(Event):
    """Tests done so far in the first run or in the final check."""

    progress: ClassVar[bool] = True
    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class FailingTest(Event):
    """One failing test of the first run. `line` is the failing line of own code (0 unknown)."""

    nodeid: str
    exception: str
    message: str
    path: str
    line: int
    actual: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class SuiteRan(Event):
    """The first run is over. `recalled`: an earlier one of the same code told of it; `seconds` are of that one."""

    passed: int
    failed: int
    errors: int
    skipped: int
    seconds: float
    recalled: bool = False


@dataclass(frozen=True, slots=True)
class Suspect(Event):
    """A unit under suspicion, with its text and per-line suspicion in [0, 1]; rank 0 is the most suspect."""

    rank: int
    path: str
    name: str
    first_line: int
    source: str
    line_scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecursionStep(Event):
    """One supervision step of the TRM on a unit.

    `bits` are the signs of z pooled to at most 256, `token_heat` pairs of (line, column, length, probability)
    for the start distribution, `proposal` the diff of y's best edit at this step and `halt` the halting probability.
    """

    progress: ClassVar[bool] = True
    unit: str
    step: int
    steps: int
    bits: tuple[int, ...]
    halt: float
    halted: bool
    proposal: str
    proposal_line: int
    probability: float
    token_heat: tuple[tuple[int, int, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision(Event):
    """A visible 0/1 decision; margin in [0, 1]."""

    kind: Kind
    bit: int
    margin: float
    reason: str


@dataclass(frozen=True, slots=True)
class Interval(Event):
    """The bisected interval: lines [first, last] of `path` hold `mass` of the suspicion."""

    path: str
    first: int
    last: int
    mass: float


@dataclass(frozen=True, slots=True)
class Narrowing(Event):
    """`bisect` begins to narrow `items` (as people call them, the oldest first) down to one.

    level "revision": the one where a failing test passes, nearest first; "commit", "hunk", "line", "token": the one since
    which it fails. test: the one that is followed ("": any of the failing ones).
    """

    level: Stretch
    items: tuple[str, ...]
    test: str = ""


@dataclass(frozen=True, slots=True)
class Probe(Event):
    """`bisect` runs the failing test with the code of item `item` (from 0) of the last Narrowing, or has run it.

    verdict "unclear": it cannot run there, or fails in another way. Items [first, last] hold `mass` of the suspicion then.
    """

    item: int
    verdict: Verdict
    first: int
    last: int
    mass: float = 1.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CandidateTried(Event):
    """A candidate was validated. outcome: a value of tools.runner.Outcome; `source` who proposed it."""

    progress: ClassVar[bool] = True
    number: int
    path: str
    line: int
    before: str
    after: str
    operator: str
    score: float
    outcome: str
    failing_test: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchProgress(Event):
    """Counters of the search, at most a few times a second."""

    progress: ClassVar[bool] = True
    tried: int
    queued: int
    per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class PatchFound(Event):
    """A verified patch. `turned_green` are the tests it repaired, `still_red` those that fail as before.

    `diff` is git-apply-able. Here and in Finished `seconds` are those of the search: not those that it waited for the user.
    """

    diff: str
    paths: tuple[str, ...]
    turned_green: tuple[str, ...]
    candidates: int
    seconds: float
    verified_by: str
    score: float = 0.0
    still_red: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatchRejected(Event):
    """The user does not want the last patch: the search goes on as if it had not been found."""


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The one terminal event.

    `exit_code` is the documented one; `suspects` are the likeliest lines ("path:line: text") of what was not found; `message`
    and `hint` explain. "found" is the success of `bisect`.
    """

    status: Status
    exit_code: int
    message: str
    hint: str = ""
    diff: str = ""
    tried: int = 0
    seconds: float = 0.0
    suspects: tuple[str, ...] = ()


def _subclasses(base: type[Event]) -> dict[str, type[Event]]:
    return {c.__name__: c for c in base.__subclasses__()}


def event_types() -> dict[str, type[Event]]:
    """All concrete events by name."""
    return _subclasses(Event)


def from_json(record: dict[str, Any]) -> Event:
    """The event of a JSON record. Raises ValueError for an unknown name and for an unknown or missing field."""
    data = dict(record)
    name = data.pop("event", None)
    cls = event_types().get(str(name))
    if cls is None:
        raise ValueError(f"unknown event {name!r}")
    known = {f.name for f in dataclasses.fields(cls)}
    if extra := set(data) - known:
        raise ValueError(f"unknown field of {name}: {sorted(extra)[0]}")
    try:
        return cls(**{key: _tupled(value) for key, value in data.items()})
    except TypeError as error:  # a field is missing
        raise ValueError(f"{name}: {error}") from error


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value


def dumps(event: Event) -> str:
    """One JSON line, without the line break."""
    return json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":"))


def loads(line: str) -> Event:
    """The inverse of `dumps`. Raises ValueError on anything else."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("an event is a JSON object")
    return from_json(typing.cast("dict[str, Any]", record))
