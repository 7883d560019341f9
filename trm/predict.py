"""The agent's door to the model: a unit in, a distribution over edits out.

One forward pass of the recursion serves everything that is asked about a unit: where to look (start mass), what the
model would write (best-first decoding of its content slots), and how likely any edit that an operator suggests is.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trm.analysis import Analysis, Proposal, Step
from trm.checkpoint import load_vocab, load_weights, shipped
from trm.compiled import Compiled
from trm.config import HALT, MAX_CONTENT, MAX_SPAN, ModelConfig
from trm.encode import LENGTHS, PIECES, Encoded, Target, padded_length, target_of
from trm.model import (
    Memory,
    Slots,
    State,
    content_logits,
    decoder_memory,
    halt_logit,
    init_params,
    initial_state,
    length_logits,
    start_logits,
    supervision_step,  # fmt: skip
)
from trm.vocab import CLS, END

_WIDTH = 48  # hypotheses that a round of the search expands
_FIRST_WIDTH = 16  # the same in its first rounds: of most units no more is asked
_FIRST_ROUNDS = 4
# Content slots of a call of the decoder and how many of them it is asked for, both padded; one compilation each. What is asked of
# a slot (the memory, the vocabulary) costs four times as much as the slot itself.
_ROUNDS = ((24, _FIRST_WIDTH), (64, _WIDTH), (192, _WIDTH))
_CALLS = ((64, 64), (192, 96), (512, 256))
_SMALL = 8192  # entries of biases and of tables that are added
_PAIRS = 1024  # tokens a call that looks their probabilities up
_LOWEST = -1e9
_BRANCHES = 16  # continuations of a hypothesis, copies and pieces each
_UNLIKELY = -14.0  # nats, of a single continuation


def _pad(encoded: Encoded, length: int) -> dict[str, np.ndarray]:
    def grow(array: np.ndarray, fill: int = 0) -> np.ndarray:
        out = np.full((1, length, *array.shape[1:]), fill, np.int32)
        out[0, : len(array)] = array
        return out

    mask = np.zeros((1, length), bool)
    mask[0, : encoded.length] = True
    return {
        "pieces": grow(encoded.pieces),
        "kind": grow(encoded.kind),
        "role": grow(encoded.role),
        "text": grow(encoded.text),
        "line": grow(encoded.line),
        "last_use": grow(encoded.last_use, -1),
        "last_def": grow(encoded.last_def, -1),
        "features": grow(encoded.features).astype(np.uint8),
        "mask": mask,
        "code": np.array([encoded.code], np.int32),
    }


@Compiled
def _step(params, batch, state: State, number: jax.Array, *, config: ModelConfig):
    """Supervision step `number` from `state`, which is of no matter for 0, the first: (new state, what it says).

    It says start and length log-probabilities, the halting probability and bits of z. Arrays as in `supervision_step`.
    """
    state = jax.tree.map(
        lambda fresh, carried: jnp.where(number == 0, fresh, carried),
        initial_state(config, batch["mask"].shape),
        state,
    )
    state = supervision_step(params, config, batch, state, number)
    positions = jnp.arange(batch["mask"].shape[1])[None]
    start = jax.nn.log_softmax(start_logits(params, config, state.y, batch), axis=-1)
    length = jax.nn.log_softmax(
        length_logits(params, config, state.y, batch["code"], positions), axis=-1
    )
    b, l, d = state.z.shape
    bits = state.z.reshape(b, l, 16, d // 16).sum(-1) >= 0
    return state, (start, length, jax.nn.sigmoid(halt_logit(params, config, state)), bits)


@Compiled
def _memory(params, y, mask, *, config: ModelConfig):
    """What `_decode` reads of y (1, l, width) at the positions of mask (1, l)."""
    return decoder_memory(params, config, y, mask)


@Compiled
def _decode(params, memory: Memory, slots: Slots, asked, *, config: ModelConfig):
    """Joint log-probabilities over vocabulary (n, vocab) and positions (n, l) of the slots `asked` (n,)."""
    words, copies = content_logits(params, config, memory, slots, asked[None])
    total = jnp.logaddexp(jax.nn.logsumexp(words, -1), jax.nn.logsumexp(copies, -1))[..., None]
    return (words - total)[0], (copies - total)[0]


@Compiled
def _gather(words, copies, text, rows, pieces, texts):
    """(p,) log-probabilities of tokens given as (row, piece or -1, text id or -1): all ways to write one are summed.

    On the device, since the whole (q, vocab) table is far more than what is asked of it.
    """
    written = jnp.where(pieces >= 0, words[rows, jnp.maximum(pieces, 0)], _LOWEST)
    same = (text[None, :] == texts[:, None]) & (texts >= 0)[:, None]
    copied = jax.nn.logsumexp(jnp.where(same, copies[rows], _LOWEST), axis=-1)
    return jnp.logaddexp(written, copied)


def _as_multiplied(params: Any, config: ModelConfig) -> Any:
    """The kernels and tables as products take them, else each call would make them anew; files hold no more either."""
    small = _SMALL if config.matmul == "bf16" else math.inf
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.size > small else x, params)


def _likeliest(table: np.ndarray) -> list[list[tuple[int, float]]]:
    """(column, value) of the _BRANCHES largest of each row that are not unlikely, the largest last."""
    most = min(_BRANCHES, table.shape[1])
    columns = np.argpartition(table, -most, axis=1)[:, -most:]
    values = np.take_along_axis(table, columns, axis=1)
    order = values.argsort(axis=1)
    columns, values = (np.take_along_axis(part, order, axis=1) for part in (columns, values))
    below = (values <= _UNLIKELY).sum(axis=1).tolist()
    rows = zip(columns.tolist(), values.tolist(), below, strict=True)
    return [list(zip(row[first:], likely[first:], strict=True)) for row, likely, first in rows]


class Predictor:
    """Weights, vocabulary and compiled functions. `steps` overrides the number of supervision steps.

    checkpoint: a folder (default: the shipped weights); untrained: the same architecture and vocabulary with random
    parameters, the control of every claim about training.

    Raises CheckpointError for a folder that is not a checkpoint of ours.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        untrained: bool = False,
        seed: int = 0,
        steps: int | None = None,
    ) -> None:
        folder = Path(checkpoint) if checkpoint else shipped()
        params, config, self.card = load_weights(folder)
        self.vocab = load_vocab(folder, config)
        self.config = config.model
        if steps:
            self.config = dataclasses.replace(self.config, steps=steps)
        if untrained:
            params = init_params(self.config, seed)
        self.params = jax.device_put(_as_multiplied(params, self.config))
        self._pieces = [(piece, (piece,)) for piece in range(self.config.vocab)]

    def warm(self, lengths: Sequence[int] = (128,)) -> Iterator[None]:
        """Load or compile what units of these padded lengths (most have 128) need, step by step."""
        ready: list[Analysis] = []
        for length in lengths:
            size = length - 4
            empty = np.zeros(size, np.int16)
            encoded = Encoded(np.zeros((size, PIECES), np.uint16), empty.astype(np.uint8), empty.astype(np.uint16),
                              empty, empty, np.zeros((size, 9), np.uint8), empty - 1, empty - 1, size - 2, ("", "x"))  # fmt: skip
            ready += (analysis for analysis, _, _ in self._recursion(encoded))
            yield
        for calls in (_ROUNDS, _CALLS):
            for size, asked in calls:
                rows = [(number, 0, 1, 1, (CLS,)) for number in range(size)]
                self._decoded(ready[-1], rows, range(asked), calls)
                yield
        for _, asked in _CALLS:
            places = (divmod(number, 40) for number in range(asked // 2))  # two slots each
            self.score(ready[-1], [(at, at + 1 + more, ("x",)) for more, at in places])
            yield

    def analyse(self, encoded: Encoded, *, greedy: bool = True) -> Analysis:
        """Run the recursion on one unit, to its last step or to the first whose halting probability reaches HALT.

        greedy: whether the steps shall tell their greedy edit, which costs as much as the recursion.
        Raises ValueError beyond the longest bucket.
        """
        steps: list[Step] = []
        analysis = None
        for analysis, bits, halt in self._recursion(encoded):
            best = self._greedy(analysis) if greedy else None
            steps.append(Step(np.exp(analysis.start[: encoded.code + 2]), bits, halt, best))
            if halt >= HALT:
                break
        assert analysis is not None
        return dataclasses.replace(analysis, steps=tuple(steps))

    def _recursion(self, encoded: Encoded) -> Iterator[tuple[Analysis, np.ndarray, float]]:
        """After each supervision step: what scoring needs, the bits of z, the halting probability."""
        length = padded_length(encoded.length)
        if length is None:
            raise ValueError(f"{encoded.length} positions are more than {LENGTHS[-1]}")
        batch = _pad(encoded, length)
        size, width = encoded.length, self.config.width
        mask, text = np.zeros((1, LENGTHS[-1]), bool), np.zeros(LENGTHS[-1], np.int32)
        mask[:, :length], text[:length] = batch["mask"], batch["text"][0]
        zeros: Any = np.zeros((2, 1, length, width), np.float32)
        state = State(*zeros)
        for number in range(self.config.steps):
            before = state
            state, said = _step(self.params, batch, state, np.int32(number), config=self.config)
            ends = self.config.gate != "all" and not self.config.noise
            if ends and number and np.array_equal(before.z, state.z):
                return  # the step was not taken, nor would any other be
            start, span, halt, bits = map(np.asarray, said)
            # one length for the decoder, so that it is compiled once
            y = np.zeros((1, LENGTHS[-1], width), np.float32)
            y[:, :length] = state.y
            memory = _memory(self.params, y, mask, config=self.config)
            analysis = Analysis(encoded, (), start[0, :size], span[0, :size], memory, text)
            yield analysis, bits[0, :size], float(halt[0])

    def _greedy(self, analysis: Analysis) -> Proposal | None:
        if int(analysis.start.argmax()) == 0:
            return None
        found = self.propose(analysis, limit=1, rounds=5, places=3, width=6)
        return found[0] if found else None

    def score(
        self,
        analysis: Analysis,
        edits: Sequence[tuple[int, int, tuple[str, ...]]],
        slots: int = MAX_CONTENT + 1,
    ) -> np.ndarray:
        """`score_targets` of edits given as (start, end, tokens)."""
        return self.score_targets(analysis, self.targets(analysis, edits), [slots] * len(edits))

    def targets(
        self, analysis: Analysis, edits: Sequence[tuple[int, int, tuple[str, ...]]]
    ) -> list[Target | None]:
        """Edits (start, end, tokens) as the heads see them; None for what they cannot express."""
        return [target_of(self.vocab, analysis.encoded, *edit) for edit in edits]

    def score_targets(
        self, analysis: Analysis, targets: Sequence[Target | None], slots: Sequence[int],
        known: Sequence[tuple[int, float]] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """(len(targets),) log-probabilities; -inf for None.

        slots: how many content slots of each are counted. With fewer than an edit has, its figure is an upper bound, and cheaper:
        edits that begin alike share what is computed. known: slots that were counted before and what came out, for each.
        """
        scores = np.full(len(targets), -np.inf)
        # an edit's slots are decoded in one go; edits that differ in what they ask last share them
        asking: dict[tuple, list[tuple[int, Target]]] = {}
        for index, (target, depth) in enumerate(zip(targets, slots, strict=True)):
            if target is None:
                continue
            counted, scores[index] = known[index] if known else (0, 0.0)
            if not counted:
                scores[index] = (
                    analysis.start[target.start] + analysis.length[target.start, target.length]
                )
            key = counted, target.start, target.length, target.previous[:depth]
            asking.setdefault(key, []).append((index, target))
        for rows, asked, pairs in self._chunks(asking):
            words, copies = self._decoded(analysis, rows, asked, _CALLS)
            for begin in range(0, len(pairs), _PAIRS):
                part = np.array(pairs[begin : begin + _PAIRS], np.int32)
                padded = np.zeros((4, _PAIRS), np.int32)
                padded[:, : len(part)] = part.T
                found = _gather(words, copies, analysis.text, *padded[1:])
                np.add.at(scores, part[:, 0], np.asarray(found)[: len(part)])
        return scores

    @staticmethod
    def _chunks(
        asking: Mapping[tuple, list[tuple[int, Target]]],
    ) -> Iterator[tuple[list, list, list]]:
        """Decoder calls: rows and asked as `_decoded` takes them, and (edit, asked, piece, text) of what is looked up there."""
        most_rows, most_asked = _CALLS[-1]
        rows: list[tuple] = []
        asked: list[int] = []
        pairs: list[tuple[int, int, int, int]] = []
        for number, ((counted, start, length, shown), edits) in enumerate(asking.items()):
            fresh = range(counted, len(shown))
            if len(rows) + len(shown) > most_rows or len(asked) + len(fresh) > most_asked:
                yield rows, asked, pairs
                rows, asked, pairs = [], [], []
            first = len(asked) - counted
            for index, target in edits:
                pairs += ((index, first + at, target.piece[at], target.text[at]) for at in fresh)
            asked += (len(rows) + at for at in fresh)
            rows += ((number, i, start, length, previous) for i, previous in enumerate(shown))
        if asked:
            yield rows, asked, pairs

    def _decoded(
        self, analysis: Analysis, rows: Sequence, asked: Sequence[int], calls: Sequence[tuple[int, int]]
    ) -> tuple[jax.Array, jax.Array]:  # fmt: skip
        """Decode slots given as (edit, index, start, length, previous pieces); first come those that are `asked` for.

        calls: the numbers of both that there are executables for, the last enough for these.
        """
        size, most = next(c for c in calls if c[0] >= len(rows) and c[1] >= len(asked))
        padded = np.zeros(most, np.int32)
        padded[: len(asked)] = asked
        slots = self._slots(rows, size)
        return _decode(self.params, analysis.memory, slots, padded, config=self.config)

    @staticmethod
    def _slots(rows: Sequence, size: int) -> Slots:
        table = np.zeros((4, 1, size), np.int32)
        table[0] = -1
        previous = np.zeros((1, size, PIECES), np.int32)
        for i, (edit, index, start, length, pieces) in enumerate(rows):
            table[:, 0, i] = edit, index, start, length
            previous[0, i, : len(pieces)] = pieces
        slots: Any = (*table, previous)
        return Slots(*slots)

    def propose(
        self,
        analysis: Analysis,
        limit: int = 200,
        *,
        rounds: int = 24,
        places: int = 96,
        width: int = _WIDTH,
    ) -> list[Proposal]:
        """The model's own edits, likeliest first: at most `rounds` of `proposals`. Duplicates are merged."""
        done: dict[tuple, float] = {}
        for number, (bound, found) in enumerate(
            self.proposals(analysis, places=places, width=width)
        ):
            for proposal in found:
                key = proposal.start, proposal.end, proposal.tokens
                done[key] = max(done.get(key, -np.inf), proposal.log_probability)
            if number == rounds:
                break
            if len(done) >= limit and sorted(done.values(), reverse=True)[limit - 1] >= bound:
                break
        ranked = sorted(done.items(), key=lambda entry: -entry[1])
        return [
            Proposal(start, end, tokens, value) for (start, end, tokens), value in ranked[:limit]
        ]

    def proposals(
        self, analysis: Analysis, *, places: int = 96, width: int = _WIDTH
    ) -> Iterator[tuple[float, list[Proposal]]]:
        """Best-first search for the model's own edits, round by round: (bound of what is to come, edits found).

        places: (start, length) pairs to begin with; width: hypotheses expanded a round, at most _WIDTH. The first item comes
        before any work. An edit may be found once more, written in another way.
        """
        joint = analysis.start[:, None] + analysis.length
        joint[: analysis.first] = _LOWEST  # NO_BUG writes nothing, and a header is only shown
        joint[analysis.encoded.code + 2 :] = _LOWEST
        order = np.argsort(joint, axis=None)[::-1][:places]
        texts = analysis.encoded.texts
        one_hot = np.zeros((len(analysis.text), len(texts)), np.float32)
        one_hot[np.arange(len(analysis.text)), analysis.text] = 1.0
        one_hot[:, 0] = 0.0
        spelled = [self.vocab.token_pieces(text) for text in texts]
        copies_of = [(text, pieces[:PIECES]) for text, pieces in zip(texts, spelled, strict=True)]
        single = {pieces[0]: i for i, pieces in enumerate(spelled) if i and len(pieces) == 1}
        written, copied = list(single), list(single.values())
        # Of the continuations of a hypothesis only the best waits in the heap, with those that are to follow it.
        heap: list[tuple[float, int, int, int, tuple, tuple[float, list, list]]] = []
        numbers, rounds = itertools.count(), itertools.count()

        def push(start: int, length: int, before: tuple, waiting: tuple[float, list, list]) -> None:
            cost, continuations, items = waiting
            column, value = continuations.pop()
            content = *before, items[column]
            entry = cost - value, next(numbers), start, length, content, waiting
            heapq.heappush(heap, entry)

        for flat in order:
            start, length = divmod(int(flat), MAX_SPAN + 1)
            first = -float(joint[start, length]), next(numbers), start, length, (), (0.0, [], [])
            heapq.heappush(heap, first)
        found: list[Proposal] = []
        while heap:
            yield -heap[0][0], found
            found = []
            batch, rows, last = [], [], []
            most = min(width, _FIRST_WIDTH if next(rounds) < _FIRST_ROUNDS else _WIDTH)
            while heap and len(batch) < most and len(rows) + len(heap[0][4]) + 1 <= _ROUNDS[-1][0]:
                cost, _, start, length, content, siblings = heapq.heappop(heap)
                if siblings[1]:
                    push(start, length, content[:-1], siblings)
                rows.append((len(batch), 0, start, length, (CLS,)))
                for index, (_, pieces) in enumerate(content, 1):
                    rows.append((len(batch), index, start, length, pieces))
                last.append(len(rows) - 1)
                batch.append((cost, start, length, content))
            decoded = self._decoded(analysis, rows, last, _ROUNDS)
            words, copies = (np.array(part)[: len(last)] for part in decoded)
            by_text = np.log(np.exp(copies) @ one_hot + 1e-30)
            by_text[:, copied] = np.logaddexp(by_text[:, copied], words[:, written])
            ends = words[:, END].copy()
            words[:, written] = _LOWEST
            words[:, : CLS + 3] = _LOWEST  # PAD, CLS, SEP, END
            words[:, self.vocab.size :] = _LOWEST  # a small corpus fills a part of the table
            likely_texts, likely_pieces = _likeliest(by_text), _likeliest(words)
            for row, (cost, start, length, content) in enumerate(batch):
                if content or length:
                    tokens = self._texts(content)
                    if tokens is not None:
                        log_probability = float(ends[row]) - cost
                        at = start - analysis.first
                        found.append(Proposal(at, at + length, tokens, log_probability))
                if len(content) >= MAX_CONTENT - 1:
                    continue
                for continuations, items in (
                    (likely_texts[row], copies_of),
                    (likely_pieces[row], self._pieces),
                ):
                    if continuations:
                        push(start, length, content, (cost, continuations, items))
        yield -np.inf, found

    def _texts(self, content: tuple) -> tuple[str, ...] | None:
        """Leaf texts of a content: copies as they are, runs of pieces joined; None if a run is malformed."""
        out: list[str] = []
        run: list[int] = []
        for item, _ in content:
            if not isinstance(item, str) and not self.vocab.starts_leaf[item]:
                if not run:
                    return None
                run.append(item)
                continue
            if run:
                out.append(self.vocab.spell(run))
            run = [] if isinstance(item, str) else [item]
            if isinstance(item, str):
                out.append(item)
        if run:
            out.append(self.vocab.spell(run))
        return tuple(out) if all(out) else None
