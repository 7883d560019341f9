"""More layers for weights that are trained already, without a change of what they compute.

After each block comes a copy of it whose two output kernels are zero, so that it adds nothing to what passes through: block
expansion (LLaMA Pro, arXiv 2401.02415, section 3.1). Training then finds a use for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trm.config import ModelConfig

_OUTPUT = ("out", "down")  # kernels by which a block adds to what passes through


def is_deeper(config: ModelConfig, than: ModelConfig) -> bool:
    """Whether weights of `than` can be deepened to `config`: these have the same net, or one of a multiple of its layers."""
    same = replace(than, layers=config.layers) == config
    return same and config.layers % than.layers == 0


def deepened(params: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Parameters of a net of `layers` blocks that computes what `params`' net does: each block is followed by its copies.

    Up to rounding: a copy normalizes what passes through once more. Raises ValueError unless `layers` is a multiple of the net's.
    """
    have = len(params["net"]["qkv"])
    if layers % have:
        raise ValueError(f"{layers} layers are not a multiple of {have}")
    times = layers // have
    net = {
        name: np.repeat(np.asarray(kernels), times, axis=0)
        for name, kernels in params["net"].items()
    }
    for name in _OUTPUT:
        net[name][_added(layers, have)] = 0.0
    return {**params, "net": net}


def _added(layers: int, kept: int) -> np.ndarray:
    return np.arange(layers) % (layers // kept) > 0


def only_added(tree: Any, kept: int) -> Any:
    """Gradients or updates of a net that was deepened from `kept` layers: zero for all but the blocks that were added."""

    def of(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        if path[0].key != "net":
            return jnp.zeros_like(leaf)
        added = _added(len(leaf), kept).reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.where(added, leaf, 0.0)

    return jax.tree_util.tree_map_with_path(of, tree)


def with_gradient_of_net(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, of which only the net's have a gradient: what is not asked for is not computed either."""
    return {
        name: part if name == "net" else jax.lax.stop_gradient(part)
        for name, part in params.items()
    }
