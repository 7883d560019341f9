"""The blocks of the net as pure functions over a parameter dict (shapes in the docstrings).

Post-norm blocks, RMSNorm without weights, SwiGLU, rotary positions, no biases: as in the official code
(trm-facts.md). Matrix products take bf16 inputs and accumulate in f32 where the configuration says so: on CPUs
with AVX512-BF16 or AMX that is the fast path, and it is the TPU's native one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Params = Mapping[str, Any]
_EPSILON = 1e-5


def lecun(key: jax.Array, *shape: int, fan: int | None = None) -> jax.Array:
    """A random kernel (..., in, out): a normal of variance 1 / in (or 1 / fan), cut at two deviations."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape) * (
        (fan or shape[-2]) ** -0.5 / 0.87962566
    )


@jax.custom_vjp
def rms_norm(x: jax.Array) -> jax.Array:
    """x / rms(x) over the last axis, in f32, without a learned scale."""
    return _rms_forward(x)[0]


def _rms_forward(x: jax.Array):
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)
    y = x * scale
    return y, (y, scale)


def _rms_backward(saved, g: jax.Array):
    y, scale = saved
    return (scale * (g - y * jnp.mean(g * y, axis=-1, keepdims=True)),)


rms_norm.defvjp(_rms_forward, _rms_backward)


def _fast(x: jax.Array) -> jax.Array:
    """A bf16 copy as the input of a product.

    The barrier keeps XLA:CPU from fusing elementwise producers into the product, which would leave its fast
    path (a SwiGLU layer's backward pass took 1.6 times as long without it).
    """
    return jax.lax.optimization_barrier(x.astype(jnp.bfloat16))


