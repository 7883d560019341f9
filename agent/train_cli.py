"""`trm-agent train`: options into one call, its progress into lines."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.errors import CheckpointError, UsageError
from agent.runs_cli import can_draw, check_theme


def train(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="D", help="Folder for states, weights and metrics."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="D", help="Folder of a built corpus; repeatable, mixed."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="F",
            help="A preset's name or a JSON file.  [default: shipped; rl with --rl]",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V", help="Override one key; repeatable.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="W",
            help="Start from these weights: a folder, or shipped, which --rl does anyway.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest state in --out.")] = True,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Stop at this step.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Stop after that long.")
    ] = None,
    rl: Annotated[
        bool,
        typer.Option("--rl", help="Learn from executed edits of --projects in place of a corpus."),
    ] = False,
    projects: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH[=P]",
            help="With --rl: a project with a suite that passes, and its interpreter; repeatable.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="O", help="With --rl: tpo, ppo, or none, the control.  [default: tpo]"
        ),
    ] = None,
    executions: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="With --rl: edits to execute.  [default: 4000]"),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="One of several processes: HOST:PORT of the first; auto on Cloud TPU, Slurm, Kubernetes.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --coordinator: how many.")
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(metavar="I", min=0, help="With --coordinator: which of them this is, from 0."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Reports as JSON lines on stdout, nothing else there.")
    ] = False,
    no_tui: Annotated[
        bool, typer.Option("--no-tui", help="Plain lines, also in a terminal.")
    ] = False,
    theme: Annotated[str, typer.Option(help="Of the TUI: dark, light, ansi.")] = "dark",
    samples: Annotated[
        bool,
        typer.Option("--samples", help="With --json: what the weights propose, after each save."),
    ] = False,
    aot: Annotated[
        str | None,
        typer.Option(
            metavar="TOPOLOGY",
            help="Only compile the step, for a TPU like v5e:2x4, and print what it needs. Needs the extra tpu.",
        ),
    ] = None,
) -> None:
    """Train the model on a built corpus, or by reinforcement from tests, on all devices. Ctrl-C saves and stops."""
    if aot is not None:
        print(_compiled(aot, _config(config or "shipped", _changes(assignments, steps, seconds))))
        return
    if out is None:
        raise UsageError("--out is missing", "a folder for states and weights")
    _check_processes(coordinator, processes, process)
    if rl and coordinator:
        raise UsageError("--rl runs in one process", "leave out --coordinator")
    if not rl and (projects or objective or executions):
        raise UsageError("--projects, --objective and --executions need --rl", "add --rl")
    if rl and (data or not projects):
        raise UsageError(
            "--rl takes --projects and no --data", "for example --projects path/to/owner+name"
        )
    if not rl and not data:
        raise UsageError("--data is missing", "trm-agent data build makes a corpus")
    for folder in data or ():
        if not folder.is_dir():
            raise UsageError(
                f"--data {folder}: no such folder", "trm-agent data build makes a corpus"
            )
    changes = _changes(assignments, steps, seconds)
    if objective is not None:
        changes["rl.objective"] = objective
    if executions is not None:
        changes["rl.executions"] = str(executions)
    # found, not imported: trm's settings come before jax
    for package in "optax", "orbax", "tensorboardX":
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"training needs {package}, which is not installed",
                "pip install 'trm-agent[train]'",
            )
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and can_draw()
    if terminal and not (as_json or no_tui or coordinator or os.environ.get("CI")):
        from agent.watch import watch

        limits = _config(config or ("rl" if rl else "shipped"), changes).train
        ends = (math.inf if rl else limits.steps, limits.seconds)
        raise typer.Exit(watch(context, out, *ends, check_theme(theme)))
    from trm.checkpoint import CheckpointError as Unfit
    from trm.checkpoint import shipped
    from trm.metrics import Metrics

    first = _connected(coordinator, processes, process)
    weights = None if start is None else shipped() if start == "shipped" else Path(start)
    try:
        if rl:
            reports = _reinforced(
                config, changes, weights or shipped(), projects or [], out, resume
            )
        else:
            reports = _trained(
                _config(config or "shipped", changes), data or [], out, resume, weights
            )
        with contextlib.closing(reports), Metrics(out) as metrics:
            for report in reports:
                if not first:
                    continue
                metrics.write(report)
                if as_json:
                    print(json.dumps(report), flush=True)
                    if samples and report["saved"] and data:
                        from agent.samples import looked_at

                        print(json.dumps(looked_at(data[0], out, report["step"])), flush=True)
                else:
                    print(_line(report), file=sys.stderr, flush=True)
    except Unfit as error:
        hint = "--from, --config, --set and --data must fit; to start anew give another --out"
        raise CheckpointError(str(error), hint) from None
    if first and not as_json:
        print(out)


def _changes(
    assignments: list[str] | None, steps: int | None, seconds: float | None
) -> dict[str, str]:
    changes = dict(_assignment(text) for text in assignments or [])
    if steps is not None:
        changes["train.steps"] = str(steps)
    if seconds is not None:
        changes["train.seconds"] = str(seconds)
    return changes


def _check_processes(coordinator: str | None, processes: int | None, process: int | None) -> None:
    if coordinator is None or coordinator == "auto":
        if processes is not None or process is not None:
            raise UsageError("--processes and --process need --coordinator HOST:PORT", "name it")
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--coordinator {coordinator}: not HOST:PORT", "or auto on a cluster")
    if processes is None or process is None:
        raise UsageError("--coordinator needs --processes and --process", "each process says them")
    if process >= processes:
        raise UsageError(f"--process {process} of {processes}", "they are numbered from 0")


def _connected(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Join the other processes; whether this is the first, which speaks for all."""
    if coordinator is None:
        return True
    import jax

    from trm.mesh import connect

    try:
        connect(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"--coordinator {coordinator}: {line}", "start all processes") from None
    return jax.process_index() == 0


