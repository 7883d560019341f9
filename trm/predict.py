"""The agent's door to the model: a unit in, a distribution over edits out.

One forward pass of the recursion serves everything that is asked about a unit: where to look (start mass), what the
model would write (best-first decoding of its content slots), and how likely any edit that an operator suggests is.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from platformdirs import user_cache_path

from trm.checkpoint import load_vocab, load_weights, shipped
from trm.config import HALT, MAX_CONTENT, MAX_SPAN, ModelConfig
from trm.encode import LENGTHS, PIECES, Encoded, Target, padded_length, target_of
from trm.model import (
    Slots,
    content_logits,
    halt_logit,
    init_params,
    length_logits,
    start_logits,
    supervision_steps,  # fmt: skip
)
from trm.vocab import CLS, END

_CHUNK = 512  # content slots a call of the decoder
_PAIRS = 1024  # tokens a call that looks their probabilities up
_LOWEST = -1e9


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit of the unit's leaves: replace [start, end) by tokens; log-probability in nats."""

    start: int
    end: int
    tokens: tuple[str, ...]
    log_probability: float


@dataclass(frozen=True)
class Step:
    """What one supervision step ended with.

    start: (code + 2,) probabilities, 0 is NO_BUG and code + 1 the end; bits: signs of z over positions and pooled
    width, (positions, 16); halt: probability that the answer is right; best: the greedy edit, None for NO_BUG.
    """

    start: np.ndarray
    bits: np.ndarray
    halt: float
    best: Proposal | None


@dataclass(frozen=True)
class Analysis:
    """A unit after the recursion: its steps, and what scoring needs."""

    encoded: Encoded
    steps: tuple[Step, ...]
    start: np.ndarray  # (positions,) log-probabilities after the last step
    length: np.ndarray  # (positions, MAX_SPAN + 1) log-probabilities
    y: jax.Array  # (1, padded, width)
    mask: jax.Array  # (1, padded)
    text: np.ndarray  # (padded,)

    @property
    def leaf_mass(self) -> np.ndarray:
        """(code,) start probabilities of the code leaves."""
        return np.exp(self.start[1 : self.encoded.code + 1])


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


