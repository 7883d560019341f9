"""Figures of a model on held-out examples: where it looks, what it writes, and whether more steps help."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trm.config import ModelConfig
from trm.data.pipeline import Shard, plan_batches
from trm.loss import slot_log_probability, slots_of
from trm.model import (
    Batch,
    State,
    content_logits,
    decoder_memory,
    halt_logit,
    initial_state,
    length_logits,
    start_logits,
    supervision_step,  # fmt: skip
)


class Answer(NamedTuple):
    """What the heads say after a supervision step, as log-probabilities; b examples, l positions, q content slots.

    start (b, l); length (b, MAX_SPAN + 1), of the true start; words (b, q, vocab) and copies (b, q, l), one distribution a slot,
    given the true slots before; halt (b,), a logit.
    """

    start: jax.Array
    length: jax.Array
    words: jax.Array
    copies: jax.Array
    halt: jax.Array


Answers = Callable[[dict[str, jax.Array]], Iterable[Answer]]
_step = jax.jit(supervision_step, static_argnums=1)


def states(
    params: Any, config: ModelConfig, batch: Batch, first: State | None = None, rollout: int = 0
) -> Iterator[State]:
    """The state after each of `config.steps` supervision steps, from `first` if it is given; compiled once for any number.

    rollout: which sequence of noise, where `config.noise` is not 0.
    """
    state = initial_state(config, batch["mask"].shape) if first is None else first
    for number in range(config.steps):
        shared = dataclasses.replace(config, steps=1)
        state = _step(params, shared, batch, state, np.int32(number), np.int32(rollout))
        yield state


@functools.partial(jax.jit, static_argnums=1)
def answer(params: Any, config: ModelConfig, state: State, batch: Batch) -> Answer:
    """What the heads say of a state."""
    y = state.y
    lengths = length_logits(params, config, y, batch["code"], batch["bug_start"][:, :1])[:, 0]
    memory = decoder_memory(params, config, y, batch["mask"])
    words, copies = content_logits(params, config, memory, slots_of(batch))
    starts = start_logits(params, config, y, batch)
    return normalized(Answer(starts, lengths, words, copies, halt_logit(params, config, state)))


def normalized(said: Answer) -> Answer:
    """Logits as log-probabilities."""
    total = jnp.logaddexp(jax.nn.logsumexp(said.words, -1), jax.nn.logsumexp(said.copies, -1))
    return Answer(
        jax.nn.log_softmax(said.start, -1),
        jax.nn.log_softmax(said.length, -1),
        said.words - total[..., None],
        said.copies - total[..., None],
        said.halt,
    )


@jax.jit
def _judge(said: Answer, batch: Batch) -> dict[str, jax.Array]:
    """Arrays (b,): rank of the start, log-probability and exactness of the edit, halting probability."""
    at = batch["bug_start"][:, :1]
    right = jnp.take_along_axis(said.start, at, 1)
    length = jnp.take_along_axis(said.length, batch["bug_length"][:, :1], -1)[:, 0]
    content, hit = slot_log_probability(
        said.words, said.copies, batch["slot_piece"], batch["slot_text"], batch["text"]
    )
    real = batch["slot_edit"] == 0
    exact = (
        (said.length.argmax(-1) == batch["bug_length"][:, 0])
        & (hit | ~real).all(-1)
        & (said.start.argmax(-1) == at[:, 0])
    )
    return {
        "rank": (said.start > right).sum(-1),
        "log_probability": right[:, 0] + length + jnp.where(real, content, 0.0).sum(-1),
        "exact": exact,
        "halt": jax.nn.sigmoid(said.halt),
    }


def judged(shard: Shard, answers: Answers, slots: int = 4096) -> list[dict[str, np.ndarray]]:
    """For each answer that `answers` gives of a batch, the columns of `_judge` over the shard of single bugs, in its order."""
    found: list[dict[str, np.ndarray]] = []
    for length, rows in plan_batches(shard, slots, 0, leftovers=True):
        # the last batches are filled up with repetitions: another shape would be compiled anew
        full = np.resize(rows, max(1, slots // length)).tolist()
        batch = {k: jnp.asarray(v) for k, v in shard.collate(full, length).items()}
        for number, said in enumerate(answers(batch)):
            columns = _judge(said, batch)
            if number == len(found):
                found.append({k: np.zeros(len(shard), v.dtype) for k, v in columns.items()})
            for key, column in columns.items():
                found[number][key][rows] = np.asarray(column)[: len(rows)]
    return found


def figures(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Figures of the columns of `judged`.

    top1, top5: share of bugs whose start is first, among the first five; exact: share whose greedy edit is the fix;
    nats: mean -log p of the fix; ece: expected calibration error of the halting head (ten bins); n: examples.
    """
    return {
        "n": float(len(columns["rank"])),
        "top1": float((columns["rank"] == 0).mean()),
        "top5": float((columns["rank"] < 5).mean()),
        "exact": float(columns["exact"].mean()),
        "nats": float(-columns["log_probability"].mean()),
        "ece": calibration_error(columns["halt"], columns["exact"]),
    }


def held_out(
    params: Any, config: ModelConfig, folder: Path, slots: int = 4096
) -> list[Mapping[str, float]]:
    """`figures` per supervision step over a shard of single bugs."""
    params = jax.tree.map(jnp.asarray, params)

    def answers(batch: Batch) -> Iterator[Answer]:
        for state in states(params, config, batch):
            yield answer(params, config, state, batch)

    return [figures(columns) for columns in judged(Shard(folder), answers, slots)]


def calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean over bins of |accuracy - confidence|, weighted by the bin's share."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            total += abs(right[inside].mean() - probability[inside].mean()) * inside.mean()
    return float(total)
