"""Reinforcement: the objectives on numbers by hand, the policy against the predictor's, and what an update does to a policy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trm import rl
from trm.checkpoint import CheckpointError, load_weights
from trm.config import Config, RLConfig, TrainConfig
from trm.data.pipeline import SLOTS, ShardWriter
from trm.encode import target_of
from trm.model import supervised_state
from trm.predict import Predictor
from trm.train import new_state, train

EDITS = [(9, 10, ("<",)), (9, 10, (">", "=")), (8, 9, ("b",)), (11, 11, ("+", "limit")), (3, 4, ())]
REAL = jnp.array([[True, True, True, False]])


def group(vocab, encoded, rewards, edits=EDITS, place=1):
    targets = tuple(target_of(vocab, encoded, *edit) for edit in edits)
    rewards = np.array(rewards, np.float32)
    return rl.Group(encoded, targets, rewards, rewards == 1, (targets[1],), len(edits), place)


@functools.partial(jax.jit, static_argnums=1)
def policy_of(params, config, batch, before):
    y = supervised_state(params, config, batch["edits"], before).y
    return rl.log_policy(params, config, y, batch["edits"])


def log_softmax(*values):
    return jnp.where(REAL, jax.nn.log_softmax(jnp.array([[*values, -1e9]])), 0.0)


def test_advantages_leave_the_edit_itself_out():
    found = rl.advantages(jnp.array([[1.0, 0.5, 0.0, 9.0]]), REAL)
    np.testing.assert_allclose(found, [[1 - 0.25, 0.5 - 0.5, 0 - 0.75, 0]], atol=1e-6)


def test_a_signal_is_a_difference_between_real_edits():
    rewards = jnp.array([[0.0, 0, 0.5, 0], [0.3, 0.3, 0.3, 0], [0, 0, 0, 1]])
    assert rl.signal(rewards, jnp.repeat(REAL, 3, 0)).tolist() == [True, False, False]


def test_tpo_tilts_the_old_policy_and_rests_there():
    old, rewards = log_softmax(1.0, 0.0, -1.0), jnp.array([[0.0, 0.0, 1.0, 0.0]])
    deviation = np.sqrt(2) / 3
    tilted = np.exp(np.array([1, 0, -1]) + np.array([-1, -1, 2]) / 3 / deviation / 0.5)
    target = tilted / tilted.sum()

    def loss(scores):
        return rl.tpo(log_softmax(*scores), old, rewards, REAL, 0.5).sum()

    scores = jnp.array([1.0, 0.0, -1.0])
    expected = jax.nn.softmax(scores) - target
    np.testing.assert_allclose(jax.grad(loss)(scores), expected, atol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(jnp.log(target)), 0, atol=1e-6)


def test_the_clip_stops_what_has_gone_far_enough_and_nothing_else():
    """Ratios 1.3, 1.3, 0.7, 0.7 with advantages +, -, +, -: the first and the last are stopped."""
    real = jnp.full((1, 4), True)
    old = jnp.full((1, 4), -1.0)
    new = old + jnp.log(jnp.array([[1.3, 1.3, 0.7, 0.7]]))
    rewards = jnp.array([[1.0, 0.0, 1.0, 0.0]])
    gains = np.array([1 - 1 / 3, -2 / 3, 1 - 1 / 3, -2 / 3])
    found = jax.grad(lambda values: rl.ppo(values, old, rewards, real, 0.2).sum())(new)
    stopped = np.array([0.0, 1.3, 0.7, 0.0])
    np.testing.assert_allclose(found, [-stopped * gains / 4], atol=1e-6)
    value = rl.ppo(new, old, rewards, real, 0.2)[0]
    assert float(value) == pytest.approx(-(gains * [1.2, 1.3, 0.7, 0.8]).sum() / 4)


@pytest.mark.parametrize("name", ["tpo", "ppo"])
def test_groups_of_equal_rewards_and_padding_pull_nowhere(name):
    settings = RLConfig(objective=name)
    scores = jnp.array([[0.3, 0.2, -1.0, 5.0], [1.0, 2.0, 3.0, 5.0]])
    real = jnp.repeat(REAL, 2, 0)

    def loss(scores, rewards):
        new = jnp.where(real, jax.nn.log_softmax(jnp.where(real, scores, -1e9)), 0.0)
        return rl.objective(settings, new, jax.lax.stop_gradient(new), rewards, real)

    rewards = jnp.array([[1.0, 0, 0, 0], [0.5, 0.5, 0.5, 0]])
    found = jax.grad(loss)(scores, rewards)
    assert np.abs(found[0, :3]).min() > 1e-3
    assert not found[1].any() and not found[0, 3]
    alone = jax.grad(loss)(scores, jnp.ones_like(rewards))
    assert not alone.any() and float(loss(scores, jnp.zeros_like(rewards))) == 0


def test_the_policy_is_the_one_that_the_predictor_scores_with(config, vocab, predictor, encoded):
    groups = [group(vocab, encoded[0], [1, 0, 0, 0, 0]), group(vocab, encoded[1], [0, 1], EDITS[:2])]  # fmt: skip
    batch = jax.tree.map(jnp.asarray, rl.collate(groups, 6))
    assert batch["edits"]["slot_edit"].shape == (2, 128)
    for row, each in enumerate(groups):
        analysis = predictor.analyse(each.encoded, greedy=False)
        scores = predictor.score_targets(analysis, each.edits, [16] * len(each.edits))
        before = jnp.asarray(len(analysis.steps) - 1, jnp.int32)
        found = np.asarray(policy_of(predictor.params, config, batch, before))[row]
        expected = jax.nn.log_softmax(jnp.asarray(scores, jnp.float32))
        np.testing.assert_allclose(found[: len(scores)], expected, atol=2e-4)
        assert not found[len(scores) :].any()


def test_many_slots_find_room_and_what_does_not_fit_is_refused(vocab, encoded):
    long = [(n, n + 1, ("a", "b") * 6) for n in range(1, 12)]
    batch = rl.collate([group(vocab, encoded[0], [1] * len(long), long)], 16)
    assert batch["edits"]["slot_edit"].shape == (1, 256)
    assert set(batch["edits"]["slot_edit"][0]) == {-1, *range(11)}
    assert batch["fixes"]["slot_edit"].shape == (1, SLOTS[128])
    nothing = dataclasses.replace(group(vocab, encoded[0], [1] * 5), edits=())
    with pytest.raises(ValueError, match="no edits, or too many"):
        rl.collate([group(vocab, encoded[0], [1] * 5)], 4)
    with pytest.raises(ValueError, match="no edits, or too many"):
        rl.collate([group(vocab, encoded[0], [1] * 2, EDITS[:2]), nothing], 4)


def settings(config, **more):
    training = TrainConfig(learning_rate=1e-3, warmup=1, log_every=1, weight_decay=0.0, seed=1)
    return Config(config, training, RLConfig(edits=8, groups=2, epochs=2, **more))


@pytest.mark.parametrize("name", ["tpo", "ppo"])
def test_the_edit_that_earns_the_reward_becomes_likelier(name, config, params, vocab, encoded):
    chosen = settings(config, objective=name, supervised=0.0)
    batch = rl.collate([group(vocab, encoded[0], [0, 0, 1, 0, 0]), group(vocab, encoded[1], [0, 0])], 8)  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch)
    update, before = rl.make_update(chosen), jnp.asarray(1, jnp.int32)
    state = new_state(chosen, jax.tree.map(jnp.array, params))
    probability = []
    old = jnp.zeros_like(batch["rewards"])
    for number in range(24):
        state, old, metrics = update(state, batch, old, jnp.asarray(number % 2 == 0), before)
        probability.append(float(jnp.exp(old[0, 2])))
    assert probability[::2] == probability[1::2]  # the old policy is that before both epochs
    assert probability[-1] > probability[0] + 0.4
    assert np.isfinite(list(jax.tree.map(float, metrics).values())).all()


@pytest.mark.parametrize("name", ["tpo", "ppo"])
def test_without_a_signal_an_update_is_the_supervised_one(name, config, params, vocab, encoded):
    batch = rl.collate([group(vocab, encoded[0], [0.2] * 5), group(vocab, encoded[1], [0, 0])], 8)
    batch = jax.tree.map(jnp.asarray, batch)
    before = jnp.asarray(0, jnp.int32)
    after = []
    for objective in (name, "none"):
        chosen = settings(config, objective=objective)
        state = new_state(chosen, jax.tree.map(jnp.array, params))
        old = jnp.zeros_like(batch["rewards"])
        state, _, metrics = rl.make_update(chosen)(state, batch, old, jnp.asarray(True), before)
        assert float(metrics["rl"]) == 0 and float(metrics["supervised"]) > 0
        after.append(state.params)
    for mine, theirs in zip(*map(jax.tree.leaves, after), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def endless(vocab, encoded, asked):
    """Rollouts that remember from where they were asked to go on, and with which parameters."""

    def rollouts(predictor, place):
        asked.append(place)
        while True:
            place += 1
            asked.append(float(jnp.sum(predictor.params["heads"]["start"])))
            yield group(vocab, encoded[place % 2], [0, 1, 0, 0.2, 0], place=place)

    return rollouts


def test_a_run_asks_the_new_policy_ends_in_time_and_resumes(config, checkpoint, vocab, encoded, tmp_path):  # fmt: skip
    chosen = settings(config, executions=25)
    asked = []
    done = list(rl.reinforce(chosen, endless(vocab, encoded, asked), checkpoint, tmp_path))
    assert [(update.number, update.executions) for update in done] == [(2, 10), (4, 20), (6, 30)]
    assert asked[0] == 0 and asked[1] == asked[2] != asked[3] == asked[4]
    assert done[0].metrics["solved"] == done[0].metrics["signal"] == 1
    assert done[0].metrics["reward"] == pytest.approx(0.24) and not done[0].metrics["first"]
    weights, card = load_weights(tmp_path / "weights")[::2]
    assert card["step"] == 6 and Predictor(tmp_path / "weights").config == config
    more = dataclasses.replace(chosen, rl=dataclasses.replace(chosen.rl, executions=1000))
    asked.clear()
    running = rl.reinforce(more, endless(vocab, encoded, asked), checkpoint, tmp_path)
    assert (next(running).executions, asked[0]) == (40, 6)
    running.close()
    again, card = load_weights(tmp_path / "weights")[::2]
    assert card["step"] == 8
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (weights, again)), strict=True))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax
def test_another_net_and_another_kind_of_run_are_refused(config, checkpoint, vocab, encoded, tmp_path):  # fmt: skip
    other = settings(dataclasses.replace(config, inner=64))
    with pytest.raises(CheckpointError, match="has another model"):
        next(rl.reinforce(other, endless(vocab, encoded, []), checkpoint, tmp_path / "a"))
    chosen = settings(config, executions=5)
    list(rl.reinforce(chosen, endless(vocab, encoded, []), checkpoint, tmp_path / "b"))
    writer = ShardWriter()
    writer.add(encoded[0], [target_of(vocab, encoded[0], *EDITS[0])])
    writer.write(tmp_path / "data" / "shard-00000")
    vocab.save(tmp_path / "data" / "vocab.json")
    with pytest.raises(CheckpointError, match="another kind of training"):
        next(train(chosen, tmp_path / "data", tmp_path / "b"))


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="objective is 'tpo', 'ppo' or 'none'"):
        Config().override({"rl.objective": "grpo"})
