"""Executed mutants on a Ray cluster: the tasks of `agent.mutate`, each on some node; what it wrote travels back.

Ray is optional. Nothing but this module knows of it.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.mutate import mutate_one
from agent.projects import Task, is_url
from tools.signals import undisturbed

_REACHED = 10.0  # seconds until a machine that does not answer counts as absent
_CANCELLED = 30.0  # seconds that running tasks get to clean up after themselves


def mutate_on_ray(
    tasks: Sequence[Task], jobs: int, address: str | None = None
) -> Iterator[tuple[Task, str, bool]]:
    """As `agent.mutate.mutate_all`, on the nodes of the cluster at `address`, a task a CPU; None: on this machine, `jobs` CPUs.

    Nodes need no shared file system: a task works in a temporary folder of its node, and the part is written here. What fails
    there or loses its process counts as left out. Raises UsageError where Ray is not installed or does not connect.
    """
    if not tasks:
        return
    # Else Ray asks a port where something mute listens for a quarter of an hour; it reads this once.
    if address is not None:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray needs ray, which is not installed", "pip install 'trm-agent[cluster]'"
        ) from None
    flying: dict[Any, Task] = {}
    try:
        # Ray crashes at exit after a signal that came while it started, and takes over SIGTERM.
        with undisturbed():
            _connect(ray, jobs, address)
        # No retries: what has killed a process may do so again, and the next call takes up what is missing.
        remote = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(_on_node)
        waiting = iter(tasks)
        while True:
            cpus = int(ray.cluster_resources().get("CPU", 0))  # nodes come and go
            for task in islice(waiting, max(0, 2 * max(1, cpus) - len(flying))):
                flying[remote.remote(_portable(task))] = task
            if not flying:
                return
            (done,), _ = ray.wait(list(flying))
            task = flying.pop(done)
            yield task, *_landed(ray, task, done)
    finally:
        for ref in flying:
            ray.cancel(ref)
        if flying:
            ray.wait(list(flying), num_returns=len(flying), timeout=_CANCELLED)
        ray.shutdown()


def _connect(ray: Any, jobs: int, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init("local", num_cpus=jobs, include_dashboard=False, **quiet)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
        ray.init(address, **quiet)
    except Exception as error:  # Ray's are of many types
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"--address {address}: {said}",
            "give HOST:PORT as ray start --head prints it; RAY_AUTH_MODE=token if it has a token",
        ) from None


def _portable(task: Task) -> Task:
    """The task without paths that depend on where this process was started."""
    given = task.given if is_url(task.given) else os.path.abspath(task.given)
    python = task.python
    if python is not None and Path(python).exists():
        python = os.path.abspath(python)
    return replace(task, given=given, python=python)


def _on_node(task: Task) -> tuple[bytes | None, str, bool]:
    """The part of a task if it made one, what came of it in a line, whether that is nothing. Runs on a node."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    with tempfile.TemporaryDirectory(
        prefix="trm-agent-mutate-", ignore_cleanup_errors=True
    ) as folder:
        here = replace(task, out=Path(folder))
        here.part.parent.mkdir()
        _, said, bad = mutate_one(here)
        part = here.part.read_bytes() if here.part.is_file() else None
    return part, f"{said}; node {node[:8]}", bad


def _landed(ray: Any, task: Task, done: Any) -> tuple[str, bool]:
    """Write the part that came back, whole or not at all."""
    try:
        part, said, bad = ray.get(done)
    except ray.exceptions.RayError as error:
        # a task that raised is told with its whole traceback, what it raised by the cause
        cause = getattr(error, "cause", None) or error
        return f"left out: {type(cause).__name__}: {cause}".splitlines()[0], True
    if part is not None:
        partial = task.part.with_name(task.part.name + ".partial")
        partial.write_bytes(part)
        partial.replace(task.part)
    return said, bad
