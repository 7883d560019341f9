"""One ranked stream of candidate edits: what operators enumerate and what the model writes, in one order.

`trm` and `untrained` order by the probability of the edit, mixed with a prior of tiers and suspicion; `ochiai` by tier, then
suspicion, then place (the control of edits.md); `random` by tier, then chance. Scores are computed lazily: start and
length bound a candidate's score from above, so only candidates that may be next are scored to the end.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.locate import Suspect
from agent.suggest import Suggestion
from tools.source.edits import Edit, EditError, apply_edit, parses
from tools.source.leaves import DEDENT, NEWLINE
from tools.source.operators import Scope, canonical, enumerate_edits
from trm.ahead import ahead
from trm.config import MAX_CONTENT, MAX_SPAN

if TYPE_CHECKING:
    from trm.encode import Target
    from trm.predict import Analysis, Predictor

TIERS = (1, 2, 3, 4)
_Key = tuple[int, int, tuple[str, ...]]  # start, end and tokens in the leaves of a unit
MODEL_ROUNDS = 25  # of the search for what the model itself writes, a unit; the first costs nothing
_LINE_WEIGHT = 1.0  # of log suspicion of the line: much of it the model has read already
_UNIT_WEIGHT = 2.0  # of log suspicion of the unit against the most suspect one
# The order is that of a mixture: mostly the model's probability, and with this share a prior that knows nothing but tiers and the
# suspicion of lines, so that what the model deems impossible still has its turn (docs/decisions.md).
_PRIOR = 0.3
_TIER_SHARES = {1: 0.5, 2: 0.35, 3: 0.12, 4: 0.03}
_BEYOND = -60.0  # nats, for edits longer than the heads reach
_BATCH = 96  # candidates scored at a time
_SPANS = 60  # whose first slot is decoded at a time
_READ = 1500  # candidates of these spans, about
_DEPTHS: tuple[int, ...] = (
    1,
    2,
    4,
    MAX_CONTENT + 1,
)  # content slots after which a score is looked at again
_DEEPER: dict[int, int] = dict(pairwise(_DEPTHS))
_COMPLETE = 0
_NOTHING: tuple[float, list[Any]] = (-math.inf, [])  # that is still to come from the model
_UNREAD = -4.0  # nats: the best edit of a unit that nobody has read yet
_SETTLED = 0.01  # nats: a score that the model can raise no more above the prior is not refined
_AHEAD = 48  # candidates scored while others are validated


@dataclass(frozen=True)
class Candidate:
    """An edit of a file with where it came from. `score` orders the stream, higher first."""

    suspect: Suspect
    edit: Edit  # leaf indices of the file
    operator: str
    tier: int
    score: float
    line: int

    @property
    def path(self) -> str:
        """The file, relative to the root."""
        return self.suspect.file.path

    def source(self) -> bytes:
        """The whole file after the edit."""
        return apply_edit(self.suspect.file.module, self.edit)

    @property
    def before(self) -> str:
        """The replaced tokens."""
        leaves = self.suspect.file.module.leaves
        return " ".join(leaf.text for leaf in leaves[self.edit.start : self.edit.end])

    @property
    def after(self) -> str:
        """The written tokens."""
        return " ".join(self.edit.tokens)


def valid(candidate: Candidate) -> bool:
    """Whether the unit still parses: what does not is never run, nor a statement before a docstring, which then is none."""
    suspect, edit = candidate.suspect, candidate.edit
    leaves = suspect.file.module.leaves
    writes_statement = edit.tokens and edit.tokens[-1] in (NEWLINE, DEDENT)
    if writes_statement and edit.start == edit.end < len(leaves) and leaves[edit.start].is_text:
        return False
    try:
        return parses(suspect.file.module, suspect.unit, edit)
    except EditError:
        return False


class _Unit:
    """A suspect's candidates in canonical form, without duplicates."""

    def __init__(self, suspect: Suspect, literals: Sequence[str], names: Sequence[str]) -> None:
        self.suspect = suspect
        module, unit = suspect.file.module, suspect.unit
        self.texts = [leaf.text for leaf in module.leaves[unit.start : unit.end]]
        self.scope = Scope.of(
            module, unit, extra_literals=tuple(literals), extra_names=tuple(names)
        )
        self.seen: set[_Key] = set()

    def canonical(self, edit: Edit) -> _Key | None:
        """(start, end, tokens) relative to the unit in canonical form; None for a no-op."""
        base = self.suspect.unit.start
        start, end = edit.start - base, edit.end - base
        if start < 0 or end > len(self.texts):
            return None
        key = canonical(self.texts, Edit(start, end, edit.tokens))
        return None if key[0] == key[1] and not key[2] else key

    def candidate(
        self, key: tuple[int, int, tuple[str, ...]], operator: str, tier: int, score: float
    ) -> Candidate:
        base = self.suspect.unit.start
        edit = Edit(key[0] + base, key[1] + base, key[2], self.suspect.file.path)
        return Candidate(
            self.suspect, edit, operator, tier, score, self.suspect.line_of(edit.start)
        )

    def suspicion(self, start: int) -> float:
        """Suspicion of the line at unit leaf `start`."""
        suspect = self.suspect
        return suspect.scores.get(suspect.line_of(suspect.unit.start + start), 0.02)

    def enumerated(
        self, tiers: Sequence[int]
    ) -> Iterator[tuple[tuple[int, int, tuple[str, ...]], str, int]]:
        suspect = self.suspect
        for found in enumerate_edits(suspect.file.module, suspect.unit, self.scope, tiers):
            key = self.canonical(found.edit)
            if key is not None and key not in self.seen:
                self.seen.add(key)
                yield key, found.operator, found.tier


