"""The mesh: the axes, and where every array lives on them.

Two named axes. A batch is split over "data"; what `_RULES` names is split over "model", the rest is on every device. Shardings
propagate through the step (GSPMD, arXiv 2105.04663), and XLA inserts its collectives; the code of the model knows of none.
One device is a mesh of one. With several processes (jax.distributed) all make the same mesh, and each makes its rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

DATA, MODEL = "data", "model"
_MEETING_MS = 3_600_000  # for the slowest process to compile a step

# Of a kernel by its name, the axis from the end that is split over "model": heads and the inner width of SwiGLU where they
# come out of a product (1), and where they go into one (2), as in Megatron-LM (arXiv 1909.08053, section 3).
_RULES = {
    "qkv": 1, "out": 2, "gate_up": 1, "down": 2, "relation": 1,
    "self_out": 2, "cross_query": 1, "cross_key_value": 1, "cross_out": 2,
}  # fmt: skip


def make_mesh(tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices, `tensor` of which share one copy of the kernels. Raises ValueError where they are not a multiple."""
    found = np.array(jax.devices() if devices is None else list(devices))
    if found.size % tensor:
        raise ValueError(f"{found.size} devices are not a multiple of tensor = {tensor}")
    return Mesh(found.reshape(-1, tensor), (DATA, MODEL))


def spec_of(path: Sequence[Any], shape: Sequence[int], tensor: int) -> PartitionSpec:
    """How a parameter, or what an optimizer keeps of it, is split. path: of its place in a tree (jax.tree_util).

    An axis that `tensor` does not divide is left whole.
    """
    names = [part.key for part in path if isinstance(part, jax.tree_util.DictKey)]
    axis = _RULES.get(names[-1], 0) if names else 0
    if not axis or len(shape) < axis or shape[-axis] % tensor:
        return PartitionSpec()
    return PartitionSpec(*[None] * (len(shape) - axis), MODEL, *[None] * (axis - 1))


def shardings(mesh: Mesh, tree: Any) -> Any:
    """The sharding of every array of a state or of parameters, which may be abstract."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_of(path, leaf.shape, mesh.shape[MODEL])), tree
    )


def placed(mesh: Mesh, tree: Any) -> Any:
    """Arrays that every process has whole, as arrays of the mesh."""

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree, shardings(mesh, tree))


def gathered(tree: Any) -> Any:
    """Whole numpy arrays of arrays of the mesh, on every process; all processes must ask."""

    def whole(leaf: Any) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of the arrays of a batch: examples over "data"."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def local_rows(mesh: Mesh, rows: Sequence[int]) -> list[int]:
    """Those of a batch's rows that are for this process's devices, in order; -1 stands for padding.

    A batch is padded to a multiple of the "data" axis, so that it is the same batch on every mesh.
    """
    size = mesh.shape[DATA]
    padded = [*rows, *[-1] * (math.ceil(len(rows) / size) * size - len(rows))]
    parts = batch_sharding(mesh).addressable_devices_indices_map((len(padded),)).values()
    slices = {part[0].indices(len(padded))[:2] for part in parts if part is not None}
    return [row for first, last in sorted(slices) for row in padded[first:last]]


def distributed(mesh: Mesh, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """The batch of which every process made its `local_rows`."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in arrays.items()
    }


def agreed(*flags: bool) -> tuple[bool, ...]:
    """What process 0 says: clocks differ. All processes must ask."""
    if jax.process_count() == 1:
        return flags
    return tuple(bool(flag) for flag in multihost_utils.broadcast_one_to_all(np.array(flags)))


def meet(place: str) -> None:
    """Wait until all processes are here. place: never the same twice.

    A collective's first use gives up after half a minute on a process that still compiles (Gloo's sockets, on CPUs).
    """
    multihost.get_barrier_sync_fn()(key=place, timeout_ms=_MEETING_MS)


def connect(coordinator: str, processes: int | None = None, process: int | None = None) -> None:
    """Join the other processes of a training (jax.distributed), before the first computation.

    coordinator: HOST:PORT of process 0, which every process names, with the number of processes and its own; or "auto" where
    the cluster tells all three (Cloud TPU, Slurm, Kubernetes). Raises ValueError or RuntimeError where they do not meet.
    """
    if coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(coordinator, processes, process)
