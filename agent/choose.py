"""Which of several patches that pass all tests is shown: by the order of the search, and by what each does beyond the tests.

The tests' own calls are repeated with other arguments (tools.worker.behave). There is no oracle for these, but there are
witnesses. The patches are for one another: one that hangs or breaks down where another returns a value is less likely what was
meant. And so is the faulty program: it was right on most inputs, or somebody had noticed, and of two patches the one that changes
what comes of more of them is less likely (as in "Qlose", D'Antoni et al., CAV 2016, with traces).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import decide
from agent.budget import Budget
from agent.candidates import Candidate
from agent.events import Event
from tools.runner import Runner

if TYPE_CHECKING:
    from agent.search import PatchedFiles

MOST_PASSING = 16  # patches that are compared
_MOST_TESTS, _TEST_SECONDS = 16, 1.0  # whose calls are repeated, and what they may take together
TROUBLE = 3.0  # nats that a patch loses if it breaks down wherever another one does not
CHANGE = 3.0  # nats that a patch loses if it changes what comes of e times as many inputs
CHANCE = math.log(2)  # up to twice as many may be chance

Behaviour = Mapping[str, str]  # input -> outcome, see tools.runner.Runner.behaviour


@dataclass(frozen=True)
class Passing:
    """A patch that passes. number: in the order of trying; seconds: CPU time of each test that it was judged by."""

    number: int
    candidate: Candidate
    patch: PatchedFiles
    seconds: Mapping[str, float]


def choose(runner: Runner, passing: Sequence[Passing], budget: Budget) -> Iterator[Event]:
    """The patch to show, told as a decision. Returns a Passing."""
    if len(passing) == 1:
        return passing[0]
    known = None if budget.over() else witnesses(runner, passing)
    marks = marks_of([each.candidate.score for each in passing], known)
    # without a model all edits of a line have one score: then the smallest is shown
    order = sorted(range(len(passing)), key=lambda at: (-marks[at], passing[at].candidate.size))
    best = order[0]
    inputs = known.inputs if known else 0
    yield budget.stamp(decide.choose(best, len(passing), inputs, marks[best] - marks[order[1]]))
    return passing[best]


def _quick(seconds: Mapping[str, float]) -> list[str]:
    """The quickest tests, as many as fit."""
    chosen: list[str] = []
    total = 0.0
    for test, each in sorted(seconds.items(), key=lambda pair: pair[1]):
        total += each
        if (chosen and total > _TEST_SECONDS) or len(chosen) == _MOST_TESTS:
            break
        chosen.append(test)
    return chosen


@dataclass(frozen=True)
class Witnesses:
    """Behaviours of the patches and of the faulty program `before` them; None where one is not known."""

    patches: Sequence[Behaviour | None]
    before: Behaviour | None

    @property
    def inputs(self) -> int:
        """How many inputs any patch was tried on."""
        return len({key for behaviour in self.patches for key in behaviour or ()})

    def changed(self) -> list[tuple[int, int]]:
        """For each patch of how many inputs something else comes, and of how many that is known (none that broke down before)."""
        before = {k: came for k, came in (self.before or {}).items() if came[0] not in "he"}
        found = []
        for after in self.patches:
            both = before.keys() & (after or {}).keys()
            found.append((sum((after or {})[key] != before[key] for key in both), len(both)))
        return found


def witnesses(runner: Runner, passing: Sequence[Passing]) -> Witnesses | None:
    """What the patches and the program before them do on further inputs of the quickest tests; None where no test is quick."""
    tests = _quick(passing[0].seconds)
    if not tests:
        return None
    before = {path: old for each in passing for path, (old, _) in each.patch.files.items()}
    found: list[Behaviour | None] = [None] * (len(passing) + 1)
    given = [*(each.patch.contents() for each in passing), before]
    for index, behaviour in runner.behaviour(enumerate(given), tests):
        found[index] = behaviour
    return Witnesses(found[:-1], found[-1])


def marks_of(scores: Sequence[float], known: Witnesses | None) -> list[float]:
    """A mark in nats for each patch: its score, less what its behaviour makes doubtful.

    scores: log-probabilities, known up to a constant. Patches whose behaviour is not known are neither helped nor harmed.
    """
    if known is None:
        return list(scores)
    return [
        score - TROUBLE * trouble(index, known.patches) - CHANGE * more
        for index, (score, more) in enumerate(
            zip(scores, more_changed(known.changed()), strict=True)
        )
    ]


def more_changed(pairs: Sequence[tuple[int, int]]) -> list[float]:
    """For each patch how many e-folds more inputs it changes than the one that changes the fewest, beyond CHANCE.

    pairs: as of `Witnesses.changed`; shares by the rule of succession. What is not known is as with the others in the mean.
    """
    found = [math.log((changed + 1) / (known + 2)) if known else None for changed, known in pairs]
    told = [one for one in found if one is not None]
    mean, least = (statistics.mean(told), min(told)) if told else (0.0, 0.0)
    return [max(0.0, (mean if one is None else one) - least - CHANCE) for one in found]


def trouble(index: int, behaviours: Sequence[Behaviour | None]) -> float:
    """Share of the inputs on which a patch hangs or breaks down, of those where one does and another returns a value."""
    mine = behaviours[index] or {}
    others = [each for i, each in enumerate(behaviours) if each and i != index]
    bad = split = 0
    for key, outcome in mine.items():
        theirs = [other[key] for other in others if key in other]
        # a `raise` against a breakdown says nothing: for a senseless input either may be meant
        if outcome[0] in "he":
            valued = any(one[0] == "v" for one in theirs)
            bad, split = bad + valued, split + valued
        elif outcome[0] == "v":
            split += any(one[0] in "he" for one in theirs)
    return bad / split if split else 0.0
