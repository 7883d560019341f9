"""The model's stream of candidate edits: what operators enumerate and what the model writes, in one order.

Candidates go by the probability of the edit, mixed with a prior of operators and suspicion. Scores are computed lazily: start and
length bound a candidate's score from above, so only candidates that may be next are scored to the end, and operators are asked
only when the model's own search has got to what it deems unlikely.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from agent.candidates import Candidate, Key, Unit, valid
from agent.locate import Suspect
from trm.ahead import ahead
from trm.config import MAX_CONTENT, MAX_SPAN

if TYPE_CHECKING:
    from trm.analysis import Analysis
    from trm.encode import Target
    from trm.predict import Predictor

MODEL_ROUNDS = (
    100  # of the search for what the model itself writes, a unit; the first costs nothing
)
_LINE_WEIGHT = 1.0  # of log suspicion of the line: much of it the model has read already
_UNIT_WEIGHT = 2.1  # of log suspicion of the unit against the most suspect one
_RANK_WEIGHT = 1.1  # of the log of its rank among the units
# The order is that of a mixture: mostly the model's probability, and with this share a prior that knows nothing but the suspicion
# of lines and how often each operator has what people repair, so that what the model deems impossible, or cannot write, still
# has its turn (docs/decisions.md). benchmarks/prior.py fits the shares of the operators to mined fixes.
_PRIOR = 0.3
OPERATOR_SHARES = Path(__file__).with_name("operator_shares.json")
_SHARES: dict[str, float] = json.loads(OPERATOR_SHARES.read_text("utf-8"))
_BEYOND = -60.0  # nats, for edits longer than the heads reach
_BATCH = 96  # candidates scored at a time
_FIRST_BATCH = 32  # of a unit of which as many have not been given yet: few are ever asked for more
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
_STAGES = ((1, 2), (3, 4))  # tiers enumerated together, when an edit of them may be next
_LIKELIEST = max(_SHARES.values())
# of the model's own search, before the operators of a stage are asked for the model's sake: enumerating them takes as long
_ROUNDS_AHEAD = {_STAGES[0]: 8, _STAGES[1]: 30}
_UNREAD = -4.0  # nats: the best edit of a unit that nobody has read yet
_ANYWHERE = 0.3  # of the prior of an edit in a line of average start mass, what it has where the model sees nothing
_SETTLED = 0.01  # nats: a score that the model can raise no more above the prior is not refined
# nats below an edit, the same edit at all places of the unit that look alike: of mined fixes where there are such, one in seven
_TWIN = 2.0
_ALIKE = 3  # places at most
_SHORT = 60  # leaves
_AHEAD = 48  # candidates scored while others are validated


def biases(suspects: Sequence[Suspect]) -> list[float]:
    """What its suspicion adds to the scores of each unit's edits, in nats; the most suspect unit comes first and gets 0.

    Ochiai's formula understates how much the first ranks have: in 100 faults of twelve projects (benchmarks/units.py) the
    faulty unit costs 1.5 nats by the suspicion alone, 1.1 with its rank.
    """
    best = max(suspects[0].prior, 1e-3) if suspects else 1.0
    return [
        _UNIT_WEIGHT * math.log(max(suspect.prior, 1e-3) / best) - _RANK_WEIGHT * math.log(rank)
        for rank, suspect in enumerate(suspects, 1)
    ]


def shares(biases: Sequence[float]) -> list[float]:
    """How likely each unit is to have the fault, by their biases alone: longer ones have it no more often. Sums to 1."""
    masses = np.exp(biases)
    return (masses / masses.sum()).tolist()


class ModelStream:
    """A suspect read by the model, and its candidates, likeliest first. bias, share: see `biases` and `shares`."""

    def __init__(
        self, suspect: Suspect, analysis: Analysis, predictor: Predictor, bias: float,
        literals: Sequence[str] = (), names: Sequence[str] = (), share: float = 1.0,
    ) -> None:  # fmt: skip
        self.suspect, self.share = suspect, math.log(share)
        self.unit = Unit(suspect, literals, names)
        self.analysis, self.predictor = analysis, predictor
        self.bias = bias

    @property
    def bound(self) -> float:
        """What no candidate's score exceeds, known before they are enumerated."""
        start = self.analysis.start[self.analysis.first :]
        model = float(start.max(initial=_BEYOND)) + math.log1p(-_PRIOR) + self.bias
        return float(np.logaddexp(model, math.log(_PRIOR * _LIKELIEST) + self.share))

    def steps(self) -> Iterator[Candidate | float]:
        """Candidates, and between them, after each piece of work, what the next one's score will hardly exceed."""
        return iter(_Order(self))

    def __iter__(self) -> Iterator[Candidate]:
        return (step for step in self.steps() if isinstance(step, Candidate))

    def _prior(self, places: Any, operators: Sequence[str]) -> Any:
        """Log-probabilities of operators' candidates whatever they write: an operator's share by the weight of their places."""
        names, of = np.unique(operators, return_inverse=True)
        shares = np.array([_SHARES[name] for name in names])
        return np.log(shares[of] * places / np.bincount(of, places)[of]) + self.share

    def _mixed(self, scores: Any, lines: Any, prior: Any) -> Any:
        """Logarithm of the mixture; what the heads cannot express comes last, not never."""
        model = np.where(np.isfinite(scores), scores, _BEYOND) + _LINE_WEIGHT * np.log(lines)
        model += self.bias + math.log1p(-_PRIOR)
        return np.logaddexp(model, prior + math.log(_PRIOR))