def _product(a: jax.Array, b: jax.Array, axis_b: int) -> jax.Array:
    """Contract the last axis of `a` with axis_b of `b`, f32 sums."""
    return jax.lax.dot_general(
        a, b, (((a.ndim - 1,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32
    )


def _transposed(x: jax.Array) -> jax.Array:
    """(b, ..., i) -> (i, rows) in memory.

    XLA:CPU's fast product contracts the last axis of its left input only. A plain transposition would be folded into
    the product again; this one is not, and doubles the speed of a weight's gradient.
    """
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    turned = jax.lax.optimization_barrier(x.transpose(2, 0, 1))
    return jax.lax.optimization_barrier(turned.reshape(x.shape[2], -1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _bf16_dense(x: jax.Array, w: jax.Array, parts: int) -> tuple[jax.Array, ...]:
    return _bf16_forward(x, w, parts)[0]


def _bf16_forward(x: jax.Array, w: jax.Array, parts: int):
    x = _fast(x)
    kernels = tuple(_fast(part) for part in jnp.split(w, parts, axis=1))
    return tuple(_product(x, kernel, 0) for kernel in kernels), (x, kernels)


def _bf16_backward(parts: int, saved, g: tuple[jax.Array, ...]):
    x, kernels = saved
    g = tuple(_fast(part) for part in g)
    dx = sum(_product(part, kernel, 1) for part, kernel in zip(g, kernels, strict=True))
    turned = _transposed(x)
    dw = [_product(turned, part.reshape(-1, part.shape[-1]), 0) for part in g]
    # a transposition of the result, too, would be folded into the product
    return dx, jax.lax.optimization_barrier(jnp.concatenate(dw, axis=1))


_bf16_dense.defvjp(_bf16_forward, _bf16_backward)


@jax.custom_vjp
def _bf16_table(x: jax.Array, table: jax.Array) -> jax.Array:
    return _bf16_table_forward(x, table)[0]


def _bf16_table_forward(x: jax.Array, table: jax.Array):
    x, table = _fast(x), _fast(table)
    return _product(x, table, 1), (x, table)


def _bf16_table_backward(saved, g: jax.Array):
    x, table = saved
    g = _fast(g)
    d_table = _product(_transposed(g), x.reshape(-1, x.shape[-1]), 0)
    return _product(g, table, 0), jax.lax.optimization_barrier(d_table)


_bf16_table.defvjp(_bf16_table_forward, _bf16_table_backward)


def to_zero_one(w: jax.Array) -> jax.Array:
    """1 where an entry is above the mean of its matrix (the last two axes), else 0; the gradient is the identity's."""
    above = (w > w.mean((-2, -1), keepdims=True)).astype(w.dtype)
    return w + jax.lax.stop_gradient(above - w)


def standardized(x: jax.Array) -> jax.Array:
    """Mean 0 and deviation 1 over the last axis, without a learned scale: then zeros and ones are as good as -1 and 1."""
    return rms_norm(x - x.mean(-1, keepdims=True))


def table_of(table: jax.Array, matmul: str) -> jax.Array:
    """The rows that a lookup in a table (..., d) gives."""
    return (
        standardized(to_zero_one(table)) * table.shape[-1] ** -0.5 if matmul == "1-bit" else table
    )


def dense_table(x: jax.Array, table: jax.Array, matmul: str) -> jax.Array:
    """x (..., i) times the rows of table (o, i): (..., o) in f32."""
    return x @ table.T if matmul == "f32" else _bf16_table(x, table_of(table, matmul))


def dense(x: jax.Array, w: jax.Array, matmul: str) -> jax.Array:
    """x (..., i) times w (i, o), f32 result; the cotangent takes the same fast path as the product."""
    return dense_parts(x, w, 1, matmul)[0]


def dense_parts(x: jax.Array, w: jax.Array, parts: int, matmul: str) -> tuple[jax.Array, ...]:
    """`dense` and then a split of the last axis into equal parts, without a pass over memory for the split."""
    if matmul == "f32":
        return tuple(jnp.split(x @ w, parts, axis=-1))
    one_bit = matmul == "1-bit"
    products: tuple[jax.Array, ...] = _bf16_dense(x, to_zero_one(w) if one_bit else w, parts)  # type: ignore[assignment]
    return tuple(map(standardized, products)) if one_bit else tuple(products)


@jax.custom_vjp
def _gated(gate: jax.Array, up: jax.Array) -> jax.Array:
    return jax.nn.silu(gate) * up


def _gated_forward(gate: jax.Array, up: jax.Array):
    return _gated(gate, up), (gate, up)


def _gated_backward(saved, g: jax.Array):
    gate, up = saved
    share = jax.nn.sigmoid(gate)
    return g * up * share * (1 + gate * (1 - share)), g * gate * share


_gated.defvjp(_gated_forward, _gated_backward)


def swiglu(params: Params, x: jax.Array, matmul: str) -> jax.Array:
    """(..., width) -> (..., width): down(silu(gate) * up), the two in one product."""
    gate, up = dense_parts(x, params["gate_up"], 2, matmul)
    return dense(_gated(gate, up), params["down"], matmul)


def rotary(length: int, size: int, theta: float = 1e4) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines (length, size / 2) of rotary positions, rotate-half form."""
    frequency = theta ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: jax.Array, tables: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Apply rotary tables (length, size / 2) to x (..., length, size)."""
    cosine, sine = tables
    halves = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)
    # the halves reversed instead of split and concatenated: an inner loop that vectorizes
    signed = jnp.stack([-sine, sine], axis=-2)
    turned = halves * cosine[:, None] + jnp.flip(halves, -2) * signed
    return turned.reshape(x.shape)


SHARPNESS = 2.0  # scores are within +- SHARPNESS * sqrt(d): 16 with 64 dimensions a head


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
    return _attend_forward(q, k, v, bias)[0]


def _attend_forward(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array):
    scores = jnp.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5 + bias
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    # dividing after the product with v saves one pass over (i, j)
    scale = 1 / weights.sum(-1, keepdims=True)
    out = jnp.einsum("bhij,bhjd->bhid", weights, v) * scale
    return out, (q, k, v, bias, weights, scale, out)


def _attend_backward(saved, g: jax.Array):
    q, k, v, bias, weights, scale, out = saved
    g = g * scale
    mean = (g * out).sum(-1, keepdims=True)
    dv = jnp.einsum("bhij,bhid->bhjd", weights, g)
    d_scores = weights * (jnp.einsum("bhid,bhjd->bhij", g, v) - mean)
    size = q.shape[-1] ** -0.5
    dq = jnp.einsum("bhij,bhjd->bhid", d_scores, k) * size
    dk = jnp.einsum("bhij,bhid->bhjd", d_scores, q) * size
    axes = tuple(axis for axis in range(4) if bias.shape[axis] == 1 < d_scores.shape[axis])
    return dq, dk, dv, d_scores.sum(axes, keepdims=True) if axes else d_scores


_attend.defvjp(_attend_forward, _attend_backward)


def attend(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array, qk_norm: bool = True
) -> jax.Array:
    """Softmax attention in f32: at 64 dimensions a head the casts to bf16 cost more than its products save on a CPU.

    q (b, h, i, d), k and v (b, h, j, d), bias broadcastable to (b, h, i, j). qk_norm: normalize queries and keys (arXiv
    2010.04245); without, scores grew in training until each position attended to one other, and none learned any more.
    """
    if not qk_norm:
        return _attend(q, k, v, bias)
    return _attend(rms_norm(q) * SHARPNESS, rms_norm(k), v, bias)


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
    heads: int, matmul: str, qk_norm: bool = True,
) -> jax.Array:  # fmt: skip
    """One post-norm block: h = rms(h + attention(h)); h = rms(h + swiglu(h)). x is (b, l, width)."""
    q, k, v = dense_parts(x, params["qkv"], 3, matmul)
    q = rotate(split_heads(q, heads), tables)
    k = rotate(split_heads(k, heads), tables)
    mixed = merge_heads(attend(q, k, split_heads(v, heads), bias, qk_norm))
    x = rms_norm(x + dense(mixed, params["out"], matmul))
    return rms_norm(x + swiglu(params, x, matmul))
