"""What must hold of the network whatever its weights: masks, causality, and where gradients go."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trm import model
from trm.config import MAX_SPAN, PRESETS
from trm.encode import SEGMENT
from trm.evaluate import states as supervision_states
from trm.layers import rotary
from trm.model import Slots, State
from trm.predict import _pad

LENGTH = 64
EDITS = ((0, 5, 2, 3), (1, 9, 0, 2), (2, 14, 4, 3))  # edit, start, length, slots
LOW = -1e8


@pytest.fixture(scope="module")
def deep(config):
    """Cycles and steps run more than once; the inner loop has a test of its own."""
    return dataclasses.replace(config, n=1, T=2, steps=3, layers=1)


@pytest.fixture(scope="module")
def weights(params):
    """Weights of one block."""
    return jax.tree.map(
        jnp.asarray, {**params, "net": {k: v[:1] for k, v in params["net"].items()}}
    )


@pytest.fixture(scope="module")
def batch(encoded):
    padded = [_pad(one, LENGTH) for one in encoded]
    return {key: np.concatenate([one[key] for one in padded]) for key in padded[0]}


@pytest.fixture(scope="module")
def slots():
    rows = [(edit, i, start, n) for edit, start, n, count in EDITS for i in range(count)]
    rows += [(-1, 0, 0, 0)] * (16 - len(rows))
    table = np.array([rows, rows], np.int32).transpose(2, 0, 1)
    previous = np.random.default_rng(0).integers(8, 300, (2, 16, 4), np.int32)
    return Slots(*table, previous)


@pytest.fixture(scope="module")
def forward(deep, weights):
    """Everything the heads say, jitted once: (batch, slots) -> arrays by name, and the states."""

    @jax.jit
    def run(batch, slots):
        states = list(supervision_states(weights, deep, batch))
        y = states[-1].y
        everywhere = jnp.broadcast_to(jnp.arange(LENGTH)[None], batch["mask"].shape)
        memory = model.decoder_memory(weights, deep, y, batch["mask"])
        words, copies = model.content_logits(weights, deep, memory, slots)
        logits = {
            "start": model.start_logits(weights, deep, y, batch),
            "length": model.length_logits(weights, deep, y, batch["code"], everywhere),
            "words": words,
            "copies": copies,
            "halt": model.halt_logit(weights, deep, states[-1]),
        }
        return logits, [state.y for state in states]

    return lambda batch, slots: jax.tree.map(np.asarray, run(batch, slots))


@pytest.fixture(scope="module")
def logits(forward, batch, slots):
    return forward(batch, slots)[0]


def test_padding_says_nothing(forward, batch, slots, logits):
    rng = np.random.default_rng(3)
    dirty = {key: value.copy() for key, value in batch.items()}
    outside = ~batch["mask"]
    for key, high in (("pieces", 300), ("kind", 60), ("role", 90), ("text", 9), ("line", 9),
                      ("last_use", 20), ("last_def", 20), ("features", 15)):  # fmt: skip
        dirty[key][outside] = rng.integers(0, high, dirty[key][outside].shape)
    found = forward(dirty, slots)[0]
    real = batch["mask"]
    for key in ("words", "halt"):
        np.testing.assert_allclose(found[key], logits[key], atol=1e-4)
    np.testing.assert_allclose(found["start"][real], logits["start"][real], atol=1e-4)
    np.testing.assert_allclose(found["copies"], logits["copies"], atol=1e-4)
    for example, code in enumerate(batch["code"]):
        inner = slice(1, code + 2)
        np.testing.assert_allclose(
            found["length"][example, inner], logits["length"][example, inner], atol=1e-4
        )


def test_examples_of_a_batch_do_not_meet(forward, batch, slots, logits):
    twice = {key: value[[1, 1]] for key, value in batch.items()}
    found = forward(twice, slots)[0]
    for key, value in logits.items():
        np.testing.assert_allclose(found[key][1], value[1], atol=1e-4)


def test_what_the_code_says_matters(forward, batch, slots, logits):
    """The other side of the tests above: each input column changes the answer."""
    for key in ("pieces", "kind", "role", "text", "line", "last_use", "last_def", "features"):
        changed = {name: value.copy() for name, value in batch.items()}
        changed[key][:, 4] = 1 if key != "text" else 3
        if np.array_equal(changed[key], batch[key]):
            continue
        moved = np.abs(forward(changed, slots)[0]["start"] - logits["start"]).max()
        assert moved > 1e-4, key


def test_edits_start_at_markers_and_code_only(batch, logits):
    for example, code in enumerate(batch["code"]):
        allowed = logits["start"][example] > LOW
        assert allowed[: code + 2].all() and not allowed[code + 2 :].any()
    assert (batch["features"][1, batch["code"][1] + 2 :, SEGMENT] > 1).any(), "there is context"


def test_an_edit_removes_nothing_beyond_the_code(batch, logits):
    for example, code in enumerate(batch["code"]):
        for start in range(code + 2):
            allowed = logits["length"][example, start] > LOW
            assert allowed[0], "an insertion is always possible"
            for length in range(1, MAX_SPAN + 1):
                assert allowed[length] == (start > 0 and start + length - 1 <= code)


def test_copies_come_from_real_positions(batch, logits):
    assert ((logits["copies"] > LOW) == batch["mask"][:, None, :]).all()


@pytest.mark.parametrize("changed", range(8))
def test_slots_see_the_slots_before_them_in_their_own_edit_only(
    forward, batch, slots, logits, changed
):
    previous = slots.previous.copy()
    previous[:, changed] = previous[:, changed] % 200 + 20
    found = forward(batch, slots._replace(previous=previous))[0]
    moved = np.abs(found["words"] - logits["words"]).max(-1) > 1e-5
    edit, index = slots.edit[0], slots.index[0]
    later = (edit == edit[changed]) & (index >= index[changed])
    assert (moved == later[None]).all()


def test_untrained_relations_say_nothing(config, batch):
    fresh = jax.eval_shape(lambda: model.init_params(config))
    assert fresh["net"]["relation"].shape == (config.layers, model.RELATIONS, config.heads)
    start = jax.jit(lambda: model.init_params(config)["net"]["relation"])()
    assert not np.asarray(start).any()
    bias = np.asarray(model.relation_bias({"net": {"relation": start}}, batch))
    masked = np.broadcast_to(~batch["mask"][None, :, None, None, :], bias.shape)
    assert (bias[masked] < LOW).all() and not bias[~masked].any()


def test_the_supervised_state_is_that_of_the_plain_recursion(deep, weights, batch, slots, forward):
    states = forward(batch, slots)[1]
    step = jax.jit(lambda k: model.supervised_state(weights, deep, batch, k).y)
    for before in range(deep.steps):
        np.testing.assert_allclose(step(jnp.int32(before)), states[before], atol=2e-5)
        if before:
            assert np.abs(states[before] - states[before - 1]).max() > 1e-2, "the states differ"


def test_gradients_do_not_reach_the_steps_before(deep, weights, batch):
    """The gradient after two steps is that of one step from the state they end in, held fixed."""
    weight = np.random.default_rng(5).standard_normal((*batch["mask"].shape, deep.width))

    @jax.jit
    @jax.value_and_grad
    def long(params):
        return (model.supervised_state(params, deep, batch, jnp.int32(2)).y * weight).sum()

    @jax.jit
    @jax.value_and_grad
    def reference(params, state):
        x, bias = model.embed(params, deep, batch), model.relation_bias(params, batch)
        tables = rotary(LENGTH, deep.width // deep.heads)
        for cycle in range(deep.T):
            if cycle == deep.T - 1:
                state = jax.lax.stop_gradient(state)
            state = model.latent_recursion(params, deep, x, state, bias, tables)
        return (state.y * weight).sum()

    held = jax.jit(lambda: model.supervised_state(weights, deep, batch, jnp.int32(1)))()
    value, gradient = long(weights)
    wanted, right = reference(weights, held)
    assert value == pytest.approx(float(wanted), rel=1e-3, abs=1e-3)
    for part in ("embed", "net"):
        for name in gradient[part]:
            a, b = np.asarray(gradient[part][name]), np.asarray(right[part][name])
            np.testing.assert_allclose(a, b, atol=2e-3 * max(1.0, np.abs(b).max()), err_msg=name)
    assert np.abs(gradient["net"]["qkv"]).max() > 0


def test_recursion_is_the_papers_loop(deep, weights, monkeypatch):
    """n updates of z from x + y + z, then one of y from y + z, T times; counted with a net that can be followed."""
    monkeypatch.setattr(model, "net", lambda params, config, h, bias, tables: 0.5 * h + 1.0)
    for n, cycles in ((1, 1), (2, 3), (6, 3)):
        x, y, z = 3.0, 5.0, 7.0
        for _ in range(cycles):
            for _ in range(n):
                z = 0.5 * (x + y + z) + 1.0
            y = 0.5 * (y + z) + 1.0
        found = model.deep_recursion(
            weights, dataclasses.replace(deep, n=n, T=cycles), jnp.float32(3.0),
            State(jnp.float32(5.0), jnp.float32(7.0)), None, None,
        )  # fmt: skip
        assert (float(found.y), float(found.z)) == pytest.approx((y, z), rel=1e-6)


def test_bits_are_signs_with_the_gradient_of_the_identity():
    z = jnp.array([-2.0, -0.1, 0.0, 3.0])
    assert list(model.to_bits(z)) == [-1, -1, 1, 1]
    factor = jnp.array([1.0, 2.0, 3.0, 4.0])
    assert list(jax.grad(lambda z: (model.to_bits(z) * factor).sum())(z)) == list(factor)


def test_the_papers_net_has_its_size():
    """Two blocks of width 512, inner 1536: 6 815 744 weights in products, as in the paper's 7M, and 112 relation biases."""
    net = jax.eval_shape(lambda: model.init_params(PRESETS["paper"].model))["net"]
    sizes = {name: model.count({name: leaf}) for name, leaf in net.items()}
    assert sizes.pop("relation") == 2 * model.RELATIONS * 8
    assert sum(sizes.values()) == 2 * (512 * 4 * 512 + 512 * 2 * 1536 + 1536 * 512) == 6_815_744