class _Order:
    """The candidates of one unit, best first.

    What is known to be best is refined, slot by slot, until it is complete. What the model writes comes from its own search; an
    operator's edit that this has not met is less likely than whatever it has, so operators are not asked before their turn: one
    of three hundred leaves has eighty thousand edits, most of which nobody waits for.
    """

    def __init__(self, stream: ModelStream) -> None:
        self.stream, self.analysis, self.predictor = stream, stream.analysis, stream.predictor
        self.unit = stream.unit
        self.suspicion = np.array(
            [self.unit.suspicion(at) for at in range(len(self.unit.texts) + 1)]
        )
        self.places = self.suspicion * self._line_weights()
        self.keys: list[Key] = []
        self.number_of: dict[Key, int] = {}
        self.origin: list[tuple[str, int]] = []
        self.prior = np.empty(0)
        self.targets: dict[int, Target | None] = {}
        self.scored: dict[int, tuple[int, float]] = {}  # slots counted, log-probability
        self.told: dict[int, float] = {}  # what the model's own search makes of an edit
        self.given: set[int] = set()
        self.unread: list[tuple[float, list[int]]] = []  # spans and their edits, the likeliest last
        # -score, the slots it counts (or _COMPLETE), edit
        self.heap: list[tuple[float, int, int]] = []
        self.stages = list(_STAGES)
        self.rounds = itertools.islice(self.predictor.proposals(self.analysis), MODEL_ROUNDS)
        self.round = 0
        self.coming, _ = next(self.rounds, _NOTHING)
        self.frontier = self.coming  # nats: the best that this search has not met

    def __iter__(self) -> Iterator[Candidate | float]:
        while True:
            top = -self.heap[0][0] if self.heap else -math.inf
            unread = self.unread[-1][0] if self.unread else -math.inf
            own = self._by_model(self.coming)
            writes = own > -math.inf and own >= top
            stage = self._bound_of_stage() if self.stages else -math.inf
            yield max(top, unread, own, stage)
            if self.unread and unread >= top:
                self._read_spans()
            elif writes and not (self.stages and self.round >= _ROUNDS_AHEAD[self.stages[0]]):
                self._write()
            elif self.stages and stage >= top:
                self._enumerate()
            elif writes:
                self._write()
            elif not self.heap:
                return
            elif self.heap[0][1] == _COMPLETE:
                negative, _, index = heapq.heappop(self.heap)
                if index in self.given:
                    continue
                self.given.add(index)
                found = self.unit.candidate(self.keys[index], *self.origin[index], -negative)
                self._repeat(index, -negative)
                if valid(found):
                    yield found
            else:
                self._refine()

    def _repeat(self, index: int, score: float) -> None:
        """The same edit at all places that look alike waits for its turn."""
        change = twin(self.unit.texts, *self.keys[index])
        key = None if change is None else self.unit.canonical(*change)
        if key is None or key in self.number_of:
            return
        self.number_of[key] = number = len(self.keys)
        self.keys.append(key)
        self.origin.append(("repeated", 0))
        self._grow()
        heapq.heappush(self.heap, (_TWIN - score, _COMPLETE, number))

    def _by_model(self, log_probability: float) -> float:
        """The best score of an edit of which only the model's probability is known."""
        return self.stream.bias + log_probability + math.log1p(-_PRIOR)

    def _bound_of_stage(self) -> float:
        """About what no edit of the next stage exceeds, before they are enumerated."""
        # of the later tiers each operator has several edits a leaf, in short units some fewer
        leaves = len(self.unit.texts)
        several = leaves if leaves >= _SHORT else leaves // 10
        few = 1 if self.stages[0] == _STAGES[0] else max(1, several)
        prior = math.log(_PRIOR * _LIKELIEST / few)
        return float(np.logaddexp(self._by_model(self.frontier), prior + self.stream.share))

    def _enumerate(self) -> None:
        """The edits of the next tiers; their spans wait to be read."""
        first = len(self.keys)
        fresh: list[int] = []
        operators: list[str] = []
        for key, operator, tier in self.unit.enumerated(self.stages.pop(0)):
            index = self.number_of.setdefault(key, len(self.keys))
            if index == len(self.keys):
                self.keys.append(key)
                self.origin.append((operator, tier))
            elif index in self.given:
                continue
            else:
                self.origin[index] = operator, tier
            fresh.append(index)
            operators.append(operator)
        self._grow()
        if fresh:
            self.prior[fresh] = self.stream._prior(
                self.places[[self.keys[i][0] for i in fresh]], operators
            )
            met = [index for index in fresh if index < first]
            self._push(met, [self.told.get(index, -math.inf) for index in met])
            waiting = self._places([index for index in fresh if index >= first])
            self.unread = sorted([*self.unread, *waiting])

    def _write(self) -> None:
        """Another round of what the model writes itself."""
        self.round += 1
        self.coming, proposals = next(self.rounds, _NOTHING)
        if self.coming > -math.inf:
            self.frontier = self.coming
        better: dict[int, float] = {}
        for proposal in proposals:
            key = self.unit.canonical(proposal.start, proposal.end, proposal.tokens)
            if key is None:
                continue
            index = self.number_of.setdefault(key, len(self.keys))
            if index == len(self.keys):
                self.keys.append(key)
                self.origin.append(("model", 0))
            # An edit can be written in several ways, of which operators know one: the likeliest counts.
            if proposal.log_probability > self.told.get(index, -math.inf):
                self.told[index] = better[index] = proposal.log_probability
        self._grow()
        some = [index for index in better if index not in self.given]
        self._push(some, [better[index] for index in some])

    def _grow(self) -> None:
        """What only the network writes has no prior."""
        more = len(self.keys) - len(self.prior)
        self.prior = np.append(self.prior, np.full(more, -np.inf))

    def _line_weights(self) -> Any:
        """For every leaf, how much likelier than others the model deems its line: also for edits that it cannot write."""
        start, suspect = self.analysis.start[self.analysis.first :], self.stream.suspect
        mass = np.exp(start[: len(self.suspicion)])
        lines = [suspect.line_of(suspect.start + at) for at in range(len(mass))]
        _, of = np.unique(lines, return_inverse=True)
        by_line = np.bincount(of, mass)
        share = np.full(len(self.suspicion), _ANYWHERE)
        share[: len(mass)] += (by_line * len(by_line) / max(by_line.sum(), 1e-9))[of]
        return share

    def _lines(self, indices: Sequence[int]) -> Any:
        return self.suspicion[[self.keys[index][0] for index in indices]]

    def _push(self, indices: Sequence[int], scores: Sequence[float]) -> None:
        """Edits whose probability by the model is known to the end."""
        if indices:
            mixed = self.stream._mixed(np.array(scores), self._lines(indices), self.prior[indices])
            for index, value in zip(indices, mixed.tolist(), strict=True):
                heapq.heappush(self.heap, (-value, _COMPLETE, index))

    def _places(self, indices: Sequence[int]) -> list[tuple[float, list[int]]]:
        """(bound, edits) of the spans that edits replace.

        What an edit writes makes it less likely, never more: none is scored before its span is due.
        """
        if not indices:
            return []
        heads = [self.keys[index][:2] for index in indices]
        start, end = np.array(heads).T
        length = np.minimum(end - start, MAX_SPAN)
        at = start + self.analysis.first
        bounds = self.analysis.start[at] + self.analysis.length[at, length]
        bounds = np.where(end - start <= MAX_SPAN, bounds, -np.inf)
        mixed = self.stream._mixed(bounds, self._lines(indices), self.prior[indices]).tolist()
        best: dict[tuple[int, int], float] = {}
        spans: dict[tuple[int, int], list[int]] = {}
        for head, index, value in zip(heads, indices, mixed, strict=True):
            spans.setdefault(head, []).append(index)
            best[head] = max(value, best.get(head, value))
        return [(best[head], edits) for head, edits in spans.items()]

    def _read_spans(self) -> None:
        """Score the first slot of the edits of the likeliest spans."""
        some: list[int] = []
        for _ in range(min(_SPANS, len(self.unread))):
            some += self.unread.pop()[1]
            if len(some) > _READ:
                break
        found = self.predictor.targets(self.analysis, [self.keys[i] for i in some])
        self.targets.update(zip(some, found, strict=True))
        self._score(some, [_DEPTHS[0]] * len(some))

    def _refine(self) -> None:
        """Score more slots of the best, which are not complete."""
        batch = _BATCH if len(self.given) >= _FIRST_BATCH else _FIRST_BATCH
        best = [heapq.heappop(self.heap) for _ in range(min(batch, len(self.heap)))]
        for entry in best:
            if entry[1] == _COMPLETE:
                heapq.heappush(self.heap, entry)
        deeper = [(index, _DEEPER[have]) for _, have, index in best if have != _COMPLETE]
        self._score([index for index, _ in deeper], [depth for _, depth in deeper])

    def _score(self, indices: Sequence[int], depths: Sequence[int]) -> None:
        some = [self.targets[index] for index in indices]
        known = [self.scored.get(index, (0, 0.0)) for index in indices]
        found = self.predictor.score_targets(self.analysis, some, depths, known)
        self.scored.update(zip(indices, zip(depths, found.tolist(), strict=True), strict=True))
        found = np.maximum(found, [self.told.get(index, -np.inf) for index in indices])
        prior = self.prior[indices]
        mixed = self.stream._mixed(found, self._lines(indices), prior).tolist()
        alone = (prior + math.log(_PRIOR)).tolist()  # what the prior alone gives
        for index, target, depth, value, least in zip(indices, some, depths, mixed, alone, strict=True):  # fmt: skip
            whole = target is None or len(target.piece) <= depth
            done = whole or value - least < _SETTLED
            heapq.heappush(self.heap, (-value, _COMPLETE if done else depth, index))


