"""Operations are counted as by hand and by XLA, and their share of the peak is reported. No clock decides a test."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agent.train_cli import _line, _trained
from trm import train as training
from trm.config import Config, TrainConfig
from trm.data.pipeline import Shard
from trm.layers import swiglu
from trm.peak import CHIPS, PEAKS, operations, peak
from trm.train import Progress, make_step, new_state, train, trained_step

A, B = jnp.ones((5, 7)), jnp.ones((7, 11))
ONE = 2 * 5 * 7 * 11


def counted(function, *arrays, turns=1):
    return operations(jax.make_jaxpr(function)(*arrays), turns)


def test_a_product_and_its_gradients_are_three():
    assert counted(lambda a, b: a @ b, A, B) == ONE
    gradients = jax.value_and_grad(lambda a, b: jnp.sin(a @ b).sum(), argnums=(0, 1))
    assert counted(gradients, A, B) == 3 * ONE
    stacked = jnp.ones((3, 5, 7)), jnp.ones((3, 7, 11))
    assert counted(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), *stacked) == 3 * ONE
    assert counted(lambda a, b: a.sum() + b.sum(), A, B) == 0


def test_loops_count_as_often_as_they_turn_and_branches_once():
    def scanned(a, b):
        return jax.lax.scan(lambda carry, _: (carry + (a @ b).sum(), None), 0.0, None, length=6)[0]

    def turned(a, b, times):
        return jax.lax.fori_loop(0, times, lambda _, carry: carry + (a @ b).sum(), 0.0)

    def chosen(a, b, which):
        return jax.lax.cond(which, lambda: (a @ b).sum(), lambda: (a @ b @ b.T).sum())

    assert counted(scanned, A, B) == 6 * ONE
    assert counted(jax.jit(turned), A, B, jnp.int32(4), turns=4) == 4 * ONE
    assert counted(jax.jit(turned), A, B, jnp.int32(0), turns=0) == 0
    assert counted(chosen, A, B, jnp.bool_(True)) == 2 * ONE


def test_a_layer_without_loops_is_what_xla_counts():
    """XLA counts what is done to each element as well, a few hundredths of it here."""
    params = {"gate_up": jnp.ones((64, 2 * 192)), "down": jnp.ones((192, 64))}
    loss = jax.value_and_grad(lambda p, x: swiglu(p, x, "f32").sum(), argnums=(0, 1))
    x = jnp.ones((4, 128, 64))
    ours = counted(loss, params, x)
    assert ours == 3 * 2 * 4 * 128 * (64 * 2 * 192 + 192 * 64)  # six a parameter and a position
    cost = jax.jit(loss).lower(params, x).cost_analysis()
    assert isinstance(cost, dict) and ours <= cost["flops"] <= 1.1 * ours


def sizes(config, data):
    """Operations of the step on a batch of eight, after 0, 1 and 2 steps without gradient."""
    batch = Shard(data / "shard-00000").collate(range(8), 64)
    state = jax.eval_shape(lambda: new_state(config))
    program = make_step(config.model, config.train).trace(state, batch, np.int32(0)).jaxpr
    return [operations(program, turns) for turns in range(3)]


def test_each_step_without_gradient_costs_the_same(config, data):
    size = sizes(Config(config, TrainConfig()), data)
    assert size[1] - size[0] == size[2] - size[1] > 0
    # one step forward is less than a third of one with its gradient, whose early cycles have none
    assert size[0] > 1.5 * (size[1] - size[0])


def test_published_peaks_add_up_and_an_unknown_device_has_none():
    def device(kind):
        return SimpleNamespace(platform="tpu", device_kind=kind)

    assert peak([device("TPU v5 lite")] * 8, "bf16", 64, 192) == 8 * CHIPS["v5e"].peak
    assert peak([device("TPU v99")], "bf16", 64, 192) is None
    assert all(1e14 < found < 1e15 for found in PEAKS.values())


def test_a_cpus_peak_is_measured_once_and_its_simulated_devices_share_it():
    [device] = jax.devices()[:1]
    found = peak([device], "f32", 64, 192)
    assert found is not None and found > 0
    assert peak([device] * 8, "f32", 64, 192) == found


@pytest.mark.parametrize("known", [True, False])
def test_a_report_has_the_share_of_the_peak_where_that_is_known(
    config, data, tmp_path, monkeypatch, known
):
    """Positions a second and MFU come from one clock: their quotient says how many operations a position was."""
    monkeypatch.setattr(training, "peak", lambda *_: 1e9 if known else None)
    seen = []

    def kept(program, turns):
        seen.append((turns, operations(program, turns)))
        return seen[-1][1]

    monkeypatch.setattr(training, "operations", kept)
    settings = Config(config, TrainConfig(slots=512, log_every=1, steps=4))
    reports = list(train(settings, data, tmp_path / "out"))
    if not known:
        assert [report.mfu for report in reports] == [None] * 4
        assert seen == []
        return
    of = dict(seen)  # all batches have one shape here
    assert len(of) == len(seen) == 2
    for number, report in enumerate(reports):
        each = report.mfu * 1e9 / report.slots_per_second
        positions = 8 * 64
        assert each * positions == pytest.approx(of[int(trained_step(number, config.steps))])


@pytest.mark.parametrize(("mfu", "words"), [(0.2567, " MFU 25.7% "), (None, "")])
def test_a_line_of_the_training_tells_it_or_leaves_it_out(tmp_path, monkeypatch, mfu, words):
    def told(*_, **__):
        yield Progress(1, 2.0, 1000.0, 8, 0.1, {"loss": 1.5}, mfu=mfu)

    monkeypatch.setattr(training, "train", told)
    (report,) = _trained(Config(), [tmp_path], tmp_path, True, None)
    assert report.get("mfu") == mfu and ("mfu" in report) is (mfu is not None)
    line = _line(report)
    assert words in line and ("MFU" in line) is bool(words)
