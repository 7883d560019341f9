"""`trm-agent doctor`: what works on this machine, each line tried and not assumed."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agent import __version__

if TYPE_CHECKING:
    from tools.workspace import Workspace


# Without these a candidate could damage what is not its own; "guards" is the probe itself.
ESSENTIAL = ("writes outside", "deletes outside", "guards")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. state: ok | warning | error; only an error makes `report` false."""

    name: str
    state: str
    text: str


def report(out: TextIO, path: Path | None = None) -> bool:
    """Print all checks as they finish; whether none is an error. `path`: the project, by default the current folder."""
    good = True
    for check in checks(path or Path.cwd()):
        mark = {"ok": "ok   ", "warning": "warn ", "error": "ERROR"}[check.state]
        print(f"{mark} {check.name:<16} {check.text}", file=out, flush=True)
        good = good and check.state != "error"
    return good


def checks(path: Path) -> Iterator[Check]:
    """All checks, in order, each run when it is asked for."""
    yield Check(
        "trm-agent", "ok", f"{__version__} in {sys.prefix}, Python {platform.python_version()}"
    )
    for check in (_project, _guards, _jax, _weights, _folders):
        try:
            yield from check(path)
        except Exception as error:  # a check that breaks is a finding, not the end of the report
            name = getattr(check, "__name__", "check").strip("_")
            yield Check(name, "error", f"{type(error).__name__}: {error}")


def _look(path: Path) -> Workspace | None:
    from tools.workspace import WorkspaceError, find_workspace

    try:
        return find_workspace(path)
    except WorkspaceError:
        return None


def _project(path: Path) -> Iterator[Check]:
    found = _look(path)
    if found is None:
        yield Check("project", "ok", f"none in {path}: the next lines use our own Python")
        return
    yield Check(
        "project", "ok", f"{found.root}" + (", in git" if found.git_root else ", not in git")
    )
    problem = found.interpreter.problem
    text = f"{found.python} ({found.python_version}, {found.python_reason})"
    if problem:
        yield Check("python", "warning", f"{problem[0]}; {problem[1]}")
    else:
        yield Check("python", "ok", f"{text}, pytest {found.interpreter.pytest}")


def _guards(path: Path) -> Iterator[Check]:
    """Runs a suite of one test in the worker, then lets a confined child try what the guards are there to refuse."""
    from tools.guards import guards_status
    from tools.runner import Runner
    from tools.verdicts import RunnerError

    found = _look(path)
    usable = found is not None and found.interpreter.problem is None
    python = found.python if found and usable else sys.executable
    with tempfile.TemporaryDirectory(prefix="trm-agent-doctor-") as name:
        (Path(name) / "test_doctor.py").write_text("def test_doctor():\n    assert True\n")
        try:
            with Runner(Path(name), python) as runner:
                green = runner.baseline(spectrum=False).green
        except RunnerError as error:
            # Our own Python need not have pytest; the project's must.
            yield Check("worker", "error" if usable else "warning", f"{error}; {error.hint}")
        else:
            text = f"runs tests under {python}" if green else f"a passing test fails under {python}"
            yield Check("worker", "ok" if green else "error", text)
    for guard in guards_status(python):
        essential = "error" if guard.name in ESSENTIAL else "warning"
        yield Check(guard.name, "ok" if guard.active else essential, guard.how_known)


def _jax(_: Path) -> Iterator[Check]:
    import jax

    devices = ", ".join(f"{device.platform}:{device.id}" for device in jax.devices())
    yield Check("jax", "ok", f"{jax.__version__} on {devices}")
    off = compiled_error()
    if off > 1e-3:
        yield Check("compiler", "error", f"compiled code is off by {off:.3g} (relative): use another "
                    "jax; 0.10.2 and 0.11.0 are known to be wrong on CPU")  # fmt: skip
    else:
        yield Check("compiler", "ok", f"compiled and plain results agree ({off:.1g} relative)")


def compiled_error() -> float:
    """Largest relative difference between jit and NumPy on the expression that jax 0.10.2 gets wrong on CPU."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    random = np.random.default_rng(0)
    matrix = random.normal(size=(3, 3)).astype(np.float32)
    rows = random.normal(size=(40_000, 3)).astype(np.float32)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.asarray(matrix) @ row) ** 2)))
    wanted = ((rows.astype(np.float64) @ matrix.astype(np.float64).T) ** 2).sum(-1)
    return float(np.max(np.abs(np.asarray(compiled(rows)) - wanted) / (1 + np.abs(wanted))))


def _weights(_: Path) -> Iterator[Check]:
    from trm.checkpoint import CheckpointError, load_weights, shipped
    from trm.model import count
    from trm.peak import product_speed

    try:
        params, config, _card = load_weights(shipped())
    except CheckpointError as error:
        yield Check("weights", "error", str(error))
        return
    yield Check("weights", "ok", f"{count(params):,} parameters in {shipped()}")
    mine = config.model.matmul
    shape = config.model.width, 2 * config.model.inner
    speed = {matmul: product_speed(matmul, *shape) for matmul in ("f32", "bf16")}
    told = ", ".join(f"{path} {flops / 1e9:.0f} GFLOP/s" for path, flops in speed.items())
    state = "warning" if speed[mine] < 0.7 * max(speed.values()) else "ok"
    yield Check("products", state, f"{told}; the weights take {mine}")


def _folders(_: Path) -> Iterator[Check]:
    from agent.runs import list_runs, runs_folder
    from agent.settings import config_file

    folder = runs_folder()
    nearest = next(base for base in (folder, *folder.parents) if base.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        yield Check("runs", "warning", f"{folder} cannot be written: {error.strerror}")
    else:
        yield Check("runs", "ok", f"{len(list_runs())} in {folder}")
    there = config_file().exists()
    yield Check("config", "ok", f"{config_file()}" + ("" if there else " (none, which is fine)"))
