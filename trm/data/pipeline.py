"""Shards of encoded examples on disk, and plans of batches from them; trm.data.feed reads them in training.

A shard is a folder of flat arrays that are memory-mapped, so host memory stays bounded whatever the corpus:

    ints      (positions, 10) int16: pieces, kind, role, text, line, last_use, last_def
    features  (positions, FEATURES) uint8
    bugs      (bugs, 2) int16: start, length
    slots     (slots, 3 + PIECES) int16: edit, piece, text, previous...
    table     (examples, 8) int64: position, length, code, bug, bugs, slot, slots, operator
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trm.encode import FEATURES, PIECES, Encoded, Target

MAX_BUGS = 4
# Content slots of an example, by padded length. Training pads finer than the predictor: a compilation more a length,
# but a third of the positions would be padding with trm.encode.LENGTHS.
SLOTS = {64: 16, 96: 24, 128: 24, 192: 24, 256: 24, 384: 24, 512: 24}


@dataclass
class ShardWriter:
    """Collects examples in memory and writes one shard atomically (temporary folder, then rename).

    edits: of an example at most; more are left out.
    """

    ints: list[np.ndarray] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    bugs: list[tuple[int, int]] = field(default_factory=list)
    slots: list[tuple[int, ...]] = field(default_factory=list)
    table: list[tuple[int, ...]] = field(default_factory=list)
    positions: int = 0
    edits: int = MAX_BUGS

    def add(self, encoded: Encoded, targets: Sequence[Target], operator: int = 0) -> None:
        """Add one example with its fixes (none: NO_BUG)."""
        first_bug, first_slot = len(self.bugs), len(self.slots)
        for edit, target in enumerate(targets[: self.edits]):
            self.bugs.append((target.start, target.length))
            for piece, text, previous in zip(
                target.piece, target.text, target.previous, strict=True
            ):
                padded = (*previous, *(0,) * (PIECES - len(previous)))
                self.slots.append((edit, piece, text, *padded))
        self.table.append((self.positions, encoded.length, encoded.code, first_bug, len(self.bugs) - first_bug,
                           first_slot, len(self.slots) - first_slot, operator))  # fmt: skip
        columns = (encoded.kind, encoded.role, encoded.text, encoded.line, encoded.last_use,
                   encoded.last_def)  # fmt: skip
        rest = np.stack([column.astype(np.int16) for column in columns], axis=1)
        self.ints.append(np.concatenate([encoded.pieces.astype(np.int16), rest], axis=1))
        self.features.append(encoded.features)
        self.positions += encoded.length

    def write(self, folder: Path) -> None:
        """Write the shard; an existing folder is replaced."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, array in self.arrays().items():
            np.save(partial / f"{name}.npy", array)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a shard, by the names of their files."""
        return {
            "ints": np.concatenate(self.ints),
            "features": np.concatenate(self.features),
            "bugs": np.array(self.bugs or [(0, 0)], np.int16),
            "slots": np.array(self.slots or [(0,) * (3 + PIECES)], np.int16),
            "table": np.array(self.table, np.int64),
        }


class Shard:
    """A shard: memory-mapped, or the arrays of a writer."""

    def __init__(self, source: Path | Mapping[str, np.ndarray]) -> None:
        def load(name: str) -> np.ndarray:
            if isinstance(source, Mapping):
                return source[name]
            return np.load(source / f"{name}.npy", mmap_mode="r")

        self.ints, self.features = load("ints"), load("features")
        self.bugs, self.slots = np.array(load("bugs")), np.array(load("slots"))
        self.table = np.array(load("table"))

    def __len__(self) -> int:
        return len(self.table)

    def collate(
        self, rows: Sequence[int], length: int, edits: int = MAX_BUGS, slots: int | None = None
    ) -> dict[str, np.ndarray]:
        """Pad the examples `rows` to `length` positions. The first axis of every array is len(rows); row -1 is empty.

        edits, slots: second axis of what is told of edits and of content slots; an edit whose slots find no room is left out.
        """
        b, q = len(rows), slots or SLOTS[length]
        ints = np.zeros((b, length, PIECES + 6), np.int32)
        ints[:, :, PIECES + 4 :] = -1
        features = np.zeros((b, length, FEATURES), np.uint8)
        mask = np.zeros((b, length), bool)
        code = np.zeros(b, np.int32)
        bug_start = np.zeros((b, edits), np.int32)
        bug_length = np.zeros((b, edits), np.int32)
        bug_weight = np.zeros((b, edits), np.float32)
        slot_edit = np.full((b, q), -1, np.int32)
        slot_index = np.zeros((b, q), np.int32)
        slot = np.full((b, q, 2), -1, np.int32)
        previous = np.zeros((b, q, PIECES), np.int32)
        for i, row in enumerate(rows):
            if row < 0:
                continue
            at, size, code[i], bug, bugs, first, filled, _ = self.table[row]
            ints[i, :size] = self.ints[at : at + size]
            features[i, :size] = self.features[at : at + size]
            mask[i, :size] = True
            if not bugs:
                bug_weight[i, 0] = 1.0
                continue
            chosen = self.slots[first : first + filled]
            kept, used = 0, 0
            for edit in range(bugs):
                mine = chosen[chosen[:, 0] == edit]
                if used + len(mine) > q:
                    continue
                bug_start[i, kept], bug_length[i, kept] = self.bugs[bug + edit]
                part = slice(used, used + len(mine))
                slot_edit[i, part] = kept
                slot_index[i, part] = np.arange(len(mine))
                slot[i, part] = mine[:, 1:3]
                previous[i, part] = mine[:, 3:]
                used += len(mine)
                kept += 1
            if kept:
                bug_weight[i, :kept] = 1.0 / kept
        owner = np.maximum(slot_edit, 0)
        return {
            "pieces": ints[:, :, :PIECES],
            "kind": ints[:, :, PIECES],
            "role": ints[:, :, PIECES + 1],
            "text": ints[:, :, PIECES + 2],
            "line": ints[:, :, PIECES + 3],
            "last_use": ints[:, :, PIECES + 4],
            "last_def": ints[:, :, PIECES + 5],
            "features": features,
            "mask": mask,
            "code": code,
            "bug_start": bug_start,
            "bug_length": bug_length,
            "bug_weight": bug_weight,
            "slot_edit": slot_edit,
            "slot_index": slot_index,
            "slot_start": np.take_along_axis(bug_start, owner, 1),
            "slot_length": np.take_along_axis(bug_length, owner, 1),
            "slot_previous": previous,
            "slot_piece": slot[:, :, 0],
            "slot_text": slot[:, :, 1],
        }


def bucket_length(length: int) -> int | None:
    """The padded length of a training example of `length` positions, None beyond the largest."""
    return next((size for size in SLOTS if size >= length), None)


def plan_batches(
    shard: Shard, slots: int, seed: int, *, leftovers: bool = False
) -> list[tuple[int, list[int]]]:
    """Rows of a shard in shuffled batches of slots / length examples of one padded length.

    Rows that fill no batch are left out, so that training compiles once a length; with `leftovers` they come as smaller batches.
    """
    rng = np.random.default_rng(seed)
    buckets: dict[int, list[int]] = {}
    plan: list[tuple[int, list[int]]] = []
    for row in rng.permutation(len(shard)):
        length = bucket_length(int(shard.table[row, 1]))
        if length is None:
            continue
        bucket = buckets.setdefault(length, [])
        bucket.append(int(row))
        if len(bucket) == max(1, slots // length):
            plan.append((length, bucket[:]))
            bucket.clear()
    if leftovers:
        plan += [(length, bucket) for length, bucket in buckets.items() if bucket]
    order = rng.permutation(len(plan))
    return [plan[i] for i in order]


def hash_seed(seed: int, name: str, use: int) -> int:
    """A seed that depends on nothing but its arguments (Python's hash is salted)."""
    mixed = np.frombuffer(name.encode(), np.uint8).astype(np.int64)
    return int(
        (seed * 1_000_003 + use * 7919 + int((mixed * np.arange(1, len(mixed) + 1)).sum())) % 2**32
    )