def _compiled(topology: str, settings: Any) -> str:
    """What the step needs of a chip of the topology, as configured and eight times as large, and what would fill it."""
    import jax

    from trm.aot import OutOfMemory, compiled, filling, larger

    jax.config.update("jax_platforms", "cpu")  # else libtpu looks for chips
    rows = ["| chips | positions a step | MB a chip | collectives, MB | GFLOP | least ms |"]
    rows.append("|" + " --- |" * 6)
    try:
        both = [compiled(topology, larger(settings, times)) for times in (1, 8)]
    except OutOfMemory as error:
        raise UsageError(f"--aot {topology}: {error}", "fewer train.slots") from None
    except ValueError as error:
        hint = "pip install 'trm-agent[tpu]' brings the compiler"
        raise UsageError(f"--aot {error}", hint) from None
    for found in both:
        parts = ", ".join(f"{k} {v / 1e6:.1f}" for k, v in sorted(found.collectives.items()))
        rows.append(
            f"| {found.chips} | {found.positions:,} | {found.memory / 1e6:.0f} | {parts} "
            f"| {found.flops / 1e9:.1f} | {found.seconds * 1e3:.2f} |"
        )
    limit, most = both[0].limit >> 30, filling(*both)
    return "\n".join([*rows, "", f"About {most:,} positions a step fill the {limit} GiB a chip."])


def _trained(
    settings: Any, data: list[Path], out: Path, resume: bool, start: Path | None
) -> Generator[dict[str, Any], None, None]:
    """Train on a corpus; its reports."""
    from trm.train import train as training

    try:
        with contextlib.closing(training(settings, data, out, resume=resume, start=start)) as steps:
            for progress in steps:
                yield {
                    "step": progress.step,
                    "seconds": round(progress.seconds, 1),
                    "positions_per_second": round(progress.slots_per_second),
                    **({} if progress.mfu is None else {"mfu": progress.mfu}),
                    "examples": progress.examples,
                    "learning_rate": progress.learning_rate,
                    **progress.metrics,
                    "saved": progress.saved,
                }
    except FileNotFoundError as error:
        raise UsageError(f"--data: {error}", "trm-agent data build makes a corpus") from None


def _reinforced(
    config: str | None, changes: dict[str, str], start: Path, projects: list[str], out: Path, resume: bool
) -> Generator[dict[str, Any], None, None]:  # fmt: skip
    """Reinforce weights, whose net is taken, on projects; a report an update."""
    from agent.projects import RefusedError, Task, project_of
    from agent.rollouts import Rollouts
    from tools.interpreter import WorkspaceError
    from trm.checkpoint import load_weights
    from trm.rl import reinforce

    settings = _config(config or "rl", changes, load_weights(start)[1].model)
    found = []
    for given in dict.fromkeys(projects):
        path, _, python = given.partition("=")
        if not Path(path).is_dir():
            raise UsageError(f"--projects {path}: no such folder", "clone it first")
        try:
            found.append(project_of(Task(path, out, python or None, (), 0, 0.0, 0)))
        except (RefusedError, WorkspaceError) as error:
            hint = getattr(error, "hint", "") or "name other projects"
            raise UsageError(f"--projects {path}: {error}", hint) from None
    say = functools.partial(print, file=sys.stderr, flush=True)
    try:
        rollouts = Rollouts(found, settings.rl.edits, settings.train.seed, say)
        with contextlib.closing(reinforce(settings, rollouts, start, out, resume=resume)) as steps:
            for progress in steps:
                yield {
                    "step": progress.number,
                    "seconds": round(progress.seconds, 1),
                    "executions": progress.executions,
                    **progress.metrics,
                    "saved": progress.saved,
                }
    except RefusedError as error:
        raise UsageError(f"--projects: {error}", "name other projects") from None


_SHOWN = {
    "seconds": "{:.0f} s", "positions_per_second": "{} positions/s", "executions": "{} executions",
    "mfu": "MFU {:.1%}", "saved": "",
}  # fmt: skip


def _line(report: dict[str, Any]) -> str:
    """A report for people: what is counted as it is, what is measured with four digits."""
    words = [
        _SHOWN.get(name, f"{name} {{:.4g}}" if isinstance(value, float) else f"{name} {{}}").format(value)
        for name, value in report.items()
    ]  # fmt: skip
    return " ".join([*filter(None, words), *["saved"] * report["saved"]])


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: not KEY=VALUE", "for example --set train.slots=8192")
    return key.strip(), value.strip()


def _config(name: str, changes: dict[str, str], model: Any = None) -> Any:
    """The configuration that is named, with the net `model` if one is given, and the changes."""
    from trm.config import PRESETS, Config

    try:
        if name in PRESETS:
            config = PRESETS[name]
        elif Path(name).is_file():
            config = Config.from_dict(json.loads(Path(name).read_text("utf-8")))
        else:
            raise UsageError(
                f"--config {name}: no such preset or file", f"presets: {', '.join(PRESETS)}"
            )
        if model is not None:
            config = dataclasses.replace(config, model=model)
        return config.override(changes)
    except (ValueError, TypeError) as error:
        raise UsageError(f"configuration: {error}", "keys are those of trm/config.py") from None
