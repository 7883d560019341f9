"""TRM on sequence puzzles, token by token as the official code has it: the recursion of trm.model under deep supervision and ACT.

A row of the batch is carried from one supervision step to the next, an optimizer step each, until it halts; then it takes the
next example while the others go on (SamsungSAILMontreal/TinyRecursiveModels, models/recursive_reasoning/trm.py and
models/losses.py; arXiv 2510.04871, figure 3). Edits are learned by trm.train instead; here the recursion is held against the
paper: parity in tests/trm/test_official.py, Sudoku in benchmarks/sudoku.py. Without puzzle embeddings, which neither needs.

Array names: b rows, l positions, d width, v symbols.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trm.config import ModelConfig, TrainConfig
from trm.layers import Params, lecun, rotary
from trm.model import State, deep_recursion, initial_state, net_kernels
from trm.optim import optimizer

IGNORED = -100  # label of a position that does not count
EXPLORATION = 0.1  # share of rows with a least number of steps, drawn anew each step
_HALT_WEIGHT, _HALT_BIAS = 0.5, -5.0


class Carry(NamedTuple):
    """What goes from a supervision step to the next. steps, halted (b,); inputs, labels (b, l)."""

    state: State
    steps: jax.Array
    halted: jax.Array
    inputs: jax.Array
    labels: jax.Array


class Learner(NamedTuple):
    """Parameters, their moving average, the optimizer's state and the carry."""

    params: Any
    ema: Any
    optimizer: Any
    carry: Carry


def init_params(config: ModelConfig, seed: int = 0) -> dict[str, Any]:
    """Random parameters, truncated LeCun; the halting head is zero and says no."""
    keys = iter(jax.random.split(jax.random.key(seed), 8))
    d = config.width
    return {
        "embed": {"symbol": lecun(next(keys), config.vocab, d, fan=d)},
        "net": net_kernels(config, keys),
        "heads": {
            "symbol": lecun(next(keys), d, config.vocab),
            "halt": jnp.zeros((d,)),
            "halt_bias": jnp.full((), _HALT_BIAS),
        },
    }


def empty_carry(config: ModelConfig, rows: int, length: int) -> Carry:
    """The carry before the first step: every row has halted."""
    return Carry(
        initial_state(config, (rows, length)), jnp.zeros(rows, jnp.int32), jnp.ones(rows, bool),
        *jnp.zeros((2, rows, length), jnp.int32),
    )  # fmt: skip


def forward(
    params: Params, config: ModelConfig, state: State, inputs: jax.Array
) -> tuple[State, jax.Array, jax.Array]:
    """A supervision step on inputs (b, l): the state after it, logits (b, l, v), halting logits (b,), which position 0 tells."""
    x = params["embed"]["symbol"][inputs] * config.width**0.5
    bias = jnp.zeros((config.layers, 1, 1, 1, 1))
    tables = rotary(inputs.shape[1], config.width // config.heads)
    state = deep_recursion(params, config, x, jax.lax.stop_gradient(state), bias, tables)
    heads = params["heads"]
    return state, state.y @ heads["symbol"], state.y[:, 0] @ heads["halt"] + heads["halt_bias"]


def stablemax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """(b, l) losses, 0 where ignored. Stablemax is linear above 0 and 1 / (1 - x) below (arXiv 2501.04697)."""
    mass = jnp.where(logits < 0, 1 / (1 - jnp.minimum(logits, 0.0)), jnp.maximum(logits, 0.0) + 1)
    logs = jnp.log(mass) - jnp.log(mass.sum(-1, keepdims=True))
    chosen = jnp.take_along_axis(logs, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(labels != IGNORED, -chosen, 0.0)


def begin(config: ModelConfig, carry: Carry, inputs: jax.Array, labels: jax.Array) -> Carry:
    """The carry with a new example in every row that has halted."""
    fresh, old = initial_state(config, carry.inputs.shape), carry.halted
    wide = old[:, None, None]
    return Carry(
        State(jnp.where(wide, fresh.y, carry.state.y), jnp.where(wide, fresh.z, carry.state.z)),
        jnp.where(old, 0, carry.steps), old,
        jnp.where(old[:, None], inputs, carry.inputs), jnp.where(old[:, None], labels, carry.labels),
    )  # fmt: skip


def loss(
    params: Params, config: ModelConfig, carry: Carry, key: jax.Array, exploration: float = EXPLORATION
) -> tuple[jax.Array, tuple[Carry, dict[str, jax.Array]]]:  # fmt: skip
    """The mean loss of one supervision step from `begin`, the carry after it, and the parts of the loss.

    A row halts when it says so, but not before a least number of steps that is 2..steps with probability `exploration`, and in
    any case after `config.steps`. exact: share of rows with every symbol right.
    """
    state, logits, halt = forward(params, config, carry.state, carry.inputs)
    counted = carry.labels != IGNORED
    number = counted.sum(-1)
    right = ((logits.argmax(-1) == carry.labels) & counted).sum(-1) == number
    symbols = stablemax_cross_entropy(logits, carry.labels).sum(-1) / jnp.maximum(number, 1)
    halting = optax.sigmoid_binary_cross_entropy(halt, right.astype(jnp.float32))

    steps = carry.steps + 1
    drawn, least = jax.random.split(key)
    explored = jax.random.uniform(drawn, halt.shape) < exploration
    least = explored * jax.random.randint(least, halt.shape, 2, config.steps + 1)
    halted = (steps >= config.steps) | ((halt > 0) & (steps >= least))
    after = Carry(jax.lax.stop_gradient(state), steps, halted, carry.inputs, carry.labels)
    metrics = {"symbols": symbols.mean(), "halt": halting.mean(), "exact": right.mean()}
    return metrics["symbols"] + _HALT_WEIGHT * metrics["halt"], (after, metrics)


def new_learner(config: ModelConfig, train: TrainConfig, rows: int, length: int) -> Learner:
    """A learner at its first step."""
    params = init_params(config, train.seed)
    average = jax.tree.map(jnp.copy, params)
    return Learner(
        params,
        average,
        optimizer(train, heads=config.heads).init(params),
        empty_carry(config, rows, length),
    )


def make_step(config: ModelConfig, train: TrainConfig, exploration: float = EXPLORATION):
    """The jitted step: (learner, inputs, labels, key) -> (learner, metrics)."""
    transform = optimizer(train, heads=config.heads)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(
        learner: Learner, inputs: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[Learner, Mapping[str, jax.Array]]:
        carry = begin(config, learner.carry, inputs, labels)
        found = jax.value_and_grad(loss, has_aux=True)(
            learner.params, config, carry, key, exploration
        )
        (_, (carry, metrics)), gradient = found
        updates, state = transform.update(gradient, learner.optimizer, learner.params)
        params: Any = optax.apply_updates(learner.params, updates)
        average = optax.incremental_update(params, learner.ema, 1 - train.ema)
        return Learner(params, average, state, carry), metrics

    return step


def solve(params: Params, config: ModelConfig, inputs: jax.Array) -> jax.Array:
    """(steps, b, l) answers after every supervision step; as in the official evaluation no row halts before the last."""

    def step(state: State, _: Any) -> tuple[State, jax.Array]:
        state, logits, _ = forward(params, config, state, inputs)
        return state, logits.argmax(-1)

    return jax.lax.scan(step, initial_state(config, inputs.shape), None, length=config.steps)[1]
