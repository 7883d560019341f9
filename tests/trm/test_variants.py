"""The switches of the one model: each has the property that is in its name."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trm import loss, model
from trm.checkpoint import WEIGHTS, CheckpointError, is_packed, load_weights, save_weights
from trm.config import Config, TrainConfig
from trm.data.pipeline import Shard, ShardWriter
from trm.encode import target_of
from trm.evaluate import states
from trm.layers import dense, standardized, to_zero_one
from trm.model import State
from trm.predict import Predictor
from trm.train import grown

LENGTH = 64
EDITS = [(9, 10, ("<",)), (0, 1, ()), (26, 26, ("b", "+", "a"))]


@pytest.fixture(scope="module")
def batch(vocab, encoded):
    writer = ShardWriter()
    for edit in EDITS:
        writer.add(encoded[0], [target_of(vocab, encoded[0], *edit)])
    arrays = Shard(writer.arrays()).collate(range(len(EDITS)), LENGTH)
    return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def small(config):
    return dataclasses.replace(config, layers=1, steps=4)


@pytest.fixture(scope="module")
def weights(params):
    net = {name: kernel[:1] for name, kernel in params["net"].items()}
    return jax.tree.map(jnp.asarray, {**params, "net": net})


def changed(before, after):
    return [bool((a != b).any()) for a, b in zip(before, after, strict=True)]


def test_halting_reads_the_bits_of_z_and_nothing_else(small, weights):
    rng = np.random.default_rng(0)
    y, other, z = (jnp.asarray(rng.normal(size=(3, 5, small.width)), jnp.float32) for _ in range(3))
    bits = dataclasses.replace(small, halt="bits")
    said = model.halt_logit(weights, bits, State(y, z))
    assert np.array_equal(said, model.halt_logit(weights, bits, State(other, 3 * z)))
    flipped = z.at[1, 0].multiply(-1)
    assert changed(said, model.halt_logit(weights, bits, State(y, flipped))) == [False, True, False]
    gradient = jax.grad(lambda z: model.halt_logit(weights, bits, State(y, z)).sum())(z)
    np.testing.assert_allclose(gradient[:, 0], [weights["heads"]["halt"]] * 3, rtol=1e-6)


def test_a_step_that_changes_no_bit_is_not_taken(small, weights, batch, monkeypatch):
    """Of a recursion that flips bits of the first row for two steps and of the second for one; padding counts nothing."""
    gated = dataclasses.replace(small, gate="changed")
    mask = jnp.array([[True, True, False]] * 2)

    def step(params, config, x, state, bias, tables):
        age = state.y[:, 0, 0]
        flips = jnp.where(age < jnp.array([2, 1]), -1.0, 1.0)[:, None]
        return State(state.y + 1, state.z.at[:, 1].multiply(flips).at[:, 2].multiply(-1.0))

    monkeypatch.setattr(model, "deep_recursion", step)
    state = State(jnp.zeros((2, 3, 4)), jnp.ones((2, 3, 4)))
    ages = []
    for number in range(4):
        state = model.gated_step(weights, gated, None, state, None, None, mask, number, state)
        ages.append(state.y[:, 0, 0].tolist())
    assert ages == [[1, 1], [2, 1], [2, 1], [2, 1]]


def test_a_step_is_rejected_where_the_halting_head_believes_less(small, weights, batch):
    """With noise every proposal is another one: what is accepted never lowers the halting logit, and something is rejected."""
    better = dataclasses.replace(small, gate="better", noise=2.0, steps=8)
    found = list(states(weights, better, batch))
    logits = np.array([model.halt_logit(weights, better, state) for state in found])
    assert (np.diff(logits, axis=0) >= 0).all()
    taken = [changed(a.y, b.y) for a, b in itertools.pairwise(found)]
    assert 0 < np.mean(taken) < 1
    free = list(states(weights, dataclasses.replace(better, gate="all"), batch))
    assert (np.diff([model.halt_logit(weights, small, state) for state in free], axis=0) < 0).any()


def test_decisions_have_no_gradient(small, monkeypatch):
    """It flows through the step that is taken, or through the state that is kept, and never to what decided."""
    better = dataclasses.replace(small, gate="better")
    monkeypatch.setattr(model, "deep_recursion", lambda p, c, x, s, *_: State(3 * s.y, 3 * s.z))
    y = jnp.array(
        [[[1.0, 0.0]], [[-1.0, 0.0]]]
    )  # tripled, the first is believed more and the second less

    def told(halt, z):
        heads = {"heads": {"halt": halt, "halt_bias": jnp.zeros(())}}
        after = model.gated_step(heads, better, None, State(y, z), None, None, None, 1, State(y, z))
        return after.z.sum()

    to_halt, to_z = jax.grad(told, (0, 1))(jnp.array([1.0, 0.0]), y)
    assert not to_halt.any() and to_z[:, 0, 0].tolist() == [3, 1]


def test_the_recursion_ends_with_the_first_step_that_is_not_taken(checkpoint, encoded):
    """What a halting head believes more after the second step, its negative believes less."""
    predictor = Predictor(checkpoint, steps=2)
    predictor.config = dataclasses.replace(predictor.config, gate="better")
    heads, told = predictor.params["heads"], []
    for sign in (1, -1):
        predictor.params = {**predictor.params, "heads": {**heads, "halt": sign * heads["halt"]}}
        told.append(len(predictor.analyse(encoded[0], greedy=False).steps))
    assert sorted(told) == [1, 2]


def test_rollouts_differ_by_their_noise_alone(small, weights, batch):
    noisy = dataclasses.replace(small, noise=0.5, steps=2)
    first, again, other = (list(states(weights, noisy, batch, rollout=r))[-1].y for r in (0, 0, 1))
    plain = list(states(weights, dataclasses.replace(noisy, noise=0.0), batch, rollout=1))[-1].y
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, plain)
    assert np.array_equal(plain, list(states(weights, dataclasses.replace(small, steps=2), batch))[-1].y)  # fmt: skip


def test_each_step_is_asked_for_more_of_the_edit(small, weights, batch):
    """Of the first bug (start, length, one slot and END) a half is start and length; the third has four slots."""
    train = TrainConfig(step_targets=True)
    parts = jax.jit(lambda before: loss.loss(weights, small, batch, train, before)[1])
    whole = jax.jit(lambda before: loss.loss(weights, small, batch, TrainConfig(), before)[1])
    asked = [parts(jnp.int32(before)) for before in range(4)]
    every = [whole(jnp.int32(before)) for before in range(4)]
    for a, b in zip(asked, every, strict=True):
        assert float(a["start"]) == pytest.approx(float(b["start"]))
    assert float(asked[0]["content"]) == 0
    assert 0 < float(asked[0]["length"]) < float(every[0]["length"]), "only of edits of five terms or more"  # fmt: skip
    shares = [float(a["content"] / b["content"]) for a, b in zip(asked, every, strict=True)]
    assert shares == sorted(shares) and 0 < shares[1] < shares[2] < 1
    assert float(asked[3]["loss"]) == pytest.approx(float(every[3]["loss"]))


def test_recursion_grows_to_its_size_and_no_further(config):
    full = dataclasses.replace(config, n=6, T=3, steps=16)
    sizes = [(c.n, c.T, c.steps) for c in (grown(full, number, 100) for number in range(0, 201, 25))]  # fmt: skip
    assert sizes == [(2, 1, 6)] * 2 + [(4, 2, 11)] * 2 + [(6, 3, 16)] * 5
    assert grown(full, 0, 0) == grown(full, 100, 100) == full
    once = dataclasses.replace(config, n=1, T=1, steps=1)
    assert grown(once, 0, 100) == once


def test_zeros_and_ones_are_split_at_the_mean_of_each_kernel():
    w = jnp.array([[[0.0, 1.0], [2.0, 9.0]], [[-8.0, -1.0], [-1.0, -2.0]]])
    assert to_zero_one(w).tolist() == [[[0, 0], [0, 1]], [[0, 1], [1, 1]]]
    assert np.array_equal(to_zero_one(to_zero_one(w)), to_zero_one(w)), "what a file holds stays"
    factor = jnp.arange(8.0).reshape(w.shape)
    assert np.array_equal(jax.grad(lambda w: (to_zero_one(w) * factor).sum())(w), factor)


def test_normalized_products_are_those_of_signs():
    """Zeros and ones give what -1 and 1 give, whatever the mean of the input; bf16 inputs."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(0.3, 1, (5, 32)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(32, 16)), jnp.float32)
    found = dense(x, w, "1-bit")
    np.testing.assert_allclose(found, standardized(x @ (2 * to_zero_one(w) - 1)), atol=0.05)
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(-1), 1, rtol=1e-3)


