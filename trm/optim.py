"""AdamW, Adam-mini, Adam-atan2 or Muon, with warm-up and then a constant rate; a linear decay at the end only if asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from trm.config import TrainConfig
from trm.deepen import only_added


def schedule(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up to the constant rate; with decay_steps > 0, linear decay over the last that many of `steps`.

    The warmup-stable-decay schedule of arXiv 2404.06395, section 4. A function of the configuration alone, so that a resumed
    training goes on as if it had not been interrupted.
    """
    warm = optax.linear_schedule(0.0, config.learning_rate, max(1, config.warmup))
    if not config.decay_steps:
        return warm
    start = max(0, config.steps - config.decay_steps)
    decay = optax.linear_schedule(1.0, 0.02, config.decay_steps, transition_begin=start)
    return lambda step: warm(step) * decay(step)


def _decayed(params: Any) -> Any:
    """Kernels decay; embeddings, biases and vectors do not."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and path[0].key != "embed" and "bias" not in str(path[-1])
        ),
        params,
    )


_TABLES = frozenset(
    {"embed", "relation", "position", "length"}
)  # of two axes or more, and no kernels
_RMS = 0.2  # of an update of Muon, as Adam's usually have


def _orthogonalized(params: Any) -> Any:
    """Which axes of a kernel Muon orthogonalizes, (layers, in, out) or (in, out); None: left to Adam."""

    def axes(path: Any, leaf: Any) -> Any:
        names = {part.key for part in path}
        if leaf.ndim < 2 or names & _TABLES:
            return None
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(axes, params)


class Moments(NamedTuple):
    """Steps so far, and the moving averages of the gradient and of its square."""

    count: jax.Array
    mu: Any
    nu: Any


def scale_by_atan2(b1: float, b2: float) -> optax.GradientTransformation:
    """Adam with atan2 in place of the quotient, so that there is no epsilon (Adam-atan2, arXiv 2407.05872, section 3.4).

    As imoneoi/adam-atan2, which TRM uses, has it: no constants, and the first moment's bias is corrected outside of atan2.
    """

    def init(params: Any) -> Moments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Moments(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

    def update(updates: Any, state: Any, params: Any = None):
        del params
        count = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        first, second = 1 - b1**count, jnp.sqrt(1 - b2**count)
        turned = jax.tree.map(lambda m, v: jnp.arctan2(m, jnp.sqrt(v) / second) / first, mu, nu)
        return turned, Moments(count, mu, nu)

    return optax.GradientTransformation(init, update)


_BY_HEAD = {
    "qkv": 2 / 3,
    "cross_query": 1.0,
    "cross_key_value": 0.5,
}  # the part that queries and keys are of a kernel


def _by_block(path: Any, square: jax.Array, heads: int) -> jax.Array:
    """Means of a squared gradient over Adam-mini's blocks, with axes of 1 where all the block has one."""
    name = path[-1].key
    if "bias" in name:
        return square
    if square.ndim < 2 or name == "relation":
        return square.mean(tuple(range(-min(2, square.ndim), 0)), keepdims=True)
    if _TABLES & {part.key for part in path}:
        return square.mean(-1, keepdims=True)  # a token, a position
    mean = square.mean(-2, keepdims=True)  # of an output neuron
    width = round(mean.shape[-1] * _BY_HEAD.get(name, 0))
    if not width:
        return mean
    kinds = round(width / square.shape[-2])  # queries, keys
    grouped = mean[..., :width].reshape(*mean.shape[:-1], kinds * heads, -1)
    of_head = jnp.broadcast_to(grouped.mean(-1, keepdims=True), grouped.shape)
    return jnp.concatenate([of_head.reshape(*mean.shape[:-1], width), mean[..., width:]], axis=-1)


def scale_by_adam_mini(b1: float, b2: float, heads: int, eps: float = 1e-8) -> optax.GradientTransformation:  # fmt: skip
    """Adam with one second moment a block: a head of queries and keys, a neuron, a token (arXiv 2406.16793, algorithm 1).

    Blocks as in zyushun/Adam-mini 1.1.1; biases are Adam's. What is kept of a kernel's second moment is a row.
    """

    def init(params: Any) -> Moments:
        blocks = jax.eval_shape(blocks_of, params)
        nu = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blocks)
        return Moments(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), nu)

    def blocks_of(updates: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: _by_block(path, leaf * leaf, heads), updates
        )

    def update(updates: Any, state: Any, params: Any = None):
        del params
        count = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(blocks_of(updates), state.nu, b2, 1)
        first, second = 1 - b1**count, jnp.sqrt(1 - b2**count)
        scaled = jax.tree.map(lambda m, v: m / first / (jnp.sqrt(v) / second + eps), mu, nu)
        return scaled, Moments(count, mu, nu)

    return optax.GradientTransformation(init, update)


def optimizer(config: TrainConfig, heads: int = 1) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW, Adam-mini or Adam-atan2 with decoupled decay of kernels only; or Muon for the kernels
    and Adam for the rest. heads: of attention, for Adam-mini.

    Muon (Jordan 2024) with updates scaled as in arXiv 2502.16982, section 2.2, so that Adam's learning rates serve it.
    """
    rate = schedule(config)
    if config.optimizer == "muon":
        inner = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            weight_decay_mask=_decayed,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            muon_weight_dimension_numbers=_orthogonalized,
            consistent_rms=_RMS,
        )
    elif config.optimizer in ("atan2", "adam-mini"):
        betas = config.beta1, config.beta2
        mini = config.optimizer == "adam-mini"
        inner = optax.chain(
            scale_by_adam_mini(*betas, heads) if mini else scale_by_atan2(*betas),
            optax.add_decayed_weights(config.weight_decay, _decayed),
            optax.scale_by_learning_rate(rate),
        )
    else:
        inner = optax.adamw(
            rate,
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=_decayed,
        )
    if config.clip:
        inner = optax.chain(optax.clip_by_global_norm(config.clip), inner)
    if config.kept:
        added = optax.stateless(lambda updates, _: only_added(updates, config.kept))
        inner = optax.chain(added, inner, added)
    return inner
