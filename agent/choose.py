"""Which of several patches that pass all tests is shown: by the order of the search, and by what each does beyond the tests.

The tests' own calls are repeated with other arguments (tools.worker.behave). There is no oracle for these, but the patches are
witnesses for one another: one that hangs or breaks down where another returns a value is less likely what was meant.
"""

from __future__ import annotations

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
TROUBLE = 6.0  # nats that a patch loses if it breaks down wherever another one does not

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
    behaviours: list[Behaviour | None] = [None] * len(passing)
    tests = _quick(passing[0].seconds)
    if tests and not budget.over():
        given = [(index, each.patch.contents()) for index, each in enumerate(passing)]
        for index, behaviour in runner.behaviour(given, tests):
            behaviours[index] = behaviour
    scores = [each.candidate.score for each in passing]
    marks = marks_of(scores, behaviours)
    # without a model all edits of a line have one score: then the smallest is shown
    order = sorted(range(len(passing)), key=lambda at: (-marks[at], passing[at].candidate.size))
    best = order[0]
    inputs = len({key for behaviour in behaviours for key in behaviour or ()})
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


def marks_of(scores: Sequence[float], behaviours: Sequence[Behaviour | None]) -> list[float]:
    """A mark in nats for each patch: its score, less what its behaviour makes doubtful.

    scores: log-probabilities, known up to a constant. Patches whose behaviour is not known are neither helped nor harmed.
    """
    return [score - TROUBLE * trouble(index, behaviours) for index, score in enumerate(scores)]


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