def twin(texts: Sequence[str], start: int, end: int, tokens: Sequence[str]) -> Key | None:
    """An edit made at every place like its own, as one edit; None without two or three such places.

    Alike are the leaves that it replaces and those on either side; else, if it replaces any, what it replaces.
    """
    size = end - start
    same = [
        at for at in range(1, len(texts) - size + 1) if texts[at : at + size] == texts[start:end]
    ]
    around = texts[start - 1 : start], texts[end : end + 1]
    beside = [at for at in same if (texts[at - 1 : at], texts[at + size : at + size + 1]) == around]
    for places in (beside, same if size else []):
        apart = all(second - first >= max(1, size) for first, second in pairwise(places))
        if start in places and 2 <= len(places) <= _ALIKE and apart:
            out = list(tokens)
            for first, second in pairwise(places):
                out += [*texts[first + size : second], *tokens]
            return places[0], places[-1] + size, tuple(out)
    return None


class Stream(Protocol):
    """Candidates, best first, as `merged` takes them."""

    @property
    def bound(self) -> float:
        """What no candidate's score exceeds, known before they are enumerated."""
        ...

    def steps(self) -> Iterator[Candidate | float]:
        """Candidates, and between them, after each piece of work, what the next one's score will hardly exceed."""
        ...


def merged(
    streams: Sequence[Stream], unread: Iterable[tuple[float, Callable[[], ModelStream]]] = ()
) -> Iterator[Candidate]:  # fmt: skip
    """All streams in one order, likeliest first, made in a thread ahead of who asks.

    A stream is not begun before its best possible candidate is due.
    unread: (bias, what reads it) of further units, the most suspect first; each is read when an edit of it may be due, which is
    _UNREAD nats below its bias.
    """
    return ahead(_merged(streams, iter(unread)), _AHEAD)


def _merged(
    streams: Sequence[Stream], unread: Iterator[tuple[float, Callable[[], ModelStream]]]
) -> Iterator[Candidate]:  # fmt: skip
    # A stream works on its next candidate only while nothing better is ready elsewhere: most of those begun never get far.
    numbers = itertools.count()
    heap: list[tuple[float, int, Candidate | None, Iterator[Candidate | float]]] = [
        (-stream.bound, next(numbers), None, stream.steps()) for stream in streams
    ]
    heapq.heapify(heap)
    following = next(unread, None)
    while heap or following is not None:
        if following is not None:
            bias, read = following
            if not heap or bias + _UNREAD >= -heap[0][0]:
                stream = read()
                heapq.heappush(heap, (-stream.bound, next(numbers), None, stream.steps()))
                following = next(unread, None)
                continue
        _, _, candidate, rest = heapq.heappop(heap)
        if candidate is not None:
            yield candidate
        coming = next(rest, None)
        if isinstance(coming, Candidate):
            heapq.heappush(heap, (-coming.score, next(numbers), coming, rest))
        elif coming is not None:
            heapq.heappush(heap, (-coming, next(numbers), None, rest))
