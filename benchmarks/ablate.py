"""What the network uses and what ensembles buy: ablations at inference, and other recursions, over held-out shards.

    python benchmarks/ablate.py --data CORPUS [--data MUTANTS/shards] [--checkpoint D] [--second D] [--only GROUP] [--json FILE]

Every `eval-*` shard of each folder is measured. An input is left out as `trm.encode` leaves out what is not there; where
the encoder always writes it, its ids are "unknown", or the learned weight of the relation is zero. The weights were
trained with every input, so a row says what they rely on; a network trained without the input would lose less. An
ensemble is the mean of its members' log-probabilities, a distribution (start, length, slot) at a time, normalized again;
its first member is the plain pass.

A cell holds the figure and the 95 % interval of its difference to the plain pass, bold where 0 is outside: a paired
bootstrap over functions, since a shard may hold many bugs of one. changed: examples whose log-probability is another. ms:
CPU time of a unit in batches of 4,096 positions, without compilation and reading.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trm.checkpoint import VOCAB, CheckpointError, load_vocab, load_weights, shipped
from trm.config import MAX_CONTENT, ModelConfig
from trm.data.pipeline import Shard, ShardWriter
from trm.encode import (
    COVER_FAIL,
    DEPTH,
    FRAME,
    PIECES,
    SEGMENT,
    SEGMENTS,
    SUSPICION,
    VALUE_MATCH,
    VALUE_TYPE,
    Encoded,
    Target,
)
from trm.evaluate import Answer, Answers, answer, figures, judged, normalized, states
from trm.model import Batch
from trm.vocab import Vocab

NOISE = 0.5  # standard deviation; the entries of z have 1
DROPPED = 0.2  # share of the positions whose execution features are dropped
RESAMPLES = 4000
GROUPS = ("without", "recursion", "ensemble")
ARRAYS = ("pieces", "kind", "role", "text", "line", "features", "last_use", "last_def")
FAILURE = ("test", "actual", "expected", "exception")
Example = tuple[Encoded, Target]


def examples(shard: Shard) -> Iterator[Example]:
    """The shard's examples, which have one bug each, without their texts."""
    for at, size, code, bug, _, first, slots, _ in shard.table:
        rows = np.array(shard.ints[at : at + size])
        columns = rows[:, PIECES:].T
        kind, role, text, line, last_use, last_def = columns
        features = np.array(shard.features[at : at + size])
        start, length = map(int, shard.bugs[bug])
        content = shard.slots[first : first + slots]
        yield (
            Encoded(rows[:, :PIECES], kind, role, text, line, features, last_use, last_def, int(code)),
            Target(start, length, *(tuple(map(int, content[:, i])) for i in (1, 2)), tuple(map(tuple, content[:, 3:]))),
        )  # fmt: skip


def without_segments(*names: str) -> Callable[[Encoded, Target], Example]:
    """Leave out parts of the context, and spell what the fix copied from there alone, as `target_of` does."""
    left_out = [SEGMENTS.index(name) for name in names]

    def change(encoded: Encoded, target: Target) -> Example:
        keep = ~np.isin(encoded.features[:, SEGMENT], left_out)
        left = replace(encoded, **{name: getattr(encoded, name)[keep] for name in ARRAYS})
        slots: list[tuple[int, int]] = []
        previous = [target.previous[0]]
        followers = (*target.previous[1:], ())  # nothing follows END
        for piece, text, follower in zip(target.piece, target.text, followers, strict=True):
            if text < 0 or text in left.text:
                slots.append((piece, text))
                previous.append(follower)
            elif piece >= 0:
                slots.append((piece, -1))
                previous.append(follower)
            else:
                spelled = encoded.pieces[encoded.text == text][0]
                for index in map(int, spelled[spelled > 0]):
                    slots.append((index, -1))
                    previous.append((index,))
        pieces, texts = zip(*slots[: MAX_CONTENT + 1], strict=True)
        cut = tuple(previous[: len(pieces)])
        return left, Target(target.start, target.length, pieces, texts, cut)

    return change


def without_features(first: int, last: int) -> Callable[[Encoded, Target], Example]:
    """Columns first..last of the features unknown."""

    def change(encoded: Encoded, target: Target) -> Example:
        features = encoded.features.copy()
        features[:, first : last + 1] = 0
        return replace(encoded, features=features), target

    return change


