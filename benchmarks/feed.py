"""The input of training: batches a second, and host memory on a corpus larger than its bound.

    python benchmarks/feed.py [--corpus MB] [--bound MB] [--folder D]

Makes a corpus of random shards (kept in --folder if that is given), bounds the memory that the process may allocate beyond what
it has (RLIMIT_DATA: heap and anonymous mappings, not mapped files), and reads all of the corpus once in batches of 4,096
positions: `ahead` as `train` does, four batches ahead in grain's thread, `plain` without that. anonymous: the most that was held
more than before the first batch (RssAnon).
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
SHARD = 5500  # examples, as `data build` makes them


def held(name: str) -> float:
    """Megabytes of this process: VmData or RssAnon."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found
    return int(found[1]) / 1024


def make(folder: Path, megabytes: float) -> float:
    """Shards of random examples of 20 to 256 positions; their size in megabytes."""
    from trm.encode import FEATURES, PIECES

    rng, number, size = np.random.default_rng(0), 0, 0
    while size < megabytes * 1e6:
        shard = folder / f"shard-{number:05d}"
        if not shard.is_dir():
            shard.mkdir(parents=True)
            lengths = rng.integers(20, 257, SHARD)
            first = np.cumsum(lengths) - lengths
            ints = rng.integers(0, 90, (lengths.sum(), PIECES + 6), np.int16)
            at, one = np.arange(SHARD), np.ones(SHARD, np.int64)
            columns = (first, lengths, lengths - 2, at, one, 2 * at, 2 * one, 0 * one)
            slots = np.ones((2 * SHARD, 3 + PIECES), np.int16)
            slots[:, 0] = 0
            for name, array in {
                "ints": ints, "features": np.zeros((len(ints), FEATURES), np.uint8), "table": np.stack(columns, 1),
                "bugs": np.ones((SHARD, 2), np.int16), "slots": slots,
            }.items():  # fmt: skip
                np.save(shard / f"{name}.npy", array)
        size += sum(path.stat().st_size for path in shard.iterdir())
        number += 1
    return size / 1e6


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=float, default=600, help="megabytes")
    parser.add_argument("--bound", type=int, default=100, help="megabytes")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from grain.experimental import ThreadPrefetchIterDataset

    from trm.data.feed import Batches

    with tempfile.TemporaryDirectory(prefix="trm-feed-") as name:
        folder = options.folder or Path(name)
        size = make(folder, options.corpus)
        shards = len(list(folder.glob("shard-*")))
        print(
            f"{shards} shards, {size:.0f} MB\n\n| | batches | batches/s | cpu ms a batch | anonymous MB |\n{'|---' * 5}|"
        )
        limit = int((held("VmData") + options.bound) * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        batches = Batches([folder], 4096, 0)
        for title, source in (
            ("plain", batches),
            ("ahead", ThreadPrefetchIterDataset(batches, prefetch_buffer_size=4)),
        ):
            feed, before, most, number = iter(source), held("RssAnon"), 0.0, 0
            began, used = time.perf_counter(), time.process_time()
            for _ in feed:
                number += 1
                if number % 50 == 0:
                    most = max(most, held("RssAnon") - before)
                if len(feed.get_state()["uses"]) == shards:
                    break
            feed.close()
            wall, used = time.perf_counter() - began, time.process_time() - used
            print(
                f"| {title} | {number} | {number / wall:.0f} | {used / number * 1e3:.2f} | {most:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
