"""The input of training as a grain dataset: endless batches of a corpus, the same after a stop as without one.

Shards are memory-mapped and a batch is made when it is asked for, so host memory does not grow with the corpus
(benchmarks/feed.py). What grain calls the state of an iterator is a small dict that goes to the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grain
import numpy as np

from trm.data.pipeline import Shard, hash_seed, plan_batches

Arrays = dict[str, np.ndarray]


@dataclass
class Cursor:
    """Where a reader stands: uses of every shard, the current one and the batch in it."""

    uses: dict[str, int] = field(default_factory=dict)
    shard: str = ""
    batch: int = 0


class Batches(grain.IterDataset[Arrays]):
    """Endless batches (as `Shard.collate` makes them) from the shards of all `folders`.

    slots: positions a batch; local: which of a batch's rows are collated here, so that each process reads its own; growing: look
    for new shards after each one.

    The least used shard comes next, so shards that a corpus builder adds meanwhile are read before old ones again; of those used
    as often, the folders' in turns. The order is a function of seed, shard and use alone. A shard of another folder than the
    first is "n:name". Reading raises FileNotFoundError when there is no shard, or none that fills a batch.
    """

    def __init__(
        self, folders: Sequence[Path], slots: int, seed: int,
        local: Callable[[list[int]], list[int]] = list, growing: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.folders, self.slots, self.order = folders, slots, seed
        self.local, self.growing = local, growing

    def __iter__(self) -> Reader:
        return Reader(self)


class Reader(grain.DatasetIterator[Arrays]):
    """The iterator of `Batches`; its state is a `Cursor` as a dict."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches
        self.set_state(asdict(Cursor()))

    def __next__(self) -> Arrays:
        return next(self._arrays)

    def get_state(self) -> dict[str, Any]:
        """Where the next batch is."""
        return asdict(self._cursor)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._cursor = Cursor(**{**state, "uses": dict(state["uses"])})
        self._arrays = self._read(self._cursor)

    def _read(self, cursor: Cursor) -> Iterator[Arrays]:
        """The batches from `cursor` on, which goes on with them."""
        asked = self._batches
        empty: set[str] = set()
        found: dict[str, tuple[tuple[float, int], Path]] = {}
        where = " or ".join(map(str, asked.folders))
        while True:
            if asked.growing or not found:
                found = _shards(asked.folders)
            if not found:
                raise FileNotFoundError(f"no shard in {where}: run `trm-agent data build` first")
            if cursor.shard not in found:
                least = min(found, key=lambda name: (cursor.uses.get(name, 0), found[name][0]))
                cursor.shard, cursor.batch = least, 0
            shard = Shard(found[cursor.shard][1])
            seed = hash_seed(asked.order, cursor.shard, cursor.uses.get(cursor.shard, 0))
            plan = plan_batches(shard, asked.slots, seed)
            if not plan:
                empty.add(cursor.shard)
                if empty >= found.keys():
                    raise FileNotFoundError(
                        f"no shard in {where} fills a batch of {asked.slots} positions"
                    )
            while cursor.batch < len(plan):
                length, rows = plan[cursor.batch]
                cursor.batch += 1
                yield shard.collate(asked.local(rows), length)
            cursor.uses[cursor.shard] = cursor.uses.get(cursor.shard, 0) + 1
            cursor.shard = ""


def _shards(folders: Sequence[Path]) -> dict[str, tuple[tuple[float, int], Path]]:
    """name -> (place in the order of reading, path): the folders' shards spread evenly over one another."""
    found: dict[str, tuple[tuple[float, int], Path]] = {}
    for number, folder in enumerate(folders):
        paths = sorted(p for p in folder.glob("shard-*") if not p.name.endswith(".partial"))
        for place, path in enumerate(paths):
            name = f"{number}:{path.name}" if number else path.name
            found[name] = ((place / len(paths), number), path)
    return found
