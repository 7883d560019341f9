"""Bisection over an ordered list: where does it turn from good to bad, asked in as few probes as possible.

One Bayesian search serves all oracles. It keeps a posterior over the first bad item and asks at its median (Horstein 1963;
Waeber, Frazier and Henderson 2013):

- accuracy 1.0: answers are exact, and the search is plain bisection (weighted by the prior, if there is one);
- 0.5 < accuracy < 1: an answer is right with that probability: the side it names is multiplied by it, the other by the rest;
- accuracy None: items fail at unknown rates before and after the turn (a flaky test). Each side has a Beta prior (Jeffreys), and
  the posterior is the product of the two Beta-Bernoulli likelihoods (the form of hauntsaninja/git_bayesect).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

JEFFREYS = 0.5
_NOTHING = 1e-12  # mass below this is rounding


class Contradiction(ValueError):
    """Exact answers exclude every item: the oracle is not exact, or good and bad are not ordered."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question and what it left: items [first, last] hold `mass` of the posterior, `best` is the likeliest first bad one.

    bad: the answer about `item`, None if it could not be judged. margin: how far the posterior mass at or before `item`
    was from one half when asked, in [0, 1].
    """

    number: int
    item: int
    bad: bool | None
    first: int
    last: int
    mass: float
    best: int
    margin: float


class Bisection:
    """Posterior over which of `size` items is the first bad one; the last item is known to be bad.

    prior: weights of the items, all equal by default. runs_before, runs_after: (bad, good) answers known beforehand about what
    lies before the first item and about the last one; only counted where accuracy is None. Raises ValueError for an
    empty list, a wrong number of weights, a negative or vanishing prior, or an accuracy that tells nothing.
    """

    def __init__(
        self,
        size: int,
        prior: Sequence[float] | None = None,
        accuracy: float | None = 1.0,
        runs_before: tuple[int, int] = (0, 0),
        runs_after: tuple[int, int] = (0, 0),
    ) -> None:
        weights = [1.0] * size if prior is None else [float(weight) for weight in prior]
        if size < 1 or len(weights) != size:
            raise ValueError(f"{size} items with {len(weights)} weights")
        if min(weights) < 0 or not 0 < math.fsum(weights) < math.inf:
            raise ValueError("prior weights must be at least 0 and not all 0")
        if accuracy is not None and not 0.5 < accuracy <= 1.0:
            raise ValueError(f"an accuracy of {accuracy} tells nothing: more than 0.5, at most 1")
        self.accuracy = accuracy
        self._runs_before, self._runs_after = runs_before, runs_after
        total = math.fsum(weights)
        self._prior = [weight / total for weight in weights]
        self.posterior = list(self._prior)
        self._bad = [0] * size
        self._good = [0] * size
        self.skipped: set[int] = set()
        self.probes = 0

    def answer(self, item: int, bad: bool) -> None:
        """Take the oracle's answer about `item`. Raises Contradiction if exact answers leave nothing."""
        self.probes += 1
        (self._bad if bad else self._good)[item] += 1
        if self.accuracy is None:
            self._weigh_counts()
            return
        # an item is bad if and only if the first bad one is at or before it
        at_or_before, after = (
            (self.accuracy, 1 - self.accuracy) if bad else (1 - self.accuracy, self.accuracy)
        )
        new = [
            mass * (at_or_before if place <= item else after)
            for place, mass in enumerate(self.posterior)
        ]
        total = math.fsum(new)
        if total <= 0:
            raise Contradiction(
                f"item {item} was found {'bad' if bad else 'good'}, which earlier answers exclude"
            )
        self.posterior = [mass / total for mass in new]

    def skip(self, item: int) -> None:
        """`item` cannot be judged: it is never asked again."""
        self.probes += 1
        self.skipped.add(item)

    def _weigh_counts(self) -> None:
        """Posterior of every place from the counts before it and from it on."""
        bad_before, good_before = self._runs_before
        bad_after, good_after = (
            sum(self._bad) + self._runs_after[0],
            sum(self._good) + self._runs_after[1],
        )
        logs: list[float] = []
        for place, prior in enumerate(self._prior):
            fit = _log_beta(bad_before, good_before) + _log_beta(bad_after, good_after)
            # the turn is from seldom failing to often failing; the other way round is not what was asked
            rate_before = (bad_before + JEFFREYS) / (bad_before + good_before + 2 * JEFFREYS)
            rate_after = (bad_after + JEFFREYS) / (bad_after + good_after + 2 * JEFFREYS)
            told = bad_before + good_before and rate_before > rate_after
            logs.append(-math.inf if prior <= 0 or told else math.log(prior) + fit)
            bad_before, good_before = bad_before + self._bad[place], good_before + self._good[place]
            bad_after, good_after = bad_after - self._bad[place], good_after - self._good[place]
        top = max(logs)
        if top == -math.inf:  # no place fits the direction: back to what was believed
            self.posterior = list(self._prior)
            return
        new = [math.exp(value - top) for value in logs]
        total = math.fsum(new)
        self.posterior = [mass / total for mass in new]

    def next(self) -> int | None:
        """The item to ask about: nearest to the posterior median, off the skipped ones. None if no answer would tell anything."""
        chosen, value = None, _NOTHING
        running = 0.0
        middle = (len(self.posterior) - 1) / 2
        for item, mass in enumerate(self.posterior[:-1]):
            running += mass
            if item in self.skipped:
                continue
            gain = min(running, 1 - running)
            if self.skipped:
                # what cannot be judged comes in runs: a broken build lasts for some commits
                gain *= 1 - 1 / (1 + min(abs(item - other) for other in self.skipped))
            tie = chosen is not None and math.isclose(gain, value, rel_tol=1e-9)
            if (gain > value and not tie) or (
                tie and abs(item - middle) < abs((chosen or 0) - middle)
            ):
                chosen, value = item, gain
        return chosen

    @property
    def best(self) -> int:
        """The likeliest first bad item."""
        return max(range(len(self.posterior)), key=self.posterior.__getitem__)

    def interval(self, mass: float = 1.0) -> tuple[int, int, float]:
        """The shortest run of items with at least `mass` of the posterior: first, last (inclusive), its mass."""
        sums = [0.0]
        for value in self.posterior:
            sums.append(sums[-1] + value)
        found = (0, len(self.posterior) - 1)
        last = 0
        for first in range(len(self.posterior)):
            while last < len(self.posterior) and sums[last] - sums[first] < mass - _NOTHING * 10:
                last += 1
            inside = sums[last] - sums[first]
            if inside < mass - _NOTHING * 10:
                break
            if last - 1 - first < found[1] - found[0]:
                found = (first, last - 1)
        return found[0], found[1], min(1.0, sums[found[1] + 1] - sums[found[0]])

    def is_done(self, mass: float = 0.95) -> bool:
        """Whether one item holds at least `mass`."""
        return self.posterior[self.best] >= mass


def bisect(
    search: Bisection,
    oracle: Callable[[int], bool | None],
    mass: float = 0.95,
    max_probes: int | None = None,
) -> Generator[Probe, None, Bisection]:
    """Ask `oracle` until one item holds `mass`, nothing is left to ask, or `max_probes` were asked.

    oracle: item -> whether it is bad, None if it cannot be judged. Yields every probe; returns the search, whose `interval()`
    has more than one item where skipped ones stand between.
    """
    while not search.is_done(mass) and (max_probes is None or search.probes < max_probes):
        item = search.next()
        if item is None:
            break
        before = math.fsum(search.posterior[: item + 1])
        bad = oracle(item)
        if bad is None:
            search.skip(item)
        else:
            search.answer(item, bad)
        first, last, held = search.interval(mass)
        yield Probe(search.probes, item, bad, first, last, held, search.best, abs(2 * before - 1))
    return search


def _log_beta(bad: int, good: int) -> float:
    """Log of B(JEFFREYS + bad, JEFFREYS + good)."""
    return (
        math.lgamma(JEFFREYS + bad)
        + math.lgamma(JEFFREYS + good)
        - math.lgamma(2 * JEFFREYS + bad + good)
    )
