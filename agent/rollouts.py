"""Edits of the policy, executed: mutants of projects are made on the fly, and the tests say which edits repair them.

A mutant is read as `fix` reads it, from the tests that are shown. Half of its tests are hidden: they tell how often an edit that
earned its reward is right, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent import locate
from agent.mutate import Killed, Tally, killed, suspect_of
from agent.projects import Project, RefusedError
from agent.reading import encode_suspect
from tools.runner import Runner
from tools.source.edits import Edit, EditError, apply_edit, parses
from tools.source.operators import canonical
from tools.verdicts import Outcome, RunnerError, SuiteRun
from trm.data.corrupt import targets_of
from trm.data.functions import held_out
from trm.encode import Encoded, Target
from trm.predict import Predictor
from trm.rl import Group

_GROUPS = 16  # of a project, before it is the next one's turn
_IDLE_TURNS = 3  # of every project in a row without a mutant: one can be by chance
_PER_UNIT = 2  # mutants of a function in one turn
_SECONDS = 300.0  # wall time of a turn, after as much for the first run of the suite
_LONGEST = 256  # positions of a unit, as in training
_PROPOSED, _ROUNDS = 64, 8  # edits of the policy that are chosen from, rounds of its search
_TESTS = 16  # that run on a mutant at most, a half of them hidden
_SHAPED = 0.5  # what the share of repaired tests can earn at most


@dataclass(frozen=True)
class Rollouts:
    """Groups of `edits` edits, from one project after the other, again and again. say: is told what a project failed at.

    A place is the number of a project's turn; its randomness is that of seed, turn and package.
    Raises RefusedError for a package that is held out, or if no project gives a group.
    """

    projects: Sequence[Project]
    edits: int
    seed: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        for project in self.projects:
            if held_out(project.package):
                raise RefusedError(f"{project.package} is held out of all training")

    def __call__(self, predictor: Predictor, place: int) -> Generator[Group, None, None]:
        idle = 0
        for turn in itertools.count(place):
            project = self.projects[turn % len(self.projects)]
            name = f"rl {self.seed} {turn} {project.package}"
            # what is drawn for a group is of its own, since mutants are made ahead of those that run
            rng, own = random.Random(name), random.Random(f"{name} groups")
            found = 0
            try:
                mutants = killed(
                    project,
                    Tally(),
                    rng,
                    per_unit=_PER_UNIT,
                    seconds=_SECONDS,
                    single=True,
                    numbers=(_TESTS,),
                )
                with contextlib.closing(mutants):
                    for mutant in mutants:
                        group = group_of(mutant, predictor, self.edits, own, turn + 1)
                        if group is not None:
                            found += 1
                            yield group
                        if found == _GROUPS:
                            break
            except RunnerError as error:
                self.say(f"{project.package}: {error}")
            idle = 0 if found else idle + 1
            if idle == _IDLE_TURNS * len(self.projects):
                raise RefusedError("no project has a mutant that its tests see")


def group_of(
    mutant: Killed, predictor: Predictor, edits: int, rng: random.Random, place: int
) -> Group | None:
    """The policy's edits of a mutant with what the tests say of them.

    None where the mutant or its fix is beyond what the model reads or writes, or fewer than two edits are.
    """
    trial = mutant.trial
    shown, hidden = share_out(mutant.run, rng)
    suspect = suspect_of(mutant)
    if suspect is None:
        return None
    encoded = encode_suspect(predictor.vocab, suspect, _restricted(mutant.run, shown))
    fixes = targets_of(predictor.vocab, encoded, trial.broken.fixes)
    if encoded.length > _LONGEST or not fixes:
        return None
    chosen = choose(suspect, predictor, encoded, edits, rng)
    if len(chosen) < 2:
        return None
    passed = executed(mutant.runner, trial.target.path, [source for _, source in chosen], [*shown, *hidden])  # fmt: skip
    failing = set(mutant.run.failing)
    each = [passed[source] for _, source in chosen]
    rewards = [reward(tests, shown, failing) for tests in each]
    right = [tests.issuperset([*shown, *hidden]) for tests in each]
    return Group(
        encoded, tuple(target for target, _ in chosen), np.array(rewards, np.float32), np.array(right), tuple(fixes),
        len(passed), place,
    )  # fmt: skip


def share_out(run: SuiteRun, rng: random.Random) -> tuple[list[str], list[str]]:
    """Tests that are shown and those that are hidden: every second one, the failing ones first, so that one of these is shown."""
    failing = run.failing
    passing = [r.nodeid for r in run.results if r.nodeid not in set(failing)]
    order = rng.sample(failing, len(failing)) + rng.sample(passing, len(passing))
    return order[::2], order[1::2]


def reward(passed: set[str], shown: Sequence[str], failing: set[str]) -> float:
    """1 if all shown tests pass; else what repaired tests earn, less what broken ones cost, at least 0 and below 0.5.

    passed: tests that pass with the edit; failing: those that do not without it.
    """
    if passed.issuperset(shown):
        return 1.0
    bad = [test for test in shown if test in failing]
    good = [test for test in shown if test not in failing]
    repaired = sum(test in passed for test in bad) / len(bad)
    broken = sum(test not in passed for test in good) / max(1, len(good))
    return max(0.0, _SHAPED * (repaired - broken))


def choose(
    suspect: locate.Suspect, predictor: Predictor, encoded: Encoded, edits: int, rng: random.Random
) -> list[tuple[Target, bytes]]:
    """Up to `edits` distinct edits that parse, each with the whole file after it.

    Half of them are the likeliest, likeliest first; the others are drawn from the rest by Gumbel-top-k (arXiv 1903.06059).
    """
    module, unit = suspect.file.module, suspect.unit
    texts = [leaf.text for leaf in module.leaves[unit.start : unit.end]]
    analysis = predictor.analyse(encoded, greedy=False)
    found: dict[bytes, tuple[float, Target]] = {}
    for proposal in predictor.propose(analysis, _PROPOSED, rounds=_ROUNDS):
        start, end, tokens = canonical(texts, Edit(proposal.start, proposal.end, proposal.tokens))
        edit = Edit(start + unit.start, end + unit.start, tokens)
        (target,) = predictor.targets(analysis, [(start, end, tokens)])
        if (start == end and not tokens) or target is None or not parses(module, unit, edit):
            continue
        try:
            found.setdefault(apply_edit(module, edit), (proposal.log_probability, target))
        except EditError:
            continue
    noise = np.random.default_rng(rng.getrandbits(32)).gumbel(size=len(found))
    noise[: edits // 2] = np.inf
    keys = np.array([value for value, _ in found.values()]) + noise
    sources = list(found)
    order = np.argsort(-keys, kind="stable")[:edits]
    return [(found[sources[i]][1], sources[i]) for i in order]


def executed(
    runner: Runner, path: str, sources: Sequence[bytes], tests: Sequence[str]
) -> dict[bytes, set[str]]:
    """Of every distinct source of the file at `path`, the tests that pass with it."""
    candidates = ((source, {path: source}) for source in dict.fromkeys(sources))
    verdicts = runner.validate_many(candidates, tests, stop_at_first=False)
    return {
        source: {r.nodeid for r in verdict.results if r.outcome is Outcome.PASSED}
        for source, verdict in verdicts
    }


def _restricted(run: SuiteRun, tests: Sequence[str]) -> SuiteRun:
    """The run as if there were no other tests."""
    kept = set(tests)
    lines = {test: ran for test, ran in run.spectrum.lines.items() if test in kept}
    return replace(
        run,
        results=[result for result in run.results if result.nodeid in kept],
        failures=[failure for failure in run.failures if failure.nodeid in kept],
        spectrum=replace(run.spectrum, lines=lines, failed=run.spectrum.failed & kept),
    )
