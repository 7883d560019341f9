"""More layers for weights that are trained already, without a change of what they compute.

After each block comes a copy of it whose two output kernels are zero, so that it adds nothing to what passes through: block
expansion (LLaMA Pro, arXiv 2401.02415, section 3.1). Training then finds a use for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
    copied = np.arange(layers) % times > 0
    net = {
        name: np.repeat(np.asarray(kernels), times, axis=0)
        for name, kernels in params["net"].items()
    }
    for name in _OUTPUT:
        net[name][copied] = 0.0
    return {**params, "net": net}
