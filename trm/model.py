"""The Tiny Recursive Model for edits: one small net, a latent z, an answer y, and heads that read y.

    z <- net(x + y + z)      n times
    y <- net(y + z)                                            (arXiv 2510.04871, figure 1 and section 4.1)

T such cycles make a supervision step, of which only the last has a gradient; a state is carried detached from step to step. The
heads score where an edit starts, how many leaves it removes and what it writes, slot by slot, so that the log-probability
of *any* edit is a sum of three terms (design.md, "The TRM for edits").

Array names: b batch, l positions, m bugs, q content slots (of all bugs, flat), d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trm.config import MAX_CONTENT, MAX_SPAN, ModelConfig
from trm.encode import FEATURE_VALUES, FEATURES, SEGMENT
from trm.layers import (
    Params,
    attend,
    block,
    dense,
    dense_parts,
    dense_table,
    lecun,
    merge_heads,
    rms_norm,
    rotary,
    split_heads,
    swiglu,
    table_of,  # fmt: skip
)

RELATIONS = 7
_RELATION = 8.0  # of a learned weight: to the scores of attention, which reach 16, Adam's steps alone are too small
_MASKED = -1e9
Batch = Mapping[str, jax.Array]


class State(NamedTuple):
    """Answer y and latent z, each (b, l, d)."""

    y: jax.Array
    z: jax.Array


def init_params(config: ModelConfig, seed: int = 0) -> dict[str, Any]:
    """Random parameters (f32): truncated LeCun for kernels; feature tables and the halting head start at zero."""
    keys = iter(jax.random.split(jax.random.key(seed), 64))
    d = config.width

    def kernel(*shape: int) -> jax.Array:
        return lecun(next(keys), *shape)

    return {
        "embed": {
            "piece": jax.random.normal(next(keys), (config.vocab, d)) * d**-0.5,
            "piece_slot": jnp.ones((config.pieces, d)),
            "kind": jax.random.normal(next(keys), (config.kinds, d)) * d**-0.5,
            "role": jax.random.normal(next(keys), (config.roles, d)) * d**-0.5,
            # zero: a feature that no training example has shown says nothing
            "feature": jnp.zeros((FEATURES * FEATURE_VALUES, d)),
        },
        "net": {
            **net_kernels(config, keys),
            "relation": jnp.zeros((config.layers, RELATIONS, config.heads)),
        },
        "heads": {
            "start": kernel(d, 1)[:, 0] * 0.1,
            "start_hidden": kernel(d, d),
            "length_query": kernel(d, d),
            "length_key": kernel(d, d),
            "length_none": kernel(d, 1)[:, 0] * 0.1,
            "length_bias": jnp.zeros((MAX_SPAN + 1,)),
            "halt": jnp.zeros((d,)),
            "halt_bias": jnp.full((), -2.0),
        },
        "decoder": {
            "context": kernel(3 * d, d),
            "position": jax.random.normal(next(keys), (MAX_CONTENT + 1, d)) * 0.3,
            "length": jax.random.normal(next(keys), (MAX_SPAN + 1, d)) * 0.3,
            "qkv": kernel(d, 3 * d),
            "self_out": kernel(d, d),
            "cross_query": kernel(d, d),
            "cross_key_value": kernel(d, 2 * d),
            "cross_out": kernel(d, d),
            "gate_up": kernel(d, 2 * config.decoder_inner),
            "down": kernel(config.decoder_inner, d),
            "vocab": kernel(d, d),
            "vocab_bias": jnp.zeros((config.vocab,)),
            "copy_query": kernel(d, d),
            "copy_key": kernel(d, d),
        },
    }


def net_kernels(config: ModelConfig, keys: Iterator[jax.Array]) -> dict[str, jax.Array]:
    """Random kernels of the net's blocks, each (layers, in, out)."""
    layers, d, inner = config.layers, config.width, config.inner
    shapes = {"qkv": (d, 3 * d), "out": (d, d), "gate_up": (d, 2 * inner), "down": (inner, d)}
    return {name: lecun(next(keys), layers, *shape) for name, shape in shapes.items()}


