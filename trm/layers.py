"""The blocks of the net as pure functions over a parameter dict (shapes in the docstrings).

Post-norm blocks, RMSNorm without weights, SwiGLU, rotary positions, no biases: as in the official code
(trm-facts.md). Matrix products take bf16 inputs and accumulate in f32 where the configuration says so: on CPUs
with AVX512-BF16 or AMX that is the fast path, and it is the TPU's native one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Params = Mapping[str, Any]


def rms_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """x / rms(x) over the last axis, in f32, without a learned scale."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


def _product(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    """Contract axis_a of `a` with axis_b of `b`: bf16 inputs, f32 sums.

    The barrier keeps XLA:CPU from fusing elementwise producers into the product, which would leave its fast
    path (a SwiGLU layer's backward pass took 1.6 times as long without it).
    """
    a, b = jax.lax.optimization_barrier((a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)))
    return jax.lax.dot_general(
        a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32
    )


@jax.custom_vjp
def _bf16_dense(x: jax.Array, w: jax.Array) -> jax.Array:
    return _product(x, w, x.ndim - 1, 0)


def _bf16_dense_forward(x: jax.Array, w: jax.Array):
    return _bf16_dense(x, w), (x, w)


def _bf16_dense_backward(saved, g: jax.Array):
    x, w = saved
    rows, g_rows = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return _product(g, w, g.ndim - 1, 1), _product(rows, g_rows, 0, 0)


_bf16_dense.defvjp(_bf16_dense_forward, _bf16_dense_backward)


def dense(x: jax.Array, w: jax.Array, matmul: str) -> jax.Array:
    """x (..., i) times w (i, o), f32 result; the cotangent takes the same fast path as the product."""
    return _bf16_dense(x, w) if matmul == "bf16" else x @ w


def swiglu(params: Params, x: jax.Array, matmul: str) -> jax.Array:
    """(..., width) -> (..., width): down(silu(gate) * up), the two in one product."""
    gate, up = jnp.split(dense(x, params["gate_up"], matmul), 2, axis=-1)
    return dense(jax.nn.silu(gate) * up, params["down"], matmul)


def rotary(length: int, size: int, theta: float = 1e4) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines (length, size / 2) of rotary positions, rotate-half form."""
    frequency = theta ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: jax.Array, tables: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Apply rotary tables (length, size / 2) to x (..., length, size)."""
    cosine, sine = tables
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Softmax attention in f32: at 64 dimensions a head the casts to bf16 cost more than its products save on a CPU.

    q (b, h, i, d), k and v (b, h, j, d), bias broadcastable to (b, h, i, j).
    """
    scores = jnp.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    # dividing after the product with v saves one pass over (i, j)
    return jnp.einsum("bhij,bhjd->bhid", weights, v) / weights.sum(-1)[..., None]


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """(b, l, width) -> (b, heads, l, width / heads)."""
    b, length, width = x.shape
    return x.reshape(b, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: jax.Array) -> jax.Array:
    """The inverse of `split_heads`."""
    b, heads, length, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, length, heads * size)


def block(
    params: Params, x: jax.Array, bias: jax.Array, tables: tuple[jax.Array, jax.Array],
    heads: int, matmul: str,
) -> jax.Array:  # fmt: skip
    """One post-norm block: h = rms(h + attention(h)); h = rms(h + swiglu(h)). x is (b, l, width)."""
    q, k, v = jnp.split(dense(x, params["qkv"], matmul), 3, axis=-1)
    q = rotate(split_heads(q, heads), tables)
    k = rotate(split_heads(k, heads), tables)
    mixed = merge_heads(attend(q, k, split_heads(v, heads), bias))
    x = rms_norm(x + dense(mixed, params["out"], matmul))
    return rms_norm(x + swiglu(params, x, matmul))
