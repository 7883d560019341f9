"""The optimizer: AdamW with warm-up and then a constant rate; a linear decay only in a release branch."""

from __future__ import annotations

from typing import Any

import jax
import optax

from trm.config import TrainConfig


def schedule(config: TrainConfig, decay_from: int = 0) -> optax.Schedule:
    """Linear warm-up to the constant rate; with decay_steps > 0, linear decay to zero from step `decay_from`."""
    warm = optax.linear_schedule(0.0, config.learning_rate, max(1, config.warmup))
    if not config.decay_steps:
        return warm
    decay = optax.linear_schedule(1.0, 0.02, config.decay_steps, transition_begin=decay_from)
    return lambda step: warm(step) * decay(step)


def _decayed(params: Any) -> Any:
    """Kernels decay; embeddings, biases and vectors do not."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and path[0].key != "embed" and "bias" not in str(path[-1])
        ),
        params,
    )


def optimizer(config: TrainConfig, decay_from: int = 0) -> optax.GradientTransformation:
    """Clip by global norm, AdamW with decoupled decay of kernels only."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule(config, decay_from),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=_decayed,
        ),
    )
