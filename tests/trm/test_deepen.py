"""More layers for trained weights."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from trm.config import ModelConfig
from trm.deepen import deepened, is_deeper
from trm.layers import rotary
from trm.model import count, deep_recursion, init_params, initial_state

SMALL = ModelConfig(
    vocab=64, width=32, heads=2, inner=48, decoder_inner=32, kinds=8, roles=8, matmul="f32"
)


def answer(params, config):
    x = jax.random.normal(jax.random.key(3), (2, 9, config.width))
    bias = jax.random.normal(jax.random.key(4), (2, 1, 1, 9, 9))
    bias = bias[:1].repeat(config.layers, 0)
    state = initial_state(config, x.shape[:2])
    return deep_recursion(params, config, x, state, bias, rotary(9, config.width // config.heads)).y


def test_a_deepened_net_computes_what_it_did():
    deep = dataclasses.replace(SMALL, layers=6)
    params = init_params(SMALL, seed=1)
    more = deepened(params, 6)
    assert count(more) == count(init_params(deep))
    np.testing.assert_allclose(answer(more, deep), answer(params, SMALL), atol=2e-4)


def test_all_its_blocks_can_learn():
    deep = dataclasses.replace(SMALL, layers=4)
    loss = jax.grad(lambda params: (answer(params, deep)[..., 0] ** 2).sum())
    gradient = loss(deepened(init_params(SMALL, seed=1), 4))["net"]
    for name in ("out", "down"):
        assert (np.abs(gradient[name]).max((1, 2)) > 0).all()


def test_layers_that_are_no_multiple_are_refused():
    with pytest.raises(ValueError, match="3 layers are not a multiple of 2"):
        deepened(init_params(SMALL), 3)


def test_only_more_layers_make_a_deeper_net():
    twice = dataclasses.replace(SMALL, layers=4)
    assert is_deeper(twice, SMALL) and is_deeper(SMALL, SMALL)
    assert not is_deeper(dataclasses.replace(SMALL, layers=3), SMALL)
    assert not is_deeper(SMALL, twice)
    assert not is_deeper(dataclasses.replace(twice, width=64), SMALL)
