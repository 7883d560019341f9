"""The training step compiled ahead of time for TPUs that are not there: what it needs of a chip, and what it would take.

The compiler of libtpu runs on any machine. It says nothing of real time, which needs the chips: what is told is a bound, the
roofline (Williams, Waterman and Patterson, CACM 2009) of its counts of operations and bytes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trm.config import Config
from trm.data.pipeline import Shard
from trm.mesh import DATA, batch_sharding, make_mesh, shardings
from trm.peak import CHIPS
from trm.train import make_step, new_state

_FULL = 0.95  # of the memory: the rest is left to the runtime
_USED = re.compile(r"Used ([\d.]+)([KMG]) of")
_COLLECTIVE = re.compile(
    r"= \(?([^=]*?)\)? (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_SHAPE = re.compile(r"\b(pred|[subf]\d+|bf16)\[([\d,]*)\]")


@dataclass(frozen=True)
class StepReport:
    """A step on a topology. positions: of tokens a step, on all chips; the rest is of a chip and a step, in bytes and seconds.

    memory: at the most, of arguments, results and temporary buffers; limit: that of the chip. collectives: what it gets by each
    kind; one in a loop counts once. flops, traffic: the compiler's counts, of which `seconds` is the roofline.
    """

    topology: str
    chips: int
    positions: int
    memory: int
    limit: int
    collectives: dict[str, int]
    flops: float
    traffic: float

    @property
    def seconds(self) -> float:
        """The least that a step can take."""
        chip = CHIPS[self.topology.partition(":")[0]]
        return max(self.flops / chip.peak, self.traffic / chip.bandwidth)


class OutOfMemory(Exception):
    """A step that does not fit a chip. needed: bytes."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"the step needs {needed / (1 << 30):.1f} GiB a chip")
        self.needed = needed


def mesh_of(topology: str, tensor: int = 1) -> Mesh:
    """The mesh of a topology like v5e:2x4. Raises ValueError where there is no such, or no libtpu."""
    kind, _, shape = topology.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape):
        raise ValueError(f"{topology}: not a topology like {', '.join(f'{k}:2x4' for k in CHIPS)}")
    # libtpu asks the machine it runs on what it is, and jax may have put a complaint there
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": f"{CHIPS[kind].host}-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is touched
    }
    try:
        found = topologies.get_topology_desc(topology, platform="tpu")
    except (RuntimeError, NotImplementedError) as error:  # of the many that the library raises
        raise ValueError(f"{topology}: {str(error).splitlines()[0]}") from None
    return make_mesh(tensor, found.devices)


def compiled(topology: str, config: Config, length: int = 256) -> StepReport:
    """The very step of trm.train, with `config.train.slots` positions in examples padded to `length`."""
    mesh = mesh_of(topology, config.train.tensor)
    step = make_step(config.model, config.train, mesh)
    state = jax.eval_shape(lambda: new_state(config))
    rows = -(-max(1, config.train.slots // length) // mesh.shape[DATA]) * mesh.shape[DATA]
    whole = NamedSharding(mesh, PartitionSpec())
    before = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    placed = jax.tree.map(_placed, state, shardings(mesh, state))
    lowered = step.lower(placed, batch_of(mesh, rows, length), before)
    try:
        done: Any = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if (used := _USED.search(str(error))) is None:
            raise
        raise OutOfMemory(int(float(used[1]) * (1 << "KMG".index(used[2]) * 10 + 10))) from None
    used, cost, text = done.memory_analysis(), done.cost_analysis(), done.as_text()
    memory = (
        used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        - used.alias_size_in_bytes
    )  # fmt: skip
    return StepReport(
        topology, mesh.size, rows * length, memory, CHIPS[topology.partition(":")[0]].memory, _collectives(text),
        cost.get("flops", 0.0), cost.get("bytes accessed", 0.0),
    )  # fmt: skip


def filling(less: StepReport, more: StepReport) -> int:
    """About how many positions a step would fill the chips: memory grows in proportion to what is above the parameters.

    From two compiled sizes; to compile a step of that size takes minutes.
    """
    each = (more.memory - less.memory) / (more.positions - less.positions)
    return int(less.positions + (_FULL * less.limit - less.memory) / each)


def larger(config: Config, times: int) -> Config:
    """The same with so many times the positions a step."""
    return replace(config, train=replace(config.train, slots=config.train.slots * times))


def _placed(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def batch_of(mesh: Mesh, rows: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch, which are those of an empty one."""
    names = "ints", "features", "bugs", "slots", "table"
    nothing: dict[str, np.ndarray] = {name: np.zeros((0, 0)) for name in names}
    empty, sharding = Shard(nothing).collate([-1] * rows, length), batch_sharding(mesh)
    return {name: _placed(array, sharding) for name, array in empty.items()}


def _collectives(text: str) -> dict[str, int]:
    """Bytes that a chip gets from each kind of collective of a compiled program."""
    found: dict[str, int] = {}
    for shapes, kind in _COLLECTIVE.findall(text):
        for name, sizes in _SHAPE.findall(shapes):
            bits = 8 if name == "pred" else int(re.sub(r"\D", "", name))
            count = 1
            for size in filter(None, sizes.split(",")):
                count *= int(size)
            found[kind] = found.get(kind, 0) + count * bits // 8
    return found
