"""How many operations a training step is made of, and how many the devices can do: their quotient is MFU.

Model FLOPs utilization as in PaLM (arXiv 2204.02311, appendix B): the operations of the step's products a second, over the
peak of the devices. What a compiler adds or repeats does not count, nor does what is no product.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from trm.layers import dense


class Chip(NamedTuple):
    """Bytes of HBM, its bytes a second, bf16 operations a second, what libtpu calls the host, and what JAX calls the device."""

    memory: int
    bandwidth: float
    peak: float
    host: str
    kinds: tuple[str, ...]


# cloud.google.com/tpu/docs/{v5e,v6e,v5p}, read 2026-11
CHIPS = {
    "v5e": Chip(16 << 30, 819e9, 197e12, "v5litepod", ("TPU v5 lite", "TPU v5e")),
    "v6e": Chip(32 << 30, 1640e9, 918e12, "v6e", ("TPU v6 lite", "TPU v6e")),
    "v5p": Chip(95 << 30, 2765e9, 459e12, "v5p", ("TPU v5", "TPU v5p")),
}
# bf16 operations a second, dense, of the data sheets of NVIDIA; those of PCIe cards and of the NVL are others
_GPUS = {
    "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12,
}  # fmt: skip
PEAKS = {kind: chip.peak for chip in CHIPS.values() for kind in chip.kinds} | _GPUS


def peak(devices: Sequence[Any], matmul: str, width: int, inner: int) -> float | None:
    """Operations a second that the devices can do together; None where that is not known.

    Of TPUs and GPUs what is published for bf16. Of CPUs what a product of the net's own shape, `matmul` and size reaches here,
    measured once: all devices of a process are one machine, and those of other processes may or may not be another.
    """
    first = devices[0]
    if first.platform != "cpu":
        found = PEAKS.get(first.device_kind)
        return None if found is None else found * len(devices)
    if jax.process_count() > 1:
        return None
    return _measured("f32" if matmul == "f32" else "bf16", width, 2 * inner)


@functools.cache
def _measured(matmul: str, width: int, out: int) -> float:
    return product_speed(matmul, width, out)


def product_speed(matmul: str, width: int, out: int, rows: int = 512, seconds: float = 0.2) -> float:  # fmt: skip
    """Operations a second of x (rows, width) times w (width, out) with its gradient, as trm.layers does it on this machine."""
    x, w = jnp.ones((rows, width)), jnp.ones((width, out))
    run = jax.jit(jax.grad(lambda x, w: dense(x, w, matmul).sum(), argnums=(0, 1)))
    jax.block_until_ready(run(x, w))
    began, times = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        jax.block_until_ready(run(x, w))
        times += 1
    return times * 6 * rows * width * out / spent


def operations(program: Jaxpr | ClosedJaxpr, turns: int = 1) -> int:
    """Multiplications and additions of all products in a program, on all devices together.

    turns: of its loops of no fixed length. XLA's own count (`cost_analysis`) takes every loop for one turn. Of branches the
    dearest counts.
    """
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    total = 0
    equation: Any
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        inner = [operations(each, turns) for each in _within(given.values())]
        if name == "dot_general":
            (contracted, _), _ = given["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            size = math.prod(equation.outvars[0].aval.shape)
            total += 2 * size * math.prod(shape[axis] for axis in contracted)
        elif name == "scan":
            total += given["length"] * sum(inner)
        elif name == "while":
            total += turns * sum(inner)
        elif name == "cond":
            total += max(inner)
        else:
            total += sum(inner)
    return total


def _within(values: Any) -> Iterator[Jaxpr | ClosedJaxpr]:
    for value in values:
        if isinstance(value, (Jaxpr, ClosedJaxpr)):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _within(value)
