"""Speed of a training step on random data, bucket by bucket; side by side with another checkout.

    python benchmarks/train_step.py [--against ROOT] [--preset shipped] [--set model.steps=1] [--rounds N]

ROOT is the folder that holds another version of the `trm` package (`git worktree add`, or `git archive`). Each
version runs in a process of its own; the two take turns, step by step, so that both meet the same load of the
machine. Figures are medians; cpu counts the time of all threads, which neighbours on the core change less. For one
core: `taskset -c 0 python benchmarks/train_step.py`. Beside the official code: `benchmarks/infer.py --what train`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent.parent
FILL = 0.8  # share of a row's positions that hold leaves
BUGS = 4


def random_batch(rng: np.random.Generator, model: Any, rows: int, length: int, slots: int) -> dict:
    """Arrays as `trm.data.pipeline.Shard.collate` makes them, (rows, ...), every value in its range.

    model: a ModelConfig; slots: content slots of an example, of which one bug fills a quarter.
    """
    from trm.encode import FEATURE_VALUES, FEATURES, PIECES

    def integers(low: int, high: int, *shape: int) -> np.ndarray:
        return rng.integers(low, high, (rows, *shape)).astype(np.int32)

    size = int(length * FILL)
    mask = np.zeros((rows, length), bool)
    mask[:, :size] = True
    # leaves are short: most have one piece, few have all
    pieces = integers(1, model.vocab, length, PIECES)
    pieces *= np.arange(PIECES) < np.minimum(integers(1, PIECES + 3, length, 1), PIECES)
    real = np.arange(slots) < max(1, slots // 4)
    slot_edit = np.broadcast_to(np.where(real, 0, -1), (rows, slots)).astype(np.int32)
    bug_start = integers(1, size, BUGS) * (np.arange(BUGS) == 0)
    bug_length = integers(0, 3, BUGS) * (np.arange(BUGS) == 0)
    batch = {
        "pieces": pieces,
        "kind": integers(0, model.kinds, length),
        "role": integers(0, model.roles, length),
        "text": integers(1, max(2, length // 3), length),
        "line": np.sort(integers(0, max(2, length // 8), length), axis=1),
        "last_use": integers(-1, size, length),
        "last_def": integers(-1, size, length),
        "features": integers(0, FEATURE_VALUES, length, FEATURES).astype(np.uint8),
        "slot_previous": integers(1, model.vocab, slots, PIECES),
        "slot_piece": integers(-1, model.vocab, slots),
        "slot_text": integers(-1, max(2, length // 3), slots),
    }
    batch["features"][:, :, 0] = 0  # all code
    outside = ~mask
    for name in ("pieces", "kind", "role", "text", "line", "features"):
        batch[name][outside] = 0
    return {
        **batch,
        "mask": mask,
        "code": np.full(rows, size - 2, np.int32),
        "bug_start": bug_start,
        "bug_length": bug_length,
        "bug_weight": np.broadcast_to(np.arange(BUGS) == 0, (rows, BUGS)).astype(np.float32),
        "slot_edit": slot_edit,
        "slot_index": np.where(real, np.arange(slots), 0).astype(np.int32) + 0 * slot_edit,
        "slot_start": np.broadcast_to(bug_start[:, :1], (rows, slots)).copy(),
        "slot_length": np.broadcast_to(bug_length[:, :1], (rows, slots)).copy(),
    }


def worker(preset: str, changes: dict[str, str]) -> None:
    """Answer lines "length rows slots steps" on standard input with wall and CPU seconds of each step."""
    import jax
    import jax.numpy as jnp

    from trm import train
    from trm.config import PRESETS

    if keep := getattr(train, "keep_memory", None):  # an older version has none
        keep()
    config = PRESETS[preset].override(changes)
    state = train.new_state(config)
    step = train.make_step(config.model, config.train)
    before = jnp.zeros((), jnp.int32)
    known: dict[tuple[int, ...], dict[str, Any]] = {}
    for line in sys.stdin:
        length, rows, slots, steps = map(int, line.split())
        key = length, rows, slots
        if key not in known:
            arrays = random_batch(np.random.default_rng(length), config.model, rows, length, slots)
            known[key] = {name: jnp.asarray(value) for name, value in arrays.items()}
        times = []
        for _ in range(steps):
            began, used = time.perf_counter(), time.process_time()
            state, metrics = step(state, known[key], before)
            jax.block_until_ready((state, metrics))
            times += [time.perf_counter() - began, time.process_time() - used]
        print(*times, flush=True)


class Side:
    """A measuring process that answers each line of numbers with one."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip

    def ask(self, *numbers: int) -> list[float]:
        """What it measured, as its script says. Raises SystemExit if the process died."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(" ".join(map(str, numbers)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the measuring process ended: see its message above")
        return [float(text) for text in answer.split()]

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def version(root: Path, arguments: list[str]) -> Side:
    """The package below `root`: length, rows, slots, steps are answered by wall and CPU seconds of each step, in turns."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", *arguments]
    return Side(command, PYTHONPATH=str(root))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", type=Path, help="folder with another version of `trm`")
    parser.add_argument("--preset", default="shipped")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--lengths", default="64,96,128,192,256", help="padded lengths")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps a length and version")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    changes = dict(text.split("=", 1) for text in options.changes)
    if options.worker:
        worker(options.preset, changes)
        return
    if options.against and not (options.against / "trm").is_dir():
        parser.error(f"no trm package in {options.against}")

    sys.path.insert(0, str(HERE))
    from trm.config import PRESETS
    from trm.data.pipeline import SLOTS

    positions = PRESETS[options.preset].override(changes).train.slots
    arguments = ["--preset", options.preset]
    for text in options.changes:
        arguments += ["--set", text]
    sides = {"this": version(HERE, arguments)}
    if options.against:
        sides["against"] = version(options.against.resolve(), arguments)
    print(f"{'length':>6} {'rows':>5}  version   ms/step   cpu ms  slots/s  examples/s")
    try:
        for length in map(int, options.lengths.split(",")):
            rows, slots = max(1, positions // length), SLOTS.get(length, max(SLOTS.values()))
            times: dict[str, list[float]] = {name: [] for name in sides}
            for side in sides.values():
                side.ask(length, rows, slots, 2)  # compiles
            for _ in range(options.rounds):
                for name, side in sides.items():
                    times[name] += side.ask(length, rows, slots, 1)
            for name in sides:
                seconds, used = (statistics.median(times[name][i::2]) for i in (0, 1))
                print(f"{length:6} {rows:5}  {name:8} {seconds * 1e3:8.0f} {used * 1e3:8.0f} {rows * length / seconds:8.0f} "
                      f"{rows / seconds:11.1f}")  # fmt: skip
            if options.against:
                wall, used = (
                    statistics.median(times["against"][i::2])
                    / statistics.median(times["this"][i::2])
                    for i in (0, 1)
                )
                print(f"{length:6} {'':5}  {wall:.2f} times as fast, {used:.2f} by cpu", flush=True)
    finally:
        for side in sides.values():
            side.close()


if __name__ == "__main__":
    main()
