"""Problems of real packages for `trm-agent eval`: a fault that their tests see, and half of those tests hidden.

The fault is made by an operator, or it is one that somebody repaired: then the project is the one after the repair, with the
file as it was before.

Kept as JSON lines beside the projects they are of, whose code stays where it is.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import git

from agent.mutate import Killed, Tally, killed
from agent.projects import Project
from tools.runner import Runner
from tools.verdicts import Limits, Outcome, SuiteRun
from trm.data.fixes import Fix

# An installed project is found in its copy, not where it was installed from.
FROM_COPY = ("-o", "pythonpath=. src")
_TRIES = 6  # mutants of a unit, of which one is kept
_SLOW = 5.0  # CPU seconds of a test that is shown


@dataclass(frozen=True)
class PackageFault:
    """A faulty file of the project at `root`, whose tests `python` runs.

    source: the faulty text of `path`. judging: ids of the tests that judge the repair; left_out: of those that `fix` does not
    see, half of the judging ones and what does not pass anyway, and files that do not collect.
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
    def from_json(line: str) -> PackageFault:
        """The inverse of `to_json`. Raises ValueError or TypeError."""
        record = json.loads(line)
        return PackageFault(**{
            **record, "judging": tuple(record["judging"]), "left_out": tuple(record["left_out"]),
        })  # fmt: skip


def problems(
    project: Project, number: int, *, seconds: float = 0.0, seed: int = 0
) -> Iterator[PackageFault]:
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
) -> PackageFault | None:
    failing, passing = set(found.run.failing), [r.nodeid for r in found.run.results]
    target = found.trial.target
    return _shared_out(
        f"{project.package.rpartition('/')[2]}-{number:02d}", project.root, project.python, target.path, found.trial.data,
        [test for test in passing if test in failing], [test for test in passing if test not in failing], found.whole, rng,
        found.trial.broken.operators[0],
    )  # fmt: skip


def _shared_out(
    task: str, root: Path, python: str, path: str, source: bytes, failing: list[str], passing: list[str], whole: SuiteRun,
    rng: random.Random, kind: str, gone: Sequence[str] = (),
) -> PackageFault | None:  # fmt: skip
    """The tests alternately shown and hidden, the failing ones first; None where there is too little to share."""
    if not failing or len(failing) + len(passing) < 2:
        return None
    order = [*rng.sample(failing, len(failing)), *passing]
    # a test that is left out takes those with it whose names begin alike
    hidden = [test for test in order[1::2] if not any(o.startswith(test) for o in order[::2])]
    useless = [
        r.nodeid for r in whole.results if r.outcome is not Outcome.PASSED or r.seconds > _SLOW
    ]
    left_out = tuple(dict.fromkeys([*hidden, *useless, *gone]))
    text = source.decode("utf-8", "surrogateescape")
    return PackageFault(task, str(root), python, path, text, tuple(order), left_out, kind)


def fix_problem(fix: Fix, repository: git.Repo, trees: Path, python: str) -> PackageFault | None:
    """The problem that a mined fix solved; None where no test of its time tells before from after in `python`.

    repository: with the history; the project as it was after the fix is written below `trees`. Raises RunnerError where its
    suite does not run.
    """
    package, path = fix.origin.split(":")[:2]
    task = f"{package.rpartition('/')[2]}-{fix.commit[:8]}"
    root = trees / task
    commit = repository.commit(fix.commit)
    before: bytes = (commit.parents[0].tree / path).data_stream.read()
    if not root.is_dir():
        archive = io.BytesIO()
        repository.archive(archive, fix.commit)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            tar.extractall(root, filter="data")
    return fault_problem(
        task, root, python, path, before, f"fix, {fix.kind}", random.Random(fix.commit)
    )


def fault_problem(
    task: str, root: Path, python: str, path: str, before: bytes, kind: str, rng: random.Random
) -> PackageFault | None:
    """The problem of a known faulty text of a file; None where no test tells it from the one at `root`.

    Raises RunnerError where the suite does not run.
    """
    with Runner(root, python, FROM_COPY) as runner:
        gone = [error.collecting for error in runner.collection_errors]
    ignored = [f"--ignore={name}" for name in gone]
    limits = Limits(baseline_seconds=_SLOW)
    with Runner(root, python, (*FROM_COPY, *ignored), limits) as runner:
        whole = runner.baseline()
        ran = set(whole.spectrum.tests_of(path))
        good = [r.nodeid for r in whole.results if r.outcome is Outcome.PASSED and r.nodeid in ran]
        if not good:
            return None
        verdict = runner.validate({path: before}, good, stop_at_first=False)
    now = {r.nodeid: r.outcome for r in verdict.results}
    failing = [test for test in good if now.get(test) in (Outcome.FAILED, Outcome.ERROR)]
    passing = [test for test in good if now.get(test) is Outcome.PASSED]
    return _shared_out(task, root, python, path, before, failing, passing, whole, rng, kind, gone)