def not_run(encoded: Encoded, target: Target) -> Example:
    """Neither execution nor failure."""
    return without_segments(*FAILURE)(*without_features(COVER_FAIL, DEPTH - 1)(encoded, target))


def filled(value: int, *names: str) -> Callable[[Encoded, Target], Example]:
    """Whole arrays replaced by one value."""

    def change(encoded: Encoded, target: Target) -> Example:
        arrays = {name: np.full_like(getattr(encoded, name), value) for name in names}
        return replace(encoded, **arrays), target

    return change


INPUTS: dict[str, Callable[[Encoded, Target], Example]] = {
    "execution and failure": not_run,
    "execution features": without_features(COVER_FAIL, DEPTH - 1),
    "execution: coverage": without_features(COVER_FAIL, SUSPICION),
    "execution: frames": without_features(FRAME, FRAME),
    "execution: values": without_features(VALUE_TYPE, VALUE_MATCH),
    "failure as text": without_segments(*FAILURE),
    "failure: test": without_segments("test"),
    "failure: actual, expected": without_segments("actual", "expected"),
    "failure: exception": without_segments("exception"),
    "names in reach": without_segments("names"),
    "last use, last definition": filled(-1, "last_use", "last_def"),
    "depth of indentation": without_features(DEPTH, DEPTH),
    "kinds and roles": filled(0, "kind", "role"),
}
RELATIONS = {"same text": 0, "same line": 5, "both in code": 6}  # rows of `relation_bias`


def changed(shard: Shard, change: Callable[[Encoded, Target], Example]) -> Shard | None:
    """The shard with every example changed, None where that changes nothing."""
    writer = ShardWriter()
    for encoded, target in examples(shard):
        other, aim = change(encoded, target)
        writer.add(other, [aim])
    with tempfile.TemporaryDirectory(prefix="trm-ablate-") as folder:
        writer.write(Path(folder) / "eval")
        made = Shard(Path(folder) / "eval")
        same = all(np.array_equal(getattr(made, a), getattr(shard, a)) for a in ("ints", "features"))  # fmt: skip
        return None if same else made  # the arrays stay mapped


@dataclass(frozen=True)
class Weights:
    """Parameters and their recursion."""

    params: Any
    config: ModelConfig

    def __call__(self, batch: Batch, rollout: int = 0) -> Answer:
        """What they say of a batch after the last supervision step."""
        *_, last = states(self.params, self.config, batch, rollout=rollout)
        return answer(self.params, self.config, last, batch)

    def with_config(self, **changes: Any) -> Weights:
        """The same parameters in another recursion."""
        return replace(self, config=dataclasses.replace(self.config, **changes))

    def without_relation(self, row: int) -> Weights:
        """The attention bias of a relation left out."""
        net = self.params["net"]
        relation = net["relation"].at[:, row].set(0.0)
        return replace(self, params={**self.params, "net": {**net, "relation": relation}})

    def with_scores(self, factor: float) -> Weights:
        """Attention scores of the net, without the relations' bias, times `factor`."""
        net = self.params["net"]
        qkv = net["qkv"].at[..., : self.config.width].multiply(factor)
        return replace(self, params={**self.params, "net": {**net, "qkv": qkv}})

    def noisy(self, batch: Batch, key: jax.Array) -> Answer:
        """A rollout with noise in z before every step."""
        return self.with_config(noise=NOISE)(batch, int(jax.random.randint(key, (), 0, 1 << 30)))

    def dropped(self, batch: Batch, key: jax.Array) -> Answer:
        """A rollout that does not see the execution features of some positions."""
        kept = ~jax.random.bernoulli(key, DROPPED, batch["mask"].shape)
        features = batch["features"]
        hidden = features.at[..., COVER_FAIL:DEPTH].multiply(kept[..., None].astype(jnp.uint8))
        return self({**batch, "features": hidden})

    def renamed(self, batch: Batch, key: jax.Array) -> Answer:
        """A pass over the unit with other local names, and its words in the old names."""
        swap = jnp.asarray(renaming({k: np.asarray(v) for k, v in batch.items()}, self.config.vocab, key))  # fmt: skip
        other = dict(batch)
        for name in ("pieces", "slot_previous"):
            leaves = batch[name]
            first = jnp.take_along_axis(swap, leaves[..., 0], 1)
            alone = leaves[..., 1] == 0  # longer spellings are other names
            other[name] = leaves.at[..., 0].set(jnp.where(alone, first, leaves[..., 0]))
        said = self(other)
        return said._replace(words=jnp.take_along_axis(said.words, swap[:, None], 2))


