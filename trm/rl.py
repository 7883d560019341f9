"""Reinforcement from executed tests: a contextual bandit whose action is one edit of a unit (research.md, section 7).

What runs tests is handed in: it yields groups, a function with a fault and K distinct edits that were executed on it, asked of
the policy as it is after the last update. The policy over a group is the softmax of its edits' log-probabilities.

    tpo    cross-entropy of q_i ~ p_old_i exp(u_i / eta), u the standardized reward (arXiv 2604.06159)
    ppo    clipped ratio of the two softmaxes (arXiv 1707.06347, equation 7), with leave-one-out advantages (arXiv 2402.14740)
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trm.checkpoint import CheckpointError, StateStore
from trm.config import Config, ModelConfig, RLConfig
from trm.data.pipeline import MAX_BUGS, Shard, ShardWriter
from trm.encode import Encoded, Target, padded_length
from trm.loss import edit_log_probability, scores_of, step_loss
from trm.model import supervised_state
from trm.optim import optimizer
from trm.predict import Predictor
from trm.train import TrainState, advance, new_state, restored, save_run, set_up, trained_step

# Positions and content slots of a group are padded to powers of two, at least these: few compilations.
_LEAST_LENGTH, _LEAST_SLOTS = 128, 128
_MASKED = -1e9
_PLACE = "rollouts"  # what the states of such a run have beside their arrays


@dataclass(frozen=True)
class Group:
    """A function with a fault, and distinct edits of it that were executed, the policy's first choice first.

    rewards: (K,) in [0, 1], of the tests that are shown; 1 only where all pass. right: (K,) whether the hidden tests pass too,
    which is reported and nothing else. fixes: what repairs the function. executions: edits that were run. place: from where
    rollouts go on once this group is learned from.
    """

    encoded: Encoded
    edits: tuple[Target, ...]
    rewards: np.ndarray
    right: np.ndarray
    fixes: tuple[Target, ...]
    executions: int
    place: int


Rollouts = Callable[[Predictor, int], Generator[Group, None, None]]


@dataclass(frozen=True, slots=True)
class Update:
    """One update: seconds of this process, edits executed in all, means over its groups and epochs.

    reward: mean; signal: share of groups whose rewards differ; solved: share with an edit with which all shown tests pass;
    right: with which the hidden pass too; first: share whose first edit is one of these; the losses as in `make_update`.
    """

    number: int
    seconds: float
    executions: int
    metrics: dict[str, float]
    saved: bool = False


def collate(groups: Sequence[Group], edits: int) -> dict[str, Any]:
    """A batch of groups: `edits` and `fixes` as trm.data.pipeline has them, and rewards (b, edits), 0 for padding.

    Raises ValueError for a group without edits, with more of them, or beyond the longest padded length.
    """
    longest = max(group.encoded.length for group in groups)
    length = padded_length(max(longest, _LEAST_LENGTH))
    if length is None or not all(0 < len(group.edits) <= edits for group in groups):
        raise ValueError("a group is too long, or has no edits, or too many")
    need = max(sum(len(edit.piece) for edit in group.edits) for group in groups)
    slots = max(_LEAST_SLOTS, 1 << (need - 1).bit_length())

    def arrays(most: int, slots: int | None, targets: Callable[[Group], Sequence[Target]]):
        writer = ShardWriter(edits=most)
        for group in groups:
            writer.add(group.encoded, targets(group))
        return Shard(writer.arrays()).collate(range(len(groups)), length, most, slots)

    rewards = np.zeros((len(groups), edits), np.float32)
    for row, group in zip(rewards, groups, strict=True):
        row[: len(group.rewards)] = group.rewards
    return {
        "edits": arrays(edits, slots, lambda group: group.edits),
        "fixes": arrays(MAX_BUGS, None, lambda group: group.fixes),
        "rewards": rewards,
    }


def signal(rewards: jax.Array, real: jax.Array) -> jax.Array:
    """(b,): whether the rewards (b, k) of a group's real edits differ; if not, nothing can be learned from them."""
    return ((rewards != rewards[:, :1]) & real).any(-1)


def advantages(rewards: jax.Array, real: jax.Array) -> jax.Array:
    """Leave-one-out: the reward minus the mean of the group's others, (b, k); 0 for padding."""
    n = real.sum(-1, keepdims=True)
    total = (rewards * real).sum(-1, keepdims=True)
    return jnp.where(real, rewards - (total - rewards) / jnp.maximum(1, n - 1), 0.0)


def ppo(new: jax.Array, old: jax.Array, rewards: jax.Array, real: jax.Array, clip: float) -> jax.Array:  # fmt: skip
    """(b,) losses of log-probabilities (b, k). Every edit counts alike, however likely: they were chosen, not drawn."""
    ratio = jnp.exp(new - old)
    gain = advantages(rewards, real)
    bounded = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - clip, 1 + clip) * gain)
    return -bounded.sum(-1) / real.sum(-1)


def tpo(new: jax.Array, old: jax.Array, rewards: jax.Array, real: jax.Array, eta: float) -> jax.Array:  # fmt: skip
    """(b,) losses of log-probabilities (b, k): cross-entropy against the old ones tilted by the rewards."""
    n = real.sum(-1, keepdims=True)
    centred = jnp.where(real, rewards - (rewards * real).sum(-1, keepdims=True) / n, 0.0)
    deviation = jnp.sqrt((centred**2).sum(-1, keepdims=True) / n)
    tilted = old + centred / jnp.maximum(deviation, 1e-6) / eta
    target = jax.lax.stop_gradient(jax.nn.softmax(jnp.where(real, tilted, _MASKED)))
    return -(target * new).sum(-1)


