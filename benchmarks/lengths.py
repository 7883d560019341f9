"""Held-out figures by the length of the faulty function, of several weights and of the same network untrained.

    python benchmarks/lengths.py SHARD WEIGHTS [WEIGHTS ...]

SHARD: of single bugs (`eval-00000` of a corpus: as text, `eval-00001`: executed). Columns as `trm.evaluate.figures` has them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from trm.checkpoint import load_weights
from trm.data.pipeline import Shard
from trm.evaluate import answer, figures, judged, states
from trm.model import Batch, init_params

BOUNDS = ((0, 10**6), (0, 100), (101, 200), (201, 10**6))  # tokens of the function
CODE = 2  # column of the table of a shard


def main() -> None:
    """Print the table."""
    shard = Shard(Path(sys.argv[1]))
    _, control, _ = load_weights(Path(sys.argv[2]))
    rows: list[tuple[str, Any, Any]] = [("untrained", init_params(control.model, 0), control.model)]
    for folder in sys.argv[2:]:
        params, config, _ = load_weights(Path(folder))
        rows.append((folder, params, config.model))
    print(
        "| weights | tokens | bugs | top1 | top5 | exact | nats | ece |\n|---|---|---|---|---|---|---|---|"
    )
    for name, params, model in rows:
        weights = jax.tree.map(jnp.asarray, params)

        def answers(batch: Batch, weights: Any = weights, model: Any = model) -> Iterator[Any]:
            for state in states(weights, model, batch):
                yield answer(weights, model, state, batch)

        columns, length = judged(shard, answers)[-1], shard.table[:, CODE]
        for low, high in BOUNDS:
            some = (length >= low) & (length <= high)
            found = figures({key: column[some] for key, column in columns.items()})
            told = " | ".join(
                f"{found[key]:.3f}" for key in ("top1", "top5", "exact", "nats", "ece")
            )
            print(f"| {name} | {low}-{high} | {some.sum()} | {told} |", flush=True)


if __name__ == "__main__":
    main()
