"""Problems of real packages for `trm-agent eval`: a fault that their tests see, and half of those tests hidden.

Kept as JSON lines beside the projects they are of, whose code stays where it is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from agent.mutate import Killed, Project, Tally, killed

_TRIES = 6  # mutants of a unit, of which one is kept
_SLOW = 5.0  # CPU seconds of a test that is shown


@dataclass(frozen=True)
class PackageProblem:
    """A faulty file of the project at `root`, whose tests `python` runs.

    source: the faulty text of `path`. judging: ids of the tests that judge the repair; left_out: of those that `fix` does not
    see, half of the judging ones and what does not pass anyway.
    """

    task: str
    root: str
    python: str
    path: str
    source: str
    judging: tuple[str, ...]
    left_out: tuple[str, ...]
    bug_type: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> PackageProblem:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        record = json.loads(line)
        return PackageProblem(**{
            **record, "judging": tuple(record["judging"]), "left_out": tuple(record["left_out"]),
        })  # fmt: skip


def problems(
    project: Project, number: int, *, seconds: float = 0.0, seed: int = 0
) -> Iterator[PackageProblem]:
    """Up to `number` problems, each in another unit. Of the tests that cover it every second one is hidden.

    Two tests must cover the unit, and one of those that are shown must fail. Raises RunnerError where the suite does not run.
    """
    rng = random.Random(f"problems {seed} {project.package}")
    taken: set[tuple[str, str]] = set()
    for found in killed(project, Tally(), rng, per_unit=_TRIES, seconds=seconds, every_test=True):
        target = found.trial.target
        place = (target.path, target.unit.name)
        if place in taken:
            continue
        problem = _problem(project, found, len(taken), rng)
        if problem is not None:
            taken.add(place)
            yield problem
        if len(taken) == number:
            return


def _problem(
    project: Project, found: Killed, number: int, rng: random.Random
) -> PackageProblem | None:
    failing, passing = set(found.run.failing), [r.nodeid for r in found.run.results]
    first = [test for test in passing if test in failing]
    if len(passing) < 2 or not first:
        return None
    # alternately, the failing ones first: one is shown, the next is hidden
    order = [*rng.sample(first, len(first)), *(test for test in passing if test not in failing)]
    hidden = order[1::2]
    useless = [r.nodeid for r in found.whole.results if r.outcome != "passed" or r.seconds > _SLOW]
    target = found.trial.target
    return PackageProblem(
        f"{project.package.rpartition('/')[2]}-{number:02d}", str(project.root), project.python, target.path,
        found.trial.data.decode("utf-8", "surrogateescape"), tuple(order), tuple(dict.fromkeys([*hidden, *useless])),
        found.trial.broken.operators[0],
    )  # fmt: skip