@functools.partial(jax.jit, static_argnums=1)
def _recurse(params, config: ModelConfig, batch, noise):
    """Start and length log-probabilities, halting probability, bits and y of every step."""
    out = []
    positions = jnp.arange(batch["mask"].shape[1])[None]
    for state in supervision_steps(params, config, batch, noise):
        start = jax.nn.log_softmax(start_logits(params, config, state.y, batch), axis=-1)
        length = jax.nn.log_softmax(
            length_logits(params, config, state.y, batch["code"], positions), axis=-1
        )
        b, l, d = state.z.shape
        bits = state.z.reshape(b, l, 16, d // 16).sum(-1) >= 0
        out.append((start, length, jax.nn.sigmoid(halt_logit(params, state.y)), bits, state.y))
    return out


@functools.partial(jax.jit, static_argnums=1)
def _decode(params, config: ModelConfig, y, mask, slots: Slots):
    """Joint log-probabilities over vocabulary (q, vocab) and positions (q, l)."""
    words, copies = content_logits(params, config, y, slots, mask)
    total = jnp.logaddexp(jax.nn.logsumexp(words, -1), jax.nn.logsumexp(copies, -1))[..., None]
    return (words - total)[0], (copies - total)[0]


@jax.jit
def _gather(words, copies, text, rows, pieces, texts):
    """(p,) log-probabilities of tokens given as (row, piece or -1, text id or -1): all ways to write one are summed.

    On the device, since the whole (q, vocab) table is far more than what is asked of it.
    """
    written = jnp.where(pieces >= 0, words[rows, jnp.maximum(pieces, 0)], _LOWEST)
    same = (text[None, :] == texts[:, None]) & (texts >= 0)[:, None]
    copied = jax.nn.logsumexp(jnp.where(same, copies[rows], _LOWEST), axis=-1)
    return jnp.logaddexp(written, copied)


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
        import dataclasses

        # compiled once a machine and version: a second start reads it back
        jax.config.update("jax_compilation_cache_dir", str(user_cache_path("trm-agent") / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        folder = Path(checkpoint) if checkpoint else shipped()
        params, config, self.card = load_weights(folder)
        self.vocab = load_vocab(folder, config)
        self.config = config.model
        if steps:
            self.config = dataclasses.replace(self.config, steps=steps)
        if untrained:
            params = init_params(self.config, seed)
        self.params = jax.tree.map(jnp.asarray, params)

    def warm(self, lengths: Sequence[int] = LENGTHS[:3]) -> None:
        """Compile for the given padded lengths, so that the first real unit does not wait."""
        for length in lengths:
            size = length - 4
            empty = np.zeros(size, np.int16)
            encoded = Encoded(np.zeros((size, PIECES), np.uint16), empty.astype(np.uint8), empty.astype(np.uint16),
                              empty, empty, np.zeros((size, 9), np.uint8), empty - 1, empty - 1, size - 2, ("", "x"))  # fmt: skip
            self.score(self.analyse(encoded), [(0, 1, ("x",))])

    def analyse(self, encoded: Encoded, noise: np.ndarray | None = None) -> Analysis:
        """Run the recursion on one unit, to its last step or to the first whose halting probability reaches HALT.

        noise: (steps, 1, padded, width) added to z before each step. Raises ValueError beyond the longest bucket.
        """
        length = padded_length(encoded.length)
        if length is None:
            raise ValueError(f"{encoded.length} positions are more than {LENGTHS[-1]}")
        batch = {key: jnp.asarray(value) for key, value in _pad(encoded, length).items()}
        out = _recurse(self.params, self.config, batch, noise)
        text = np.asarray(batch["text"])[0]
        size = encoded.length
        steps = []
        analysis: Analysis | None = None
        for start, span, halt, bits, y in out:
            start, span = np.asarray(start)[0], np.asarray(span)[0]
            analysis = Analysis(encoded, (), start[:size], span[:size], y, batch["mask"], text)
            steps.append(
                Step(
                    np.exp(start[: encoded.code + 2]),
                    np.asarray(bits)[0, :size],
                    float(np.asarray(halt)[0]),
                    self._greedy(analysis),
                )
            )
            if steps[-1].halt >= HALT:
                break
        assert analysis is not None
        return Analysis(
            encoded, tuple(steps), analysis.start, analysis.length, analysis.y, analysis.mask, text
        )

    def _greedy(self, analysis: Analysis) -> Proposal | None:
        if int(analysis.start.argmax()) == 0:
            return None
        found = self.propose(analysis, limit=1, rounds=5, places=3, width=6)
        return found[0] if found else None

    def score(
        self, analysis: Analysis, edits: Sequence[tuple[int, int, tuple[str, ...]]]
    ) -> np.ndarray:
        """(len(edits),) log-probabilities of (start, end, tokens); -inf for what the heads cannot express."""
        return self._sum(analysis, edits, MAX_CONTENT + 1)

    def bound(
        self, analysis: Analysis, edits: Sequence[tuple[int, int, tuple[str, ...]]]
    ) -> np.ndarray:
        """Upper bounds of `score`, far cheaper: place, length and first slot; one decoder row a place and length."""
        return self._sum(analysis, edits, 1)

    def _sum(
        self,
        analysis: Analysis,
        edits: Sequence[tuple[int, int, tuple[str, ...]]],
        slots: int,
    ) -> np.ndarray:
        """Log-probability of place, length and the first `slots` slots of each edit."""
        scores = np.full(len(edits), -np.inf)
        # an edit's slots are decoded in one go; edits that differ in what they ask last share them
        asking: dict[tuple, list[tuple[int, Target]]] = {}
        for index, (start, end, tokens) in enumerate(edits):
            target = target_of(self.vocab, analysis.encoded, start, end, tokens)
            if target is None:
                continue
            scores[index] = (
                analysis.start[target.start] + analysis.length[target.start, target.length]
            )
            key = target.start, target.length, target.previous[:slots]
            asking.setdefault(key, []).append((index, target))
        text_ids = jnp.asarray(analysis.text)
        for rows, pairs in self._chunks(asking):
            words, copies = self._decoded(analysis, rows)
            for begin in range(0, len(pairs), _PAIRS):
                part = np.array(pairs[begin : begin + _PAIRS], np.int32)
                padded = np.zeros((4, _PAIRS), np.int32)
                padded[:, : len(part)] = part.T
                found = _gather(words, copies, text_ids, *map(jnp.asarray, padded[1:]))
                np.add.at(scores, part[:, 0], np.asarray(found)[: len(part)])
        return scores

    @staticmethod
    def _chunks(asking: Mapping[tuple, list[tuple[int, Target]]]) -> Iterator[tuple[list, list]]:
        """Decoder calls: rows as `_decoded` takes them, and (edit, row, piece, text) of what is asked of them."""
        rows: list[tuple] = []
        pairs: list[tuple[int, int, int, int]] = []
        for number, ((start, length, shown), edits) in enumerate(asking.items()):
            if len(rows) + len(shown) > _CHUNK:
                yield rows, pairs
                rows, pairs = [], []
            for index, target in edits:
                answers = zip(target.piece[: len(shown)], target.text, strict=False)
                pairs += ((index, len(rows) + at, *answer) for at, answer in enumerate(answers))
            rows += ((number, i, start, length, previous) for i, previous in enumerate(shown))
        if rows:
            yield rows, pairs

    def _decoded(self, analysis: Analysis, rows: list) -> tuple[jax.Array, jax.Array]:
        """Decode up to _CHUNK slots given as (edit, index, start, length, previous pieces)."""
        size = next(s for s in (64, 192, _CHUNK) if s >= len(rows))
        table = np.zeros((5, 1, size), np.int32)
        table[0] = -1
        previous = np.zeros((1, size, PIECES), np.int32)
        for i, (edit, index, start, length, pieces) in enumerate(rows):
            table[:4, 0, i] = edit, index, start, length
            previous[0, i, : len(pieces)] = pieces
        return _decode(self.params, self.config, analysis.y, analysis.mask,
                       Slots(*map(jnp.asarray, (*table[:4], previous))))  # fmt: skip

    def propose(
        self,
        analysis: Analysis,
        limit: int = 200,
        *,
        rounds: int = 24,
        places: int = 96,
        width: int = 48,
    ) -> list[Proposal]:
        """The model's own edits, likeliest first: best-first search over places and content slots.

        places: (start, length) pairs to begin with; width: hypotheses expanded a round. Duplicates are merged.
        """
        joint = analysis.start[:, None] + analysis.length
        joint[0] = _LOWEST  # NO_BUG writes nothing
        joint[analysis.encoded.code + 2 :] = _LOWEST
        order = np.argsort(joint, axis=None)[::-1][:places]
        texts = analysis.encoded.texts
        one_hot = np.zeros((len(analysis.text), len(texts)), np.float32)
        one_hot[np.arange(len(analysis.text)), analysis.text] = 1.0
        one_hot[:, 0] = 0.0
        single = {}
        for index, text in enumerate(texts):
            if index:
                spelled = self.vocab.token_pieces(text)
                if len(spelled) == 1:
                    single[spelled[0]] = index
        heap: list[tuple[float, int, int, int, tuple]] = []
        count = 0
        for flat in order:
            start, length = divmod(int(flat), MAX_SPAN + 1)
            heapq.heappush(heap, (-float(joint[start, length]), count, start, length, ()))
            count += 1
        done: dict[tuple, float] = {}
        for _ in range(rounds):
            if not heap:
                break
            kth = sorted(done.values(), reverse=True)[limit - 1] if len(done) >= limit else -np.inf
            batch, slots = [], 0
            while heap and len(batch) < width and slots + len(heap[0][4]) + 1 <= _CHUNK:
                item = heapq.heappop(heap)
                if -item[0] <= kth:
                    heap.clear()
                    break
                batch.append(item)
                slots += len(item[4]) + 1
            if not batch:
                break
            rows, last = [], []
            for edit, (_, _, start, length, content) in enumerate(batch):
                rows.append((edit, 0, start, length, (CLS,)))
                for index, (_, pieces) in enumerate(content):
                    rows.append((edit, index + 1, start, length, pieces))
                last.append(len(rows) - 1)
            words, copies = map(np.asarray, self._decoded(analysis, rows))
            for row, (negative, _, start, length, content) in zip(last, batch, strict=True):
                spread = words[row].copy()
                by_text = np.log(np.exp(copies[row]) @ one_hot + 1e-30)
                for piece, index in single.items():
                    by_text[index] = np.logaddexp(by_text[index], spread[piece])
                    spread[piece] = _LOWEST
                ended = -negative + spread[END]
                if content or length:
                    key = (start, length, self._texts(content))
                    if None not in key[2]:
                        done[key] = max(done.get(key, -np.inf), ended)
                spread[: CLS + 3] = _LOWEST  # PAD, CLS, SEP, END
                if len(content) >= MAX_CONTENT - 1:
                    continue
                for index in np.argpartition(by_text, -min(16, len(by_text)))[-16:]:
                    if index and by_text[index] > -14:
                        pieces = self.vocab.token_pieces(texts[index])[:PIECES]
                        item = (texts[index], pieces)
                        count += 1
                        heapq.heappush(heap, (negative - float(by_text[index]), count, start, length,
                                              (*content, item)))  # fmt: skip
                for piece in np.argpartition(spread, -16)[-16:]:
                    if spread[piece] > -14:
                        count += 1
                        heapq.heappush(heap, (negative - float(spread[piece]), count, start, length,
                                              (*content, (int(piece), (int(piece),)))))  # fmt: skip
        ranked = sorted(done.items(), key=lambda entry: -entry[1])
        return [
            Proposal(s - 1, s - 1 + n, tokens, float(value))
            for (s, n, tokens), value in ranked[:limit]
        ]

    def _texts(self, content: tuple) -> tuple[str | None, ...]:
        """Leaf texts of a content: copies as they are, runs of pieces joined; None in it if a run is malformed."""
        out: list[str | None] = []
        run: list[int] = []

        def flush() -> None:
            if run:
                out.append(self.vocab.spell(run) or None)
                run.clear()

        for item, _ in content:
            if isinstance(item, str):
                flush()
                out.append(item)
            else:
                if self.vocab.starts_leaf[item]:
                    flush()
                elif not run:
                    return (None,)
                run.append(item)
        flush()
        return tuple(out)