def objective(rl: RLConfig, new: jax.Array, old: jax.Array, rewards: jax.Array, real: jax.Array) -> jax.Array:  # fmt: skip
    """The mean loss of the groups that carry a signal, 0 where none does."""
    each = ppo(new, old, rewards, real, rl.clip) if rl.objective == "ppo" else tpo(new, old, rewards, real, rl.eta)  # fmt: skip
    carries = signal(rewards, real)
    return jnp.where(carries, each, 0.0).sum() / jnp.maximum(1, carries.sum())


def log_policy(params: Any, config: ModelConfig, y: jax.Array, edits: Any) -> jax.Array:
    """(b, k) log-probabilities among the edits of each group, given the answer y; 0 for padding."""
    scores = edit_log_probability(scores_of(params, config, y, edits), edits)
    real = edits["bug_weight"] > 0
    return jnp.where(real, jax.nn.log_softmax(jnp.where(real, scores, _MASKED)), 0.0)


def make_update(config: Config):
    """The jitted step of the optimizer: (state, batch, old, first, before) -> (state, old, metrics). One compilation a shape.

    old: `log_policy` before the first epoch on the batch, which finds it: then `first` is true and `old` of no matter; before:
    supervision steps before the one that is trained. The loss is that of the objective and `rl.supervised` times the ordinary
    one of the true fixes, both read from one answer y.
    """
    rl, model = config.rl, config.model
    transform = optimizer(config.train, config.model.heads)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: TrainState, batch: Any, old: jax.Array, first: jax.Array, before: jax.Array):  # fmt: skip
        def total(params: Any):
            answered = supervised_state(params, model, batch["edits"], before)
            y = answered.y
            supervised, parts = step_loss(params, model, answered, batch["fixes"], config.train.halt_weight)  # fmt: skip
            reinforced, anchor = jnp.zeros(()), old
            if rl.objective != "none":
                new = log_policy(params, model, y, batch["edits"])
                anchor = jnp.where(first, jax.lax.stop_gradient(new), old)
                real = batch["edits"]["bug_weight"] > 0
                reinforced = objective(rl, new, anchor, batch["rewards"], real)
            metrics = {"rl": reinforced, "supervised": supervised, "exact": parts["exact"]}
            return reinforced + rl.supervised * supervised, (anchor, metrics)

        found = jax.value_and_grad(total, has_aux=True)(state.params)
        (loss, (anchor, metrics)), gradient = found
        metrics |= {"loss": loss, "gradient": optax.tree.norm(gradient)}
        return advance(state, gradient, transform, config.train.ema), anchor, metrics

    return update


def reinforce(
    config: Config, rollouts: Rollouts, start: Path, out: Path, *, resume: bool = True
) -> Generator[Update, None, None]:
    """Train the weights in `start` until `config.rl.executions` edits ran, or `train.steps` or `train.seconds` are over.

    rollouts(predictor, place): groups from `place` on (0: the beginning), asked of the predictor as it then is. `out`, saving,
    resuming and closing are as in trm.train.train; a resumed run begins with the place of the last group it learned from.

    Raises CheckpointError: `start` or the state to resume does not fit.
    """
    began = last_save = time.monotonic()
    set_up()
    rl = config.rl
    predictor = Predictor(start, steps=config.model.steps)
    if predictor.config != config.model:
        raise CheckpointError(f"{start} has another model than --config and --set")
    store = StateStore(out / "states")
    state, place, executions = new_state(config, predictor.params), 0, 0
    if resume and store.latest is not None:
        state, (place, executions) = restored(store, state, _PLACE)
        predictor.params = state.params
    number = int(state.step)
    update = make_update(config)
    groups = rollouts(predictor, place)

    def save() -> None:
        save_run(out, store, state, config, predictor.vocab, {_PLACE: [place, executions]})

    try:
        while executions < rl.executions and number < config.train.steps:
            some = list(itertools.islice(groups, rl.groups))
            if len(some) < rl.groups:
                break
            batch = jax.tree.map(jnp.asarray, collate(some, rl.edits))
            before = trained_step(number // rl.epochs, config.model.steps)
            told, old = [], jnp.zeros_like(batch["rewards"])
            for epoch in range(rl.epochs):
                state, old, metrics = update(state, batch, old, jnp.asarray(epoch == 0), before)
                told.append(metrics)
            predictor.params = state.params  # the old ones were donated
            number += rl.epochs
            place = some[-1].place
            executions += sum(group.executions for group in some)
            means = {key: float(np.mean([each[key] for each in told])) for key in told[0]}
            now = time.monotonic()
            done = bool(config.train.seconds) and now - began > config.train.seconds
            saved = now - last_save > config.train.save_every
            if saved:
                save()
                last_save = now
            yield Update(number, now - began, executions, outcomes(some) | means, saved)
            if done:
                break
    finally:
        groups.close()
        save()
        store.close()


def outcomes(groups: Sequence[Group]) -> dict[str, float]:
    """What the edits of the groups came to: the first part of `Update.metrics`."""
    return {
        "reward": float(np.mean([group.rewards.mean() for group in groups])),
        "signal": float(np.mean([np.ptp(group.rewards) > 0 for group in groups])),
        "solved": float(np.mean([(group.rewards == 1).any() for group in groups])),
        "right": float(np.mean([group.right.any() for group in groups])),
        "first": float(np.mean([group.right[0] for group in groups])),
    }