def count(params: Any) -> int:
    """Number of parameters."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))


def initial_state(config: ModelConfig, shape: tuple[int, ...]) -> State:
    """The fixed, not learned, y and z: truncated normal vectors, the same at every position."""
    y, z = jax.random.truncated_normal(jax.random.key(7), -2.0, 2.0, (2, 1, 1, config.width))
    full = (*shape, config.width)
    return State(jnp.broadcast_to(y, full), jnp.broadcast_to(z, full))


def embed_pieces(params: Params, config: ModelConfig, pieces: jax.Array) -> jax.Array:
    """(..., PIECES) piece ids to (..., d): a weighted sum, PAD counts nothing."""
    table, slot = table_of(params["embed"]["piece"], config.matmul), params["embed"]["piece_slot"]
    total = jnp.zeros((*pieces.shape[:-1], table.shape[-1]))
    # piece by piece: a product over (pieces, d) would be laid out for batches of d and copied twice
    for place in range(pieces.shape[-1]):
        ids = pieces[..., place]
        total = total + table[ids] * slot[place] * (ids > 0)[..., None]
    return total * table.shape[-1] ** 0.5


def embed(params: Params, config: ModelConfig, batch: Batch) -> jax.Array:
    """The input x (b, l, d): pieces, kind, role and execution features, summed and normalized."""
    table = params["embed"]
    kind, role = (table_of(table[name], config.matmul)[batch[name]] for name in ("kind", "role"))
    x = embed_pieces(params, config, batch["pieces"])
    x = x + (kind + role) * kind.shape[-1] ** 0.5
    hot = batch["features"][..., None] == jnp.arange(FEATURE_VALUES, dtype=jnp.uint8)
    hot = hot.reshape(*x.shape[:2], FEATURES * FEATURE_VALUES).astype(jnp.float32)
    # 0 and 1 are exact in bf16
    x = x + dense(hot, table["feature"], "bf16")
    return rms_norm(x)


@jax.custom_vjp
def _weighted(relation: jax.Array, masks: jax.Array) -> jax.Array:
    """(layers, r, h) weights of boolean masks (b, r, l, l): their sum (layers, b, h, l, l)."""
    # as sums, not as a product: with seven rows a product is all packing
    total = jnp.zeros(())
    for r in range(masks.shape[1]):
        weight = relation[:, r][:, None, :, None, None]
        total = total + jnp.where(masks[:, r][None, :, None], weight, 0.0)
    return total


def _weighted_forward(relation: jax.Array, masks: jax.Array):
    return _weighted(relation, masks), masks


def _weighted_backward(masks: jax.Array, g: jax.Array):
    layers, b, heads, *_ = g.shape
    rows = g.swapaxes(0, 1).reshape(b, layers * heads, -1)
    flat = masks.reshape(*masks.shape[:2], -1).astype(jnp.float32)
    total = jnp.einsum("bxk,brk->bxr", rows, flat).sum(0)
    return total.reshape(layers, heads, -1).swapaxes(1, 2), None


_weighted.defvjp(_weighted_forward, _weighted_backward)


def relation_bias(params: Params, batch: Batch) -> jax.Array:
    """Attention bias (layers, b, heads, l, l): learned weights of seven relations, and the padding mask.

    Relations: same text; j is i's last use; j is i's last definition; the two transposed; same line; both in code.
    """
    text, line = batch["text"], batch["line"]
    position = jnp.arange(text.shape[1])
    named = text > 0
    same = (text[:, :, None] == text[:, None, :]) & named[:, :, None]
    use = batch["last_use"][:, :, None] == position
    definition = batch["last_def"][:, :, None] == position
    row = line[:, :, None] == line[:, None, :]
    code = batch["features"][:, :, SEGMENT] == 0
    both = code[:, :, None] & code[:, None, :]
    masks = jnp.stack(
        [same, use, definition, use.swapaxes(1, 2), definition.swapaxes(1, 2), row, both], 1
    )
    bias = _weighted(params["net"]["relation"] * _RELATION, masks)
    return bias + jnp.where(batch["mask"], 0.0, _MASKED)[None, :, None, None, :]


def net(params: Params, config: ModelConfig, x: jax.Array, bias: jax.Array, tables) -> jax.Array:
    """The one network: `layers` post-norm blocks on (b, l, d)."""
    for layer in range(config.layers):
        weights = {key: value[layer] for key, value in params["net"].items() if key != "relation"}
        x = block(weights, x, bias[layer], tables, config.heads, config.matmul, config.qk_norm)
    return x


def to_bits(z: jax.Array) -> jax.Array:
    """Signs of z as +-1 with the identity as gradient (straight-through)."""
    bits = jnp.where(z >= 0, 1.0, -1.0)
    return z + jax.lax.stop_gradient(bits - z)


def latent_recursion(params: Params, config: ModelConfig, x, state: State, bias, tables) -> State:
    """n updates of z, then one of y."""
    y, z = state
    for _ in range(config.n):
        z = net(params, config, x + y + z, bias, tables)
        if config.binarize:
            z = to_bits(z)
    return State(net(params, config, y + z, bias, tables), z)


def deep_recursion(params: Params, config: ModelConfig, x, state: State, bias, tables) -> State:
    """T - 1 cycles without gradient, one with: a supervision step."""
    if config.T > 1:

        def cycle(carry: State, _):
            return latent_recursion(params, config, x, carry, bias, tables), None

        state, _ = jax.lax.scan(cycle, state, None, length=config.T - 1)
        state = jax.lax.stop_gradient(state)
    return latent_recursion(params, config, x, state, bias, tables)


def is_taken(
    params: Params, config: ModelConfig, mask: jax.Array, before: State, after: State, number: jax.Array
) -> jax.Array:  # fmt: skip
    """(b,): whether supervision step `number` (from 0, which always is) from `before` to `after` is taken: `config.gate`.

    A step that is not taken leaves the state as it was. Without noise the next one is the same, so the recursion has ended there.
    """
    if config.gate == "changed":
        decided = ((before.z >= 0) != (after.z >= 0)).any(-1) & mask
        return decided.any(-1) | (number == 0)
    decided = halt_logit(params, config, after) >= halt_logit(params, config, before)
    return decided | (number == 0)


def gated_step(
    params: Params, config: ModelConfig, x, state: State, bias, tables, mask, number, proposed: State
) -> State:  # fmt: skip
    """The state after a supervision step from `proposed`, or `state` where the gate does not let it."""
    after = deep_recursion(params, config, x, proposed, bias, tables)
    if config.gate == "all":
        return after
    taken = is_taken(params, config, mask, state, after, number)[:, None, None]
    return State(jnp.where(taken, after.y, state.y), jnp.where(taken, after.z, state.z))


def supervision_step(
    params: Params, config: ModelConfig, batch: Batch, state: State, number: Any = 0, rollout: Any = 0
) -> State:  # fmt: skip
    """The state after one more supervision step, detached from the one before.

    number: of the step, from 0; rollout: which sequence of noise, where `config.noise` is not 0.
    """
    x = embed(params, config, batch)
    bias = relation_bias(params, batch)
    tables = rotary(x.shape[1], config.width // config.heads)
    state = proposed = jax.lax.stop_gradient(state)
    if config.noise:
        key = jax.random.fold_in(jax.random.key(rollout), number)
        noise = config.noise * jax.random.normal(key, state.z.shape)
        proposed = State(state.y, state.z + noise)
    return gated_step(params, config, x, state, bias, tables, batch["mask"], number, proposed)


def supervised_state(params: Params, config: ModelConfig, batch: Batch, before: jax.Array) -> State:
    """The state after one supervision step with gradient that follows `before` (a scalar) steps without.

    Training draws `before` from 0..steps-1: as in the paper an optimizer step sees one supervision step, from a state
    that is carried detached; recomputing it costs forward passes only and needs no store of carried states.
    """
    x = embed(params, config, batch)
    bias = relation_bias(params, batch)
    tables = rotary(x.shape[1], config.width // config.heads)
    frozen, still, lean = jax.lax.stop_gradient((params, x, bias))

    def step(number: jax.Array, state: State) -> State:
        return gated_step(frozen, config, still, state, lean, tables, batch["mask"], number, state)

    state = jax.lax.fori_loop(0, before, step, initial_state(config, x.shape[:2]))
    return deep_recursion(params, config, x, jax.lax.stop_gradient(state), bias, tables)


def start_logits(params: Params, config: ModelConfig, y: jax.Array, batch: Batch) -> jax.Array:
    """(b, l): where an edit starts; position 0 is NO_BUG. Only markers and code may start one."""
    heads = params["heads"]
    hidden = jax.nn.silu(dense(y, heads["start_hidden"], config.matmul))
    allowed = batch["mask"] & (batch["features"][:, :, SEGMENT] <= 1)
    return jnp.where(allowed, hidden @ heads["start"], _MASKED)


def length_logits(
    params: Params, config: ModelConfig, y: jax.Array, code: jax.Array, starts: jax.Array
) -> jax.Array:
    """(b, m, MAX_SPAN + 1): how many leaves the edit at `starts` (b, m) removes, given `code` (b,) leaves in all."""
    heads = params["heads"]
    at = jnp.take_along_axis(y, starts[:, :, None], axis=1)
    query = dense(at, heads["length_query"], config.matmul)
    last = starts[:, :, None] + jnp.arange(MAX_SPAN)  # last removed position, for lengths 1..
    inside = (last <= code[:, None, None]) & (starts[:, :, None] > 0)
    keys = dense(y, heads["length_key"], config.matmul)
    flat = jnp.minimum(last, y.shape[1] - 1).reshape(last.shape[0], -1)
    picked = jnp.take_along_axis(keys, flat[:, :, None], axis=1)
    picked = picked.reshape(*last.shape, -1)
    some = jnp.einsum("bmd,bmkd->bmk", query, picked) * y.shape[-1] ** -0.5
    none = (at @ heads["length_none"])[..., None]
    some = jnp.where(inside, some, _MASKED)
    return jnp.concatenate([none, some], axis=-1) + heads["length_bias"]


class Slots(NamedTuple):
    """Content slots of all edits of an example, flat: each (b, q), `previous` (b, q, PIECES).

    edit: which edit a slot belongs to (-1: padding); index: place in its content; start, length: of its edit.
    """

    edit: jax.Array
    index: jax.Array
    start: jax.Array
    length: jax.Array
    previous: jax.Array


class Memory(NamedTuple):
    """What the decoder reads of y (b, l, d): keys and values (b, heads, l, d / heads), copy keys like y, and the mask (b, l).

    It does not depend on the slots: whoever asks about one example many times makes it once.
    """

    y: jax.Array
    key: jax.Array
    value: jax.Array
    copy: jax.Array
    mask: jax.Array


def decoder_memory(params: Params, config: ModelConfig, y: jax.Array, mask: jax.Array) -> Memory:
    """The memory of answers y (b, l, d) at the positions of mask (b, l)."""
    p = params["decoder"]
    key, value = (split_heads(part, config.heads)
                  for part in dense_parts(y, p["cross_key_value"], 2, config.matmul))  # fmt: skip
    return Memory(y, key, value, dense(y, p["copy_key"], config.matmul), mask)


def content_logits(
    params: Params,
    config: ModelConfig,
    memory: Memory,
    slots: Slots,
    asked: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Vocabulary (b, q, vocab) and copy (b, q, l) logits of every slot, or of the `asked` ones (b, n): one softmax over both.

    One decoder layer: slots of an edit attend to the slots before them, then to y. With b == 1 for `memory` and
    many edits in q, all candidates of a unit are scored at once.
    """
    p, heads, y = params["decoder"], config.heads, memory.y
    take = lambda index: jnp.take_along_axis(  # noqa: E731
        y, jnp.clip(index, 0, y.shape[1] - 1)[:, :, None], axis=1
    )
    around = jnp.concatenate(
        [take(slots.start - 1), take(slots.start), take(slots.start + slots.length)], axis=-1
    )
    h = dense(around, p["context"], config.matmul)
    h = h + p["position"][slots.index] + p["length"][slots.length]
    h = rms_norm(h + rms_norm(embed_pieces(params, config, slots.previous)))
    same = (slots.edit[:, :, None] == slots.edit[:, None, :]) & (
        slots.index[:, :, None] >= slots.index[:, None, :]
    )
    causal = jnp.where(same, 0.0, _MASKED)[:, None]
    q, k, v = (split_heads(part, heads) for part in dense_parts(h, p["qkv"], 3, config.matmul))
    h = rms_norm(h + dense(merge_heads(attend(q, k, v, causal)), p["self_out"], config.matmul))
    if asked is not None:
        h = jnp.take_along_axis(h, asked[:, :, None], axis=1)
    query = split_heads(dense(h, p["cross_query"], config.matmul), heads)
    padding = jnp.where(memory.mask, 0.0, _MASKED)[:, None, None, :]
    read = attend(query, memory.key, memory.value, padding)
    h = rms_norm(h + dense(merge_heads(read), p["cross_out"], config.matmul))
    h = rms_norm(h + swiglu(p, h, config.matmul))
    table = params["embed"]["piece"]
    words = dense_table(dense(h, p["vocab"], config.matmul), table, config.matmul) + p["vocab_bias"]
    copies = jnp.einsum("bqd,bld->bql", dense(h, p["copy_query"], config.matmul), memory.copy)
    copies = copies * y.shape[-1] ** -0.5
    return words, jnp.where(memory.mask[:, None, :], copies, _MASKED)


def halt_logit(params: Params, config: ModelConfig, state: State) -> jax.Array:
    """(b,): is the current answer right? Read from position 0 of y, or from the bits of z there."""
    read = to_bits(state.z[:, 0]) if config.halt == "bits" else state.y[:, 0]
    return read @ params["heads"]["halt"] + params["heads"]["halt_bias"]