@pytest.fixture(scope="module")
def one_bit(tmp_path_factory, params, config, vocab):
    binary = dataclasses.replace(config, matmul="1-bit")
    folder = tmp_path_factory.mktemp("bits")
    save_weights(folder, params, Config(model=binary), vocab, {"step": 7})
    return folder, binary


def test_bits_on_disk_propose_what_the_weights_in_memory_do(one_bit, params, encoded):
    folder, binary = one_bit
    predictor = Predictor(folder)
    loaded, config, _ = load_weights(folder)
    assert config.model == binary
    flat = {"net.qkv": loaded["net"]["qkv"], "embed.piece": loaded["embed"]["piece"]}
    for name, kernel in flat.items():
        assert is_packed(name, kernel.shape, config) and set(np.unique(kernel)) == {0.0, 1.0}
    packed = predictor.score(predictor.analyse(encoded[0]), EDITS)
    rest = {**loaded, "net": {**params["net"], "relation": loaded["net"]["relation"]}}
    predictor.params = jax.device_put(rest)
    np.testing.assert_array_equal(predictor.score(predictor.analyse(encoded[0]), EDITS), packed)
    assert np.isfinite(packed).all()


def test_a_file_of_bits_has_a_bit_a_weight(one_bit, checkpoint):
    from safetensors.numpy import load_file

    config = load_weights(one_bit[0])[1]
    bits, plain = load_file(one_bit[0] / WEIGHTS), load_file(checkpoint / WEIGHTS)
    assert bits.keys() == plain.keys()
    for name, array in plain.items():
        packed = is_packed(name, array.shape, config)
        assert bits[name].nbytes == (-(-array.size // 8) if packed else array.nbytes), name
    assert sum(a.nbytes for a in bits.values()) < sum(a.nbytes for a in plain.values()) / 6


def test_bits_that_are_cut_off_are_named(one_bit, tmp_path):
    from safetensors.numpy import load_file, save_file

    for path in one_bit[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays = load_file(tmp_path / WEIGHTS)
    save_file({**arrays, "net.out": arrays["net.out"][:-1]}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"does not fit its configuration at 'net\.out'"):
        load_weights(tmp_path)


def test_one_bit_weights_learn():
    """The straight-through gradient brings a layer of bits to another one's products."""
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(256, 16)), jnp.float32)
    wanted, w = (jnp.asarray(rng.normal(size=(16, 8)), jnp.float32) for _ in range(2))

    @jax.jit
    @jax.value_and_grad
    def error(w):
        return jnp.square(dense(x, w, "1-bit") - dense(x, wanted, "1-bit")).mean()

    before = float(error(w)[0])
    for _ in range(200):
        w = w - 0.2 * error(w)[1]
    assert float(error(w)[0]) < 0.3 * before
    agree = np.asarray(to_zero_one(w) == to_zero_one(wanted)).mean()
    assert agree > 0.85, "of random ones a half"