def renaming(batch: Mapping[str, np.ndarray], vocab: int, key: jax.Array) -> np.ndarray:
    """(b, vocab): pieces exchanged in pairs, a local name of the unit for one of another unit of the batch.

    Local names: what a last definition points at, spelled by one piece, and no piece that the fix spells a longer name with. A
    piece that the unit or its fix knows is not taken.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    rows, at = np.nonzero(batch["last_def"] >= 0)
    stores = batch["last_def"][rows, at]
    alone = batch["pieces"][rows, stores, 1] == 0
    first = batch["pieces"][rows, stores, 0]
    pool = np.unique(first[alone])
    swap = np.tile(np.arange(vocab), (len(batch["mask"]), 1))
    for row, perm in enumerate(swap):
        spelled = batch["slot_piece"][row][batch["slot_text"][row] < 0]
        mine = np.setdiff1d(first[alone & (rows == row)], spelled)
        known = np.union1d(batch["pieces"][row], batch["slot_piece"][row])
        fresh = rng.permutation(np.setdiff1d(pool, known))[: len(mine)]
        mine = mine[: len(fresh)]
        perm[mine], perm[fresh] = fresh, mine
    return swap


@jax.jit
def together(answers: Sequence[Answer]) -> Answer:
    """The ensemble."""
    return normalized(jax.tree.map(lambda *parts: sum(parts) / len(parts), *answers))


def ensemble(
    plain: Weights, other: Callable[[Batch, jax.Array], Answer], members: int
) -> Callable[[Batch], Answer]:
    """The plain pass and members - 1 of `other`, each with its own key."""
    keys = jax.random.split(jax.random.key(0), members - 1)
    return lambda batch: together([plain(batch), *(other(batch, key) for key in keys)])


def clusters(shard: Shard) -> np.ndarray:
    """(n,) numbers of functions: neighbours that begin with the same four leaves are bugs of one function."""
    heads = [np.array(shard.ints[at + 1 : at + 5, :PIECES]).tobytes() for at in shard.table[:, 0]]
    return np.cumsum([a != b for a, b in zip(heads, [b"", *heads], strict=False)]) - 1


def columns_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(n,) of each figure that is a mean."""
    return {
        "top1": found["rank"] == 0,
        "top5": found["rank"] < 5,
        "exact": found["exact"],
        "nats": -found["log_probability"],
    }


