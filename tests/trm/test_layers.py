"""The hand-written gradients are those of the plain formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from trm.layers import (
    SHARPNESS,
    attend,
    dense,
    dense_parts,
    dense_table,
    rms_norm,
    rotary,
    rotate,
    swiglu,
)
from trm.model import _weighted


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def plain_rotate(x, tables):
    cosine, sine = tables
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def plain_attend(q, k, v, bias):
    q, k = (x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) for x in (q, k))
    scores = jnp.einsum("bhid,bhjd->bhij", q, k) * SHARPNESS * q.shape[-1] ** -0.5 + bias
    return jnp.einsum("bhij,bhjd->bhid", jax.nn.softmax(scores), v)


def gradients(function, *arguments):
    """The result and the gradients of a random projection of it."""

    @jax.jit
    def run(*arguments):
        out, pull = jax.vjp(function, *arguments)
        return out, *pull(normal(99, *out.shape))

    return run(*arguments)


def assert_same(mine, plain, tolerance):
    for found, expected in zip(mine, plain, strict=True):
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < tolerance and found.shape == expected.shape


def test_rms_norm_and_swiglu():
    x = normal(0, 2, 5, 8)
    check_grads(rms_norm, (x,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)
    np.testing.assert_allclose(jnp.square(rms_norm(x)).mean(-1), 1, rtol=1e-4)
    params = {"gate_up": normal(1, 8, 12) * 0.3, "down": normal(2, 6, 8) * 0.3}
    run = functools.partial(swiglu, matmul="f32")
    check_grads(run, (params, x), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_rotate():
    tables, x = rotary(7, 8), normal(0, 2, 3, 7, 8)
    mine = gradients(lambda x: rotate(x, tables), x)
    assert_same(mine, gradients(lambda x: plain_rotate(x, tables), x), 1e-5)


@pytest.mark.parametrize("bias", [(2, 3, 5, 7), (2, 1, 5, 7), (2, 1, 1, 7)])
def test_attend_and_its_bias_of_any_shape(bias):
    arguments = (
        normal(0, 2, 3, 5, 4),
        normal(1, 2, 3, 7, 4),
        normal(2, 2, 3, 7, 4),
        normal(3, *bias),
    )
    assert_same(gradients(attend, *arguments), gradients(plain_attend, *arguments), 1e-5)


@pytest.mark.parametrize("shape", [(6, 32), (4, 33, 32), (2, 3, 5, 32)])
def test_bf16_products_are_the_products_but_for_rounding(shape):
    x, w = normal(0, *shape), normal(1, 32, 48)
    plain = gradients(lambda x, w: x @ w, x, w)
    assert_same(gradients(lambda x, w: dense(x, w, "bf16"), x, w), plain, 0.02)
    parts = lambda x, w: jnp.concatenate(dense_parts(x, w, 3, "bf16"), axis=-1)  # noqa: E731
    assert_same(gradients(parts, x, w), plain, 0.02)
    value, dx, dw = gradients(lambda x, w: dense_table(x, w, "bf16"), x, w.T)
    assert_same((value, dx, dw.T), plain, 0.02)


def test_weights_of_relations():
    relation, masks = normal(0, 2, 7, 3), normal(1, 4, 7, 5, 5) > 0.5
    run = lambda relation: jnp.einsum("brij,xrh->xbhij", masks.astype(jnp.float32), relation)  # noqa: E731
    assert_same(gradients(lambda r: _weighted(r, masks), relation), gradients(run, relation), 1e-5)
