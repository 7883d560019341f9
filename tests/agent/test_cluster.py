"""Mutants on a Ray cluster: those of the local engine, from whichever node; what fails is said; an interrupt leaves nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cluster
from agent.cli import run
from agent.projects import Task
from trm.data.mutants import read

ROOT = Path(__file__).parents[2]
CODE = """
def clamp(value, low=0, high={n}):
    if value < low:
        return low
    return min(value, high)


def total(rows, start={n}):
    out = start
    for row in rows:
        if row != start:
            out += clamp(row)
    return out
"""
TESTS = """from box import clamp, total


def test_clamp():
    assert [clamp(n) for n in (-1, 0, 2, 99)] == [0, 0, 2, {n}]


def test_total():
    assert total([1, 2], 7) == 10
"""
# What a node says of a project ends in its id.
NODE = re.compile(r"^\d+/\d+ (\S+): .*; node ([0-9a-f]{8})$", re.MULTILINE)


def project(folder: Path, n: int, slow: str = "") -> Path:
    root = folder / f"box{n}"
    root.mkdir(parents=True)
    (root / "box.py").write_text(CODE.format(n=n))
    (root / "test_box.py").write_text(TESTS.format(n=n) + slow)
    return root


def mutate(out: Path, *arguments: object) -> list[str]:
    return ["data", "mutate", "--out", str(out), "--python", sys.executable, *map(str, arguments)]


def on_ray(out: Path, *arguments: object) -> list[str]:
    return mutate(out, "--engine", "ray", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--address", "auto"), "--address is of a Ray cluster"), (("--engine", "slurm"), "--engine slurm: no such engine")],
    ids=["address", "engine"],
)  # fmt: skip
def test_wrong_use_is_said(tmp_path: Path, capsys, arguments: tuple[str, ...], said: str) -> None:
    assert run(mutate(tmp_path / "out", tmp_path, *arguments)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_ray_it_is_said_what_to_install(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(on_ray(tmp_path / "out", tmp_path)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --engine ray needs ray, which is not installed",
        "hint: pip install 'trm-agent[cluster]'",
    ]


def test_an_address_where_nothing_is_found_is_said_soon(tmp_path: Path, capsys) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
        began = time.monotonic()
        for address, said in ((closed, "refused"), ("nonsense", "nonsense")):
            before = signal.getsignal(signal.SIGTERM)
            assert run(on_ray(tmp_path / "out", tmp_path, "--address", address)) == 2
            assert signal.getsignal(signal.SIGTERM) is before
            error, hint = capsys.readouterr().err.splitlines()
            assert error.startswith(f"error: --address {address}: ") and said in error
            assert hint.startswith("hint: give HOST:PORT")
        assert time.monotonic() - began < 30


@pytest.fixture(scope="module", autouse=True)
def settings() -> Iterator[None]:
    """No usage report, no token of the user's, and what the program sets for itself stays out of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_NUM_REDIS_GET_RETRIES", "20")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
        yield


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[str, Path]]:
    """The address of a cluster of two nodes with one CPU each, and where its processes put temporary files."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    before = signal.getsignal(signal.SIGTERM)
    # below /tmp: Ray's sockets are there, and their paths must be short
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("TMPDIR", folder)
        head = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            yield cluster.address, Path(folder)
        finally:
            cluster.shutdown()
            signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_two_nodes_make_what_one_process_makes(
    nodes: tuple[str, Path], tmp_path: Path, capsys
) -> None:
    roots = [project(tmp_path, n) for n in range(3, 6)]
    gone = "file:///no/such/thing"
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(mutate(here, *roots, gone)) == 1
    capsys.readouterr()
    assert run(on_ray(there, *roots, gone, "--address", nodes[0])) == 1
    said = capsys.readouterr().err
    ran = dict(NODE.findall(said))
    assert set(ran) == {*(root.name for root in roots), "such/thing"}
    assert len(set(ran.values())) == 2
    assert "such/thing: left out: cannot be cloned" in said
    names = [path.name for path in sorted((here / "parts").iterdir())]
    assert names == [path.name for path in sorted((there / "parts").iterdir())]
    assert names == [f"{root.name}.jsonl.gz" for root in roots]
    for name in names:
        made = list(read(there / "parts" / name))
        assert made and made == list(read(here / "parts" / name))
    assert not list(nodes[1].glob("trm-agent-*"))
    assert run(on_ray(there, *roots, "--address", "kept, so nobody is asked")) == 0


@pytest.mark.slow
def test_a_task_that_raises_or_loses_its_process_is_left_out(
    nodes: tuple[str, Path], tmp_path: Path, monkeypatch
) -> None:
    def work(task: Task) -> tuple[bytes | None, str, bool]:
        if task.package == "dies":
            os._exit(7)
        if task.package == "raises":
            raise LookupError("of this\nand that")
        return b"a part", "made", False

    monkeypatch.setattr(cluster, "_on_node", work)
    (tmp_path / "parts").mkdir()
    names = ("dies", "raises", *(f"good{n}" for n in range(6)))
    tasks = [Task(name, tmp_path, None, (), 1, 0.0, 0) for name in names]
    came = {
        task.package: (said, bad) for task, said, bad in cluster.mutate_on_ray(tasks, 1, nodes[0])
    }
    said, bad = came.pop("dies")
    assert bad and said.startswith("left out: WorkerCrashedError: ")
    assert came.pop("raises") == ("left out: LookupError: of this", True)
    assert came == dict.fromkeys(names[2:], ("made", False))
    parts = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert parts == {f"{name}.jsonl.gz": b"a part" for name in names[2:]}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_it_and_leaves_nothing_on_the_nodes(
    nodes: tuple[str, Path], tmp_path: Path, number: int
) -> None:
    long = "".join(
        f"\n\ndef test_{n}():\n    import time\n    time.sleep(0.8)\n" for n in range(100)
    )
    roots = [project(tmp_path, n, long) for n in (3, 4, 5)]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "agent.cli", *on_ray(out, *roots, "--address", nodes[0])]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )
    try:
        until = time.monotonic() + 120
        while len(list(nodes[1].glob("trm-agent-mutate-*"))) < 2:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        time.sleep(3)
        os.killpg(running.pid, number)
        said = running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert not list((out / "parts").iterdir())
    assert not list(nodes[1].glob("trm-agent-*"))
