"""Number for number what the official TRM computes, from golden tensors that tests/fixtures/official/make.py made of it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trm import act
from trm.config import PRESETS, ModelConfig, TrainConfig
from trm.layers import rotary
from trm.model import State, count, net
from trm.optim import scale_by_atan2

GOLDEN = np.load(Path(__file__).parents[1] / "fixtures" / "official" / "golden.npz")
MODEL = ModelConfig(
    vocab=7, width=16, heads=2, layers=2, inner=256, n=2, T=3, steps=3, matmul="f32", qk_norm=False
)
RATE, DECAY, B1, B2, EMA = 1e-2, 0.1, 0.9, 0.95, 0.999
ROWS, LENGTH = 4, 9
NET = {
    "qkv": "self_attn.qkv_proj", "out": "self_attn.o_proj", "gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj",
}  # fmt: skip


def ours(prefix):
    """Official parameters, or what is kept of them, in our form: kernels (in, out), layers stacked, without the continue head."""

    def of(name):
        return jnp.asarray(GOLDEN[f"{prefix}/{name}"])

    return {
        "embed": {"symbol": of("embed_tokens.embedding_weight")},
        "net": {
            mine: jnp.stack([of(f"L_level.layers.{layer}.{theirs}.weight").T for layer in (0, 1)])
            for mine, theirs in NET.items()
        },
        "heads": {
            "symbol": of("lm_head.weight").T,
            "halt": of("q_head.weight")[0],
            "halt_bias": of("q_head.bias")[0],
        },
    }


def close(mine, theirs, tolerance=1e-4):
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def start(monkeypatch):
    """The official first y and z, which are another random draw than ours."""

    def initial(config, shape, kind="float32"):
        y, z = (jnp.asarray(GOLDEN[f"{kind}/{name}"]) for name in "yz")
        full = (*shape, config.width)
        return State(jnp.broadcast_to(y, full), jnp.broadcast_to(z, full))

    monkeypatch.setattr(act, "initial_state", initial)


def data(number):
    return tuple(jnp.asarray(GOLDEN[f"float32/{number}/{name}"]) for name in ("inputs", "labels"))


def test_every_call_of_the_net():
    """Two updates of z and one of y, three times."""
    params, (inputs, _) = ours("float32/init"), data(0)
    x = params["embed"]["symbol"][inputs] * MODEL.width**0.5
    bias, tables = jnp.zeros((2, 1, 1, 1, 1)), rotary(LENGTH, MODEL.width // MODEL.heads)
    y, z = act.initial_state(MODEL, (ROWS, LENGTH))
    theirs = iter(GOLDEN["float32/0/calls"])
    for _ in range(MODEL.T):
        for _ in range(MODEL.n):
            z = net(params, MODEL, x + y + z, bias, tables)
            close(z, next(theirs))
        y = net(params, MODEL, y + z, bias, tables)
        close(y, next(theirs))
    assert next(theirs, None) is None


def learner():
    params = ours("float32/init")
    transform = optax.chain(
        scale_by_atan2(B1, B2), optax.add_decayed_weights(DECAY), optax.scale_by_learning_rate(RATE)
    )
    average = jax.tree.map(jnp.copy, params)
    carry = act.empty_carry(MODEL, ROWS, LENGTH)
    return act.Learner(params, average, transform.init(params), carry), transform


def test_four_steps_of_training_with_rows_that_halt(monkeypatch):
    """Logits, both losses, gradients, which rows halt and what they carry, the optimizer and the average of the parameters."""
    now, transform = learner()
    monkeypatch.setattr(act, "optimizer", lambda train, heads: transform)
    step = act.make_step(MODEL, TrainConfig(ema=EMA), exploration=0.0)
    seen = set()
    for number in range(4):
        golden, (inputs, labels) = f"float32/{number}/", data(number)
        carry = act.begin(MODEL, now.carry, inputs, labels)
        _, logits, halt = act.forward(now.params, MODEL, carry.state, carry.inputs)
        close((logits, halt), (GOLDEN[golden + "logits"], GOLDEN[golden + "q_halt_logits"]))
        if number == 0:
            gradient = jax.grad(
                lambda params, c=carry: act.loss(params, MODEL, c, jax.random.key(0), 0.0)[0]
            )(now.params)
            close(gradient, ours(golden + "gradient"))
        now, metrics = step(now, inputs, labels, jax.random.key(number))
        close(metrics["symbols"], GOLDEN[golden + "symbols"])
        close(metrics["halt"], GOLDEN[golden + "halt"])
        close(now.carry.state, State(GOLDEN[golden + "y"], GOLDEN[golden + "z"]))
        assert now.carry.halted.tolist() == GOLDEN[golden + "halted"].tolist()
        assert now.carry.steps.tolist() == GOLDEN[golden + "steps"].tolist()
        seen |= set(zip(now.carry.steps.tolist(), now.carry.halted.tolist(), strict=True))
        if golden + "after/lm_head.weight" in GOLDEN:
            close(now.params, ours(golden + "after"))
            close(now.ema, ours(golden + "ema"))
    # rows that halt by themselves, that go on, and that have had all their steps
    assert {(1, True), (1, False), (2, False), (3, True)} <= seen


def test_bf16_is_near_the_official_bf16_and_our_f32():
    """Our bf16 is that of the products' inputs alone; the official one is of all activations, and farther from f32."""
    import dataclasses

    low = dataclasses.replace(MODEL, matmul="bf16")
    params, (inputs, _) = ours("float32/init"), data(0)
    state = act.initial_state(MODEL, (ROWS, LENGTH))
    exact = GOLDEN["float32/0/logits"]
    mine = np.abs(act.forward(params, low, state, inputs)[1] - exact).max()
    theirs = np.abs(GOLDEN["bfloat16/0/logits"] - exact).max()
    assert mine < theirs < 0.5


def test_a_least_number_of_steps_keeps_rows_from_halting():
    params = ours("float32/init")
    params["heads"]["halt_bias"] = jnp.asarray(100.0)  # all say halt
    inputs, labels = data(0)
    carry = act.begin(MODEL, act.empty_carry(MODEL, ROWS, LENGTH), inputs, labels)
    free = act.loss(params, MODEL, carry, jax.random.key(0), 0.0)[1][0]
    held = act.loss(params, MODEL, carry, jax.random.key(0), 1.0)[1][0]
    assert free.halted.all() and not held.halted.any()


def test_answers_of_every_step_are_those_of_steps_in_turn():
    params, (inputs, _) = ours("float32/init"), data(0)
    answers = act.solve(params, MODEL, inputs)
    state = act.initial_state(MODEL, inputs.shape)
    for number in range(MODEL.steps):
        state, logits, _ = act.forward(params, MODEL, state, inputs)
        assert (answers[number] == logits.argmax(-1)).all()


def test_the_configuration_of_the_paper_has_seven_million_parameters():
    paper = PRESETS["paper"].model
    assert (paper.width, paper.layers, paper.n, paper.T, paper.steps) == (512, 2, 6, 3, 16)
    shapes = jax.eval_shape(
        lambda: act.init_params(paper.__class__(**{**vars(paper), "vocab": 11}))
    )
    assert 6.8e6 < count(shapes) < 7.0e6