def by_tier(
    found: Sequence[Suspect],
    rank: str,
    seed: int,
    literals: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Iterator[Candidate]:
    """The controls: tier by tier over all suspects, by suspicion (`ochiai`) or by chance (`random`)."""
    rng = random.Random(seed)
    units = [_Unit(suspect, literals, names) for suspect in found]
    for tier in TIERS:
        rows: list[tuple[tuple[float, ...], int, tuple, str, _Unit]] = []
        for order, unit in enumerate(units):
            for key, operator, _ in unit.enumerated((tier,)):
                weight = rng.random() if rank == "random" else -unit.suspicion(key[0])
                rows.append(((weight, order, key[0]), len(rows), key, operator, unit))
        rows.sort(key=lambda row: row[:2])
        for (weight, *_), _, key, operator, unit in rows:
            candidate = unit.candidate(key, operator, tier, -weight)
            if valid(candidate):
                yield candidate


def bias_of(suspect: Suspect, best: float) -> float:
    """What the suspicion of a unit adds to the scores of its edits, in nats; best: suspicion of the most suspect one."""
    return _UNIT_WEIGHT * math.log(max(suspect.prior, 1e-3) / max(best, 1e-3))


def shares(suspects: Sequence[Suspect], best: float) -> list[float]:
    """How the suspicion of all units is divided among them: by their length, their lines and their bias; sums to 1."""
    masses = []
    for suspect in suspects:
        leaves = suspect.file.module.leaves[suspect.unit.start : suspect.unit.end]
        inside = sum(suspect.scores.get(leaf.line, 0.02) for leaf in leaves)
        masses.append(max(inside, 1e-6) * math.exp(bias_of(suspect, best)))
    total = sum(masses)
    return [mass / total for mass in masses]


class ModelStream:
    """A suspect unit read by the model, and its candidates, likeliest first.

    share: of the suspicion that is on all units, for the prior: see `shares`.
    """

    def __init__(
        self, suspect: Suspect, analysis: Analysis, predictor: Predictor, best: float,
        literals: Sequence[str] = (), names: Sequence[str] = (), share: float = 1.0,
    ) -> None:  # fmt: skip
        self.suspect, self.analysis, self.predictor = suspect, analysis, predictor
        self.unit = _Unit(suspect, literals, names)
        self.bias = bias_of(suspect, best)
        self.share = math.log(share)

    @property
    def bound(self) -> float:
        """What no candidate's score exceeds, known before they are enumerated."""
        model = (
            float(self.analysis.start[1:].max(initial=_BEYOND)) + math.log1p(-_PRIOR) + self.bias
        )
        return float(np.logaddexp(model, math.log(_PRIOR * _TIER_SHARES[1]) + self.share))

    def __iter__(self) -> Iterator[Candidate]:
        keys: list[_Key] = []
        origin: list[tuple[str, int]] = []
        base = self.suspect.unit.start
        for key, operator, tier in self.unit.enumerated(TIERS):
            keys.append(key)
            origin.append((operator, tier))
        suspicion = np.array([self.unit.suspicion(at) for at in range(len(self.unit.texts) + 1)])
        lines = suspicion[[key[0] for key in keys]]
        prior = self._prior(lines, np.array([tier for _, tier in origin]))
        unread = self._places(keys, lines, prior)
        targets: dict[int, Target | None] = {}

        def score(indices: Sequence[int], depths: Sequence[int]) -> None:
            """Put them on the heap: -score, the slots it counts (or _COMPLETE), index."""
            some = [targets[i] for i in indices]
            found = self.predictor.score_targets(self.analysis, some, depths)
            found = np.maximum(found, [told.get(i, -np.inf) for i in indices])
            mixed = self._mixed(found, lines[indices], prior[indices]).tolist()
            alone = (prior[indices] + math.log(_PRIOR)).tolist()  # what the prior alone gives
            for index, target, depth, value, least in zip(indices, some, depths, mixed, alone, strict=True):  # fmt: skip
                whole = target is None or len(target.piece) <= depth
                done = whole or value - least < _SETTLED
                heapq.heappush(heap, (-value, _COMPLETE if done else depth, index))

        def read(indices: Sequence[int]) -> None:
            found = self.predictor.targets(self.analysis, [keys[i] for i in indices])
            targets.update(zip(indices, found, strict=True))
            score(indices, [_DEPTHS[0]] * len(indices))

        # An edit can be written in several ways, of which operators know one: the model's own counts if it is likelier.
        number_of = {key: index for index, key in enumerate(keys)}
        told: dict[int, float] = {}
        given: set[int] = set()

        # best first: what is known to be best is refined, slot by slot, until it is complete
        heap: list[tuple[float, int, int]] = []
        # the model's own edits, after the operators', so that tier 0 is what only the network writes
        rounds = itertools.islice(self.predictor.proposals(self.analysis), MODEL_ROUNDS)
        coming, _ = next(rounds, _NOTHING)
        while heap or unread or coming > -math.inf:
            top = -heap[0][0] if heap else -math.inf
            if unread and unread[-1][0] >= top:
                some: list[int] = []
                for _ in range(min(_SPANS, len(unread))):
                    some += unread.pop()[1]
                    if len(some) > _READ:
                        break
                read(some)
            elif self.bias + coming + math.log1p(-_PRIOR) >= top:
                coming, proposals = next(rounds, _NOTHING)
                first = len(keys)
                likelier: set[int] = set()
                for proposal in proposals:
                    edit = Edit(base + proposal.start, base + proposal.end, proposal.tokens)
                    if (key := self.unit.canonical(edit)) is None:
                        continue
                    index = number_of.setdefault(key, len(keys))
                    if index == len(keys):
                        keys.append(key)
                        origin.append(("model", 0))
                    if proposal.log_probability > told.get(index, -np.inf):
                        told[index] = proposal.log_probability
                        if index < first:
                            likelier.add(index)
                fresh = range(first, len(keys))
                lines = np.append(lines, suspicion[[keys[i][0] for i in fresh]])
                prior = np.append(prior, np.full(len(fresh), -np.inf))
                read([*fresh, *(likelier - given)])
            elif heap[0][1] == _COMPLETE:
                negative, _, index = heapq.heappop(heap)
                if index in given:
                    continue
                given.add(index)
                candidate = self.unit.candidate(keys[index], *origin[index], -negative)
                if valid(candidate):
                    yield candidate
            else:
                best = [heapq.heappop(heap) for _ in range(min(_BATCH, len(heap)))]
                for entry in best:
                    if entry[1] == _COMPLETE:
                        heapq.heappush(heap, entry)
                deeper = [(index, _DEEPER[have]) for _, have, index in best if have != _COMPLETE]
                score([index for index, _ in deeper], [depth for _, depth in deeper])

    def _places(
        self, keys: Sequence[_Key], lines: Any, prior: Any
    ) -> list[tuple[float, list[int]]]:
        """(bound, edits) of the spans that `keys` replace, the likeliest last.

        What an edit writes makes it less likely, never more. A function of a large module has ten thousand possible edits, most
        where the model expects none: these are not scored before their span is due.
        """
        spans: dict[tuple[int, int], list[int]] = {}
        for index, (start, end, _) in enumerate(keys):
            spans.setdefault((start, end), []).append(index)
        bounds = np.full(len(keys), -np.inf)
        for (start, end), edits in spans.items():
            if end - start <= MAX_SPAN:
                place = start + 1, end - start
                bounds[edits] = self.analysis.start[start + 1] + self.analysis.length[place]
        mixed = self._mixed(bounds, lines, prior)
        return sorted((float(mixed[edits].max()), edits) for edits in spans.values())

    def _prior(self, lines: Any, tiers: Any) -> Any:
        """Log-probabilities of candidates without a model; what only the network writes (tier 0) has none."""
        prior = np.full(len(lines), -np.inf)
        for tier, share in _TIER_SHARES.items():
            of_tier = tiers == tier
            if of_tier.any():
                weights = lines[of_tier]
                prior[of_tier] = math.log(share) + np.log(weights) - np.log(weights.sum())
        return prior + self.share

    def _mixed(self, scores: Any, lines: Any, prior: Any) -> Any:
        """Logarithm of the mixture; what the heads cannot express comes last, not never."""
        model = np.where(np.isfinite(scores), scores, _BEYOND) + _LINE_WEIGHT * np.log(lines)
        model += self.bias + math.log1p(-_PRIOR)
        return np.logaddexp(model, prior + math.log(_PRIOR))


def merged(
    streams: Sequence[ModelStream], unread: Iterable[tuple[float, Callable[[], ModelStream]]] = ()
) -> Iterator[Candidate]:  # fmt: skip
    """All streams in one order, likeliest first, made in a thread ahead of who asks.

    A stream is not begun before its best possible candidate is due: to begin one costs about as much as to validate fifty.
    unread: (bias, what reads it) of further units, the most suspect first; each is read when an edit of it may be due, which is
    _UNREAD nats below its bias.
    """
    return ahead(_merged(streams, iter(unread)), _AHEAD)


def _merged(
    streams: Sequence[ModelStream], unread: Iterator[tuple[float, Callable[[], ModelStream]]]
) -> Iterator[Candidate]:  # fmt: skip
    numbers = itertools.count()
    heap: list[tuple[float, int, Candidate | None, Iterator[Candidate]]] = [
        (-stream.bound, next(numbers), None, iter(stream)) for stream in streams
    ]
    heapq.heapify(heap)
    following = next(unread, None)
    while heap or following is not None:
        if following is not None:
            bias, read = following
            if not heap or bias + _UNREAD >= -heap[0][0]:
                stream = read()
                heapq.heappush(heap, (-stream.bound, next(numbers), None, iter(stream)))
                following = next(unread, None)
                continue
        _, _, candidate, rest = heapq.heappop(heap)
        if candidate is not None:
            yield candidate
        if (coming := next(rest, None)) is not None:
            heapq.heappush(heap, (-coming.score, next(numbers), coming, rest))


class CostAware:
    """A stream that puts off what turned out to be slow to validate.

    A candidate that has the project imported anew (its unit ran during import, say, or it changes a class body) costs some fifty
    times as much: it waits until the others' scores have fallen by `penalty` nats.
    """

    def __init__(self, candidates: Iterable[Candidate] = (), penalty: float = 3.0) -> None:
        self._candidates, self._penalty = iter(candidates), penalty
        self._postponed: set[tuple[str, Edit]] = set()
        self._waiting: list[tuple[float, int, Candidate]] = []
        self._numbers = itertools.count()
        self._next: Candidate | None = None

    def follow(self, candidates: Iterator[Candidate]) -> None:
        """Go on with these, once those so far are used up; what waits goes on waiting."""
        self._candidates = candidates

    def postpone(self, candidate: Candidate) -> None:
        """It is slow to validate: it comes once more, later."""
        self._postponed.add((candidate.path, candidate.edit))
        score = candidate.score - self._penalty
        heapq.heappush(self._waiting, (-score, next(self._numbers), candidate))

    def put_back(self, candidate: Candidate) -> None:
        """It was taken and is not decided on: it comes once more, in its place."""
        heapq.heappush(self._waiting, (-candidate.score, next(self._numbers), candidate))

    def was_postponed(self, candidate: Candidate) -> bool:
        """Whether it has waited already."""
        return (candidate.path, candidate.edit) in self._postponed

    @property
    def waits(self) -> bool:
        """Whether anything was postponed or put back and has not come since."""
        return bool(self._waiting)

    def __iter__(self) -> CostAware:
        return self

    def __next__(self) -> Candidate:
        if self._next is None:
            self._next = next(self._candidates, None)
        candidate = self._next
        if self._waiting and (candidate is None or -self._waiting[0][0] >= candidate.score):
            return heapq.heappop(self._waiting)[2]
        if candidate is None:
            raise StopIteration
        self._next = None
        return candidate


def suggested(suggestions: Sequence[Suggestion], found: Sequence[Suspect]) -> Iterator[Candidate]:
    """What the exceptions themselves suggest, before anything else."""
    for suggestion in suggestions:
        for suspect in found:
            inside = suspect.unit.start <= suggestion.edit.start <= suspect.unit.end
            if suspect.file.path == suggestion.edit.path and inside:
                candidate = Candidate(suspect, suggestion.edit, suggestion.operator, 0, 0.0,
                                      suspect.line_of(suggestion.edit.start))  # fmt: skip
                if valid(candidate):
                    yield candidate
                break
