"""Losses of a supervision step: where, how much, what, and whether the answer is right."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trm.config import ModelConfig, TrainConfig
from trm.layers import Params
from trm.model import (
    Batch,
    Slots,
    State,
    content_logits,
    decoder_memory,
    halt_logit,
    length_logits,
    start_logits,
    supervised_state,  # fmt: skip
)


def slots_of(batch: Batch) -> Slots:
    """The content slots of a training batch."""
    return Slots(batch["slot_edit"], batch["slot_index"], batch["slot_start"], batch["slot_length"],
                 batch["slot_previous"])  # fmt: skip


def slot_log_probability(
    words: jax.Array, copies: jax.Array, piece: jax.Array, text: jax.Array, text_ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Log-probability (b, q) of the right token of each slot, and whether it is the argmax.

    A token counts by its piece (b, q; -1 none) and by every position whose text id (b, l) is `text` (b, q; -1 none):
    the ways to write it are summed.
    """
    total = jnp.logaddexp(jax.nn.logsumexp(words, axis=-1), jax.nn.logsumexp(copies, axis=-1))
    chosen = jnp.take_along_axis(words, jnp.maximum(piece, 0)[..., None], axis=-1)[..., 0]
    written = jnp.where(piece >= 0, chosen, -1e9)
    matches = (text[:, :, None] == text_ids[:, None, :]) & (text >= 0)[:, :, None]
    copied = jax.nn.logsumexp(jnp.where(matches, copies, -1e9), axis=-1)
    right = jnp.logaddexp(written, copied)
    best = jnp.maximum(words.max(-1), copies.max(-1))
    top = jnp.maximum(written, jnp.where(matches, copies, -1e9).max(-1))
    return right - total, top >= best


class Scores(NamedTuple):
    """Log-probabilities of a batch: of every start (b, l) and, for each of its edits, every length (b, m, MAX_SPAN + 1); of the
    edits' own start and length (b, m) and of their slots' tokens (b, q). hit: whether such a token is the argmax.
    """

    starts: jax.Array
    lengths: jax.Array
    start: jax.Array
    length: jax.Array
    content: jax.Array
    hit: jax.Array


def scores_of(params: Params, config: ModelConfig, y: jax.Array, batch: Batch) -> Scores:
    """The scores of the edits of a batch (trm.data.pipeline.Shard.collate), given the answer y (b, l, d)."""
    starts = jax.nn.log_softmax(start_logits(params, config, y, batch), axis=-1)
    start = jnp.take_along_axis(starts, batch["bug_start"], axis=1)
    lengths = jax.nn.log_softmax(
        length_logits(params, config, y, batch["code"], batch["bug_start"]), axis=-1
    )
    length = jnp.take_along_axis(lengths, batch["bug_length"][..., None], axis=-1)[..., 0]
    memory = decoder_memory(params, config, y, batch["mask"])
    words, copies = content_logits(params, config, memory, slots_of(batch))
    content, hit = slot_log_probability(
        words, copies, batch["slot_piece"], batch["slot_text"], batch["text"]
    )
    return Scores(starts, lengths, start, length, content, hit)


def by_edit(values: jax.Array, batch: Batch) -> jax.Array:
    """Values of the slots (b, q) summed into the edits that they belong to (b, m); padding counts nothing."""
    edit = batch["slot_edit"]
    rows = jnp.arange(edit.shape[0])[:, None]
    total = jnp.zeros(batch["bug_start"].shape)
    return total.at[rows, jnp.maximum(edit, 0)].add(jnp.where(edit >= 0, values, 0.0))


def edit_log_probability(scores: Scores, batch: Batch) -> jax.Array:
    """(b, m) log-probabilities of the edits of a batch: start + length + the sum of their slots."""
    return scores.start + scores.length + by_edit(scores.content, batch)


def step_loss(
    params: Params, config: ModelConfig, state: State, batch: Batch, halt_weight: float, share: Any = None
) -> tuple[jax.Array, dict[str, jax.Array]]:  # fmt: skip
    """Mean loss over the examples of one supervision step, and its parts.

    batch: see trm.data.pipeline.collate. A bug's loss is start + length + sum of its slots, averaged over an
    example's bugs; an example without bugs has start 0 (NO_BUG) as its only target. share: of these terms of a bug, in that
    order, those that count (rounded up); None: all.
    """
    weight = batch["bug_weight"]  # (b, m): 1 / bugs, 0 for padding
    starts, lengths, start, length, content, hit = scores_of(params, config, state.y, batch)
    edit = batch["slot_edit"]
    slot_weight = jnp.where(
        edit >= 0, jnp.take_along_axis(weight, jnp.maximum(edit, 0), axis=1), 0.0
    )
    has_bug = batch["bug_start"] > 0
    examples = jnp.maximum(1.0, (weight.sum(-1) > 0).sum())
    loss_start = -(weight * start).sum() / examples
    asked_length, asked_slot = has_bug, edit >= 0
    if share is not None:
        terms = jnp.ceil(share * (2 + by_edit(jnp.ones_like(content), batch)))  # (b, m)
        asked_length &= terms > 1
        asked_slot &= batch["slot_index"] + 2 < jnp.take_along_axis(terms, jnp.maximum(edit, 0), 1)
    loss_length = -(weight * asked_length * length).sum() / examples
    loss_content = -(slot_weight * asked_slot * content).sum() / examples

    # right: the top start is a bug's, and that bug's length and every slot are argmax too
    top = starts.argmax(-1)
    at_top = (batch["bug_start"] == top[:, None]) & (weight > 0)
    missed = by_edit((~hit).astype(jnp.float32), batch)
    exact = (missed == 0) & (lengths.argmax(-1) == batch["bug_length"]) | ~has_bug
    right = (at_top & exact).any(-1)
    logit = halt_logit(params, config, state)
    entropy = jnp.maximum(logit, 0) - logit * right + jnp.log1p(jnp.exp(-jnp.abs(logit)))
    halting = jnp.where(weight.sum(-1) > 0, entropy, 0.0).sum() / examples
    bugs = jnp.maximum(1.0, has_bug.any(-1).sum())
    metrics = {
        "start": loss_start,
        "length": loss_length,
        "content": loss_content,
        "halt": halting,
        "top1": (at_top.any(-1) & has_bug.any(-1)).sum() / bugs,
        "exact": (right & has_bug.any(-1)).sum() / bugs,
        "slot_top1": (slot_weight * hit).sum() / jnp.maximum(1e-6, slot_weight.sum()),
    }
    return loss_start + loss_length + loss_content + halt_weight * halting, metrics


def loss(
    params: Params, config: ModelConfig, batch: Batch, train: TrainConfig, before: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of the supervision step that follows `before` steps without gradient, and its parts."""
    state = supervised_state(params, config, batch, before)
    share = (before + 1) / config.steps if train.step_targets else None
    total, metrics = step_loss(params, config, state, batch, train.halt_weight, share)
    return total, {**metrics, "loss": total}
