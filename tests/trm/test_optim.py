"""Adam-mini step for step as the official one, and how little it keeps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trm.config import PRESETS, TrainConfig
from trm.model import count, init_params
from trm.optim import optimizer, scale_by_adam_mini

GOLDEN = np.load(Path(__file__).parents[1] / "fixtures" / "official" / "adam_mini.npz")
HEADS, DECAY, RATE = 2, 0.1, 1e-2


def ours(step):
    """Official arrays in our form: kernels (layers, in, out), queries, keys and values in one."""

    def of(name):
        return np.stack([GOLDEN[f"{step}/layers.{layer}.{name}"] for layer in (0, 1)])

    return {
        "embed": {"piece": jnp.asarray(GOLDEN[f"{step}/embed"])},
        "net": {
            "qkv": jnp.concatenate([of(name).swapaxes(1, 2) for name in ("wq", "wk", "wv")], -1),
            "out": jnp.asarray(of("wo").swapaxes(1, 2)),
            "gate_up": jnp.asarray(of("mlp").swapaxes(1, 2)),
        },
        "heads": {"start": jnp.asarray(GOLDEN[f"{step}/start"]), "bias": jnp.asarray(of("mlp.bias"))},
    }  # fmt: skip


def test_three_steps_of_two_layers_are_those_of_the_official_class():
    transform = optax.chain(
        scale_by_adam_mini(0.9, 0.95, HEADS),
        optax.add_decayed_weights(
            DECAY, lambda tree: jax.tree_util.tree_map_with_path(lambda p, _: p[-1].key != "bias", tree)
        ),
        optax.scale_by_learning_rate(RATE),
    )  # fmt: skip
    params = ours(0)
    state = transform.init(params)
    for step in (1, 2, 3):
        updates, state = transform.update(ours(f"{step}/gradient"), state, params)
        params = optax.apply_updates(params, updates)
        for mine, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(ours(step)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_of_the_second_moments_less_than_a_hundredth_is_kept():
    model = PRESETS["shipped"].model
    shapes = jax.eval_shape(lambda: init_params(model))
    state = jax.eval_shape(scale_by_adam_mini(0.9, 0.95, model.heads).init, shapes)
    assert count(state.nu) < 0.01 * count(shapes) and count(state.mu) == count(shapes)


@pytest.mark.parametrize("kind", ["adamw", "adam-mini", "atan2", "muon"])
def test_every_optimizer_lowers_a_loss(kind, config):
    params = init_params(config)
    target = jax.tree.map(lambda leaf: leaf * 0.5, params)
    transform = optimizer(TrainConfig(optimizer=kind, learning_rate=3e-3, warmup=1), heads=config.heads)  # fmt: skip

    @jax.jit
    def step(params, state):
        def distance(params):
            gaps = jax.tree.map(lambda a, b: jnp.square(a - b).sum(), params, target)
            return sum(jax.tree.leaves(gaps))

        loss, gradient = jax.value_and_grad(distance)(params)
        updates, state = transform.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    state, losses = transform.init(params), []
    for _ in range(12):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.95 * losses[1]


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="one of adamw, adam-mini, atan2, muon, not 'sgd'"):
        TrainConfig(optimizer="sgd")
