"""Figures of a model on held-out examples: where it looks, what it writes, and whether more steps help."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trm.config import ModelConfig
from trm.data.pipeline import Shard, plan_batches
from trm.loss import slot_log_probability, slots_of
from trm.model import (
    content_logits,
    decoder_memory,
    halt_logit,
    length_logits,
    start_logits,
    supervision_steps,
)


@functools.partial(jax.jit, static_argnums=1)
def _measure(params, config: ModelConfig, batch) -> list[dict[str, jax.Array]]:
    """Per supervision step, arrays (b,): rank of the start, NO_BUG probability, edit log-probability, exactness, halt."""
    out = []
    for state in supervision_steps(params, config, batch):
        y = state.y
        starts = jax.nn.log_softmax(start_logits(params, config, y, batch), -1)
        at = batch["bug_start"][:, :1]
        right = jnp.take_along_axis(starts, at, 1)
        lengths = jax.nn.log_softmax(length_logits(params, config, y, batch["code"], at), -1)
        length = jnp.take_along_axis(lengths, batch["bug_length"][:, :1, None], -1)[:, 0, 0]
        slots = slots_of(batch)
        memory = decoder_memory(params, config, y, batch["mask"])
        words, copies = content_logits(params, config, memory, slots)
        content, hit = slot_log_probability(
            words, copies, batch["slot_piece"], batch["slot_text"], batch["text"]
        )
        real = slots.edit == 0
        exact = (
            (lengths[:, 0].argmax(-1) == batch["bug_length"][:, 0])
            & (hit | ~real).all(-1)
            & (starts.argmax(-1) == at[:, 0])
        )
        out.append(
            {
                "rank": (starts > right).sum(-1),
                "log_probability": right[:, 0] + length + jnp.where(real, content, 0.0).sum(-1),
                "exact": exact,
                "halt": jax.nn.sigmoid(halt_logit(params, y)),
            }
        )
    return out


def held_out(
    params: Any, config: ModelConfig, folder: Path, slots: int = 4096
) -> list[Mapping[str, float]]:
    """Figures per supervision step over a shard of single bugs.

    top1, top5: share of bugs whose start is first, among the first five; exact: share whose greedy edit is the fix;
    nats: mean -log p of the fix; ece: expected calibration error of the halting head (ten bins); n: examples.
    """
    shard = Shard(folder)
    params = jax.tree.map(jnp.asarray, params)
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in range(config.steps)]
    for length, rows in plan_batches(shard, slots, 0, leftovers=True):
        batch = {k: jnp.asarray(v) for k, v in shard.collate(rows, length).items()}
        for step, measured in enumerate(_measure(params, config, batch)):
            found[step].append({k: np.asarray(v) for k, v in measured.items()})
    figures = []
    for parts in found:
        columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        figures.append(
            {
                "n": float(len(columns["rank"])),
                "top1": float((columns["rank"] == 0).mean()),
                "top5": float((columns["rank"] < 5).mean()),
                "exact": float(columns["exact"].mean()),
                "nats": float(-columns["log_probability"].mean()),
                "ece": calibration_error(columns["halt"], columns["exact"]),
            }
        )
    return figures


def calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean over bins of |accuracy - confidence|, weighted by the bin's share."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            total += abs(right[inside].mean() - probability[inside].mean()) * inside.mean()
    return float(total)
