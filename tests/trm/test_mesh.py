"""A training on one device and on meshes of simulated ones: the same batches and losses, every array where it belongs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from trm.config import Config, ModelConfig, TrainConfig
from trm.mesh import DATA, MODEL, batch_sharding, local_rows, make_mesh, placed, shardings
from trm.train import new_state

ROOT = Path(__file__).parents[2]
SMALL = ModelConfig(vocab=64, width=16, heads=2, layers=1, inner=24, decoder_inner=16)


def flags(devices: int) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }


def begin(data: Path, out: Path, steps: int, devices: int, tensor: int = 1, *more: str) -> subprocess.Popen:  # fmt: skip
    program = ROOT / "tests" / "trm" / "on_mesh.py"
    command = [sys.executable, *map(str, (program, data, out, steps, tensor)), *more]
    return subprocess.Popen(command, env=flags(devices), stdout=subprocess.PIPE, text=True)


def told(*processes: subprocess.Popen) -> list[dict]:
    answers = [process.communicate(timeout=900)[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_the_losses_of_any_mesh_are_those_of_one_device(data, tmp_path):
    """Eight devices that share batches of seven, and two processes of which pairs of devices share kernels; after eight steps."""
    [alone] = told(begin(data, tmp_path / "one", 12, 1))
    assert alone["devices"] == 1 and len(alone["losses"]) == 6
    assert min(alone["losses"]) < alone["losses"][0]
    address = f"127.0.0.1:{free_port()}"
    [eight] = told(begin(data, tmp_path / "eight", 8, 8))
    both = told(*(begin(data, tmp_path / "two", 8, 4, 2, address, str(n)) for n in (0, 1)))
    for found in (eight, *both):
        assert found["devices"] == 8
        assert found["losses"] == pytest.approx(alone["losses"][:4], rel=1e-6)
    # what the two left goes on where they stopped, on one device
    [more] = told(begin(data, tmp_path / "two", 12, 1))
    assert more["losses"] == pytest.approx(alone["losses"][4:], rel=1e-6)


def test_a_batch_is_padded_to_the_mesh_and_split_in_order():
    [device] = jax.devices()[:1]
    mesh = make_mesh(devices=[device])
    assert local_rows(mesh, [5, 3, 8]) == [5, 3, 8]
    assert mesh.shape == {DATA: 1, MODEL: 1}
    with pytest.raises(ValueError, match="1 devices are not a multiple of tensor = 2"):
        make_mesh(2, [device])


def test_an_empty_row_changes_no_loss(data, vocab):
    import dataclasses

    from trm.data.pipeline import Shard
    from trm.loss import loss
    from trm.model import init_params

    model = dataclasses.replace(SMALL, vocab=vocab.size, matmul="f32")
    params, shard = init_params(model), Shard(data / "shard-00000")
    values = [
        loss(params, model, shard.collate(rows, 64), TrainConfig(), np.int32(0))
        for rows in ([0, 1, 2], [0, 1, 2, -1, -1])
    ]
    (whole, parts), (padded, padded_parts) = values
    assert float(whole) == pytest.approx(float(padded), rel=1e-6)
    assert {k: float(v) for k, v in parts.items()} == pytest.approx(
        {k: float(v) for k, v in padded_parts.items()}, rel=1e-5
    )


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_kernels_their_averages_and_their_moments_are_split_alike(kind):
    """By the table's axes, where the mesh divides them; embeddings, vectors and counts are on every device."""
    program = """if True:
        import jax, json
        from trm.config import Config, ModelConfig, TrainConfig
        from trm.mesh import make_mesh, placed
        from trm.train import new_state
        model = ModelConfig(vocab=64, width=16, heads=2, layers=1, inner=24, decoder_inner=16)
        mesh = make_mesh(2)
        state = placed(mesh, new_state(Config(model, TrainConfig(optimizer=%r))))
        told = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            shard = leaf.addressable_shards[0].data.shape
            told[jax.tree_util.keystr(path)] = [leaf.shape, shard, len(leaf.sharding.device_set)]
        print(json.dumps(told))
    """
    done = subprocess.run(
        [sys.executable, "-c", program % kind], env=flags(4), check=True, capture_output=True, text=True
    )  # fmt: skip
    table = json.loads(done.stdout)
    assert all(devices == 4 for _, _, devices in table.values())
    split = {name for name, (whole, shard, _) in table.items() if whole != shard}
    assert all(2 * np.prod(table[name][1]) == np.prod(table[name][0]) for name in split)
    kernels = ("['qkv']", "['out']", "['gate_up']", "['down']", "['cross_key_value']")
    rest = ("['relation']", "['self_out']", "['cross_query']", "['cross_out']")
    assert all(name.endswith(kernels + rest) for name in split)
    for kernel in kernels:
        # parameters, average, and Adam's two moments or Muon's one
        assert sum(name.endswith(kernel) for name in split) >= 3
    assert table[".params['net']['qkv']"][1][-1] * 2 == table[".params['net']['qkv']"][0][-1]
    assert table[".params['net']['down']"][1][-2] * 2 == table[".params['net']['down']"][0][-2]


def test_one_device_has_everything_whole():
    mesh = make_mesh(devices=jax.devices()[:1])
    state = placed(mesh, new_state(Config(SMALL, TrainConfig())))
    for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(shardings(mesh, state)), strict=True):  # fmt: skip
        assert leaf.sharding == sharding and leaf.is_fully_addressable
    assert batch_sharding(mesh).spec == PartitionSpec(DATA)