def intervals(
    found: Mapping[str, np.ndarray], plain: Mapping[str, np.ndarray], groups: np.ndarray
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the mean differences, functions resampled."""
    size = int(groups.max()) + 1
    weights = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    counts = weights @ np.bincount(groups)
    out = {}
    before = columns_of(plain)
    for name, column in columns_of(found).items():
        sums = np.bincount(groups, column.astype(float) - before[name])
        low, high = np.quantile(weights @ sums / counts, (0.025, 0.975))
        out[name] = float(low), float(high)
    return out


def timed(said: Callable[[Batch], Answer], spent: list[float]) -> Answers:
    """`said` for `judged`; adds CPU seconds and examples to `spent`. A shape's first call compiles and is not counted."""
    known: set[tuple[int, ...]] = set()

    def answers(batch: dict[str, jax.Array]) -> Iterator[Answer]:
        if batch["mask"].shape not in known:
            known.add(batch["mask"].shape)
            jax.block_until_ready(said(batch))
        began = time.process_time()
        out = jax.block_until_ready(said(batch))
        spent[0] += time.process_time() - began
        spent[1] += len(batch["mask"])
        yield out

    return answers


def rows(
    shard: Shard, plain: Weights, second: Weights | None, groups: Sequence[str]
) -> Iterator[tuple[str, str, Shard, Callable[[Batch], Answer]]]:
    """What is measured: group, name, shard, answers of a batch. The plain pass comes first."""
    yield "", "plain", shard, plain
    if "without" in groups:
        for name, change in INPUTS.items():
            if (other := changed(shard, change)) is not None:
                yield "without", name, other, plain
        for name, row in RELATIONS.items():
            yield "without", f"relation: {name}", shard, plain.without_relation(row)
        for factor in (0.25, 0.1):
            yield (
                "without",
                f"sharpness: attention scores x {factor}",
                shard,
                plain.with_scores(factor),
            )
        yield "without", "local names (others instead)", shard, lambda batch: plain.renamed(batch, jax.random.key(0))  # fmt: skip
    if "recursion" in groups:
        for steps in (1, 2, 3, 4):
            if steps != plain.config.steps:
                yield "recursion", f"steps = {steps}", shard, plain.with_config(steps=steps)
        for n in (1, 2, 3):
            if n != plain.config.n:
                yield "recursion", f"n = {n}", shard, plain.with_config(n=n)
    if "ensemble" in groups:
        for name, other in (("noise in z", plain.noisy), ("dropped execution features", plain.dropped),
                            ("other local names", plain.renamed)):  # fmt: skip
            for members in (2, 4):
                yield "ensemble", f"{members}, {name}", shard, ensemble(plain, other, members)
        if second is not None:
            yield "ensemble", "1, the second checkpoint alone", shard, second
            both = lambda batch: together([plain(batch), second(batch)])  # noqa: E731
            yield "ensemble", "2, both checkpoints", shard, both


def measure(
    shard: Shard, plain: Weights, second: Weights | None, groups: Sequence[str] = GROUPS
) -> Iterator[dict[str, Any]]:
    """A record a row: group, name, figures, intervals, changed (examples whose log-probability moved), ms."""
    functions = clusters(shard)
    base: dict[str, np.ndarray] | None = None
    for group, name, data, said in rows(shard, plain, second, groups):
        spent = [0.0, 0.0]
        # less input is the same computation
        answers = (lambda batch: [said(batch)]) if group == "without" else timed(said, spent)  # noqa: B023
        [found] = judged(data, answers)
        base = base or found
        moved = np.abs(found["log_probability"] - base["log_probability"]) > 1e-3
        yield {"group": group, "name": name, **figures(found), "functions": int(functions.max()) + 1,
               "changed": int(moved.sum()), "intervals": intervals(found, base, functions),
               "ms": 1e3 * spent[0] / spent[1] if spent[1] else None}  # fmt: skip


def line(record: Mapping[str, Any], plain_ms: float) -> str:
    """A row of the table."""

    def cell(name: str) -> str:
        digits = 2 if name == "nats" else 3
        short = lambda value: f"{value:.{digits}f}".replace("0.", ".", name != "nats")  # noqa: E731
        low, high = record["intervals"][name]
        if not record["group"]:
            return short(record[name])
        text = f"{short(record[name])} [{short(low)}, {short(high)}]"
        return f"**{text}**" if low > 0 or high < 0 else text

    title = f"{record['group']} {record['name']}".strip()
    cells = [cell(name) for name in ("top1", "top5", "exact", "nats")]
    ms = record["ms"]
    cost = f"{ms:.1f} ({ms / plain_ms:.1f}x)" if ms else ""
    return f"| {title} | {record['changed']} | {' | '.join(cells)} | {cost} |"


def load(folder: Path) -> tuple[Weights, Vocab]:
    """Weights and their vocabulary."""
    params, config, _ = load_weights(folder)
    return Weights(jax.tree.map(jnp.asarray, params), config.model), load_vocab(folder, config)


def main() -> int:
    """Command line; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="folder of eval-*"
    )
    parser.add_argument("--checkpoint", type=Path, default=shipped())
    parser.add_argument("--second", type=Path, help="other weights, for an ensemble with these")
    parser.add_argument("--only", choices=GROUPS, action="append", help="groups of rows")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plain, vocab = load(options.checkpoint)
    second = None
    others = [folder / VOCAB for folder in options.data]
    if options.second:
        second, _ = load(options.second)
        others.append(options.second / VOCAB)
    for path in others:
        if not vocab.same(Vocab.load(path)):
            raise CheckpointError(f"{path} is another vocabulary than the weights'")
    records = []
    for path in (path for folder in options.data for path in sorted(folder.glob("eval-?????"))):
        shard, began, plain_ms = Shard(path), time.monotonic(), 0.0
        for record in measure(shard, plain, second, options.only or GROUPS):
            if not plain_ms:
                plain_ms = record["ms"]
                title = f"{path.parent.name}/{path.name}: {len(shard)} bugs of {record['functions']} functions"
                print(
                    f"\n{title}\n\n| | changed | top1 | top5 | exact | nats | ms |\n{'|---' * 7}|"
                )
            print(line(record, plain_ms), flush=True)
            records.append({"shard": str(path), **record})
        print(f"\n{time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
