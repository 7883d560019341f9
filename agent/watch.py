"""A training in a process of its own, shown in the terminal app.

The screen must never wait for a compilation or a step, and Ctrl-C must reach the training wherever it is: so the app runs here
and the very command, with --json, there. It saves and stops on SIGINT, as it does in a terminal of its own.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

PROGRAM = "from agent.cli import main; main()"
SAVING = 60.0  # seconds that a training gets to save when the app was left at once
SHOWN = 4  # last lines of what a failed training said


def watch(context: typer.Context, out: Path, steps: float, seconds: float, theme: str) -> int:
    """Run the `train` of this context and show it until it ends or is stopped; its exit code.

    out, steps, seconds: as in the arguments or the configuration; 0 seconds: no limit.
    """
    arguments = given(context)
    from agent.faces.tui.train_app import run_train_app

    command = [sys.executable, "-P", "-c", PROGRAM, "train", *arguments, "--json", "--samples"]
    history = earlier(out) if "--no-resume" not in arguments else []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        # a session of its own: the terminal's signals are for the app
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )  # fmt: skip

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)

        asked = False

        def ask() -> None:
            nonlocal asked
            asked = True
            stop()

        try:
            training = run_train_app(
                reports(process), stop=ask, history=history, title=str(out), steps=steps, seconds=seconds, theme=theme
            )  # fmt: skip
        finally:
            if process.poll() is None and not asked:
                stop()
            try:
                code = process.wait(SAVING)
            except subprocess.TimeoutExpired:
                code = 130
        said.seek(0)
        lines = [line.rstrip() for line in said if line.strip()]
    if code not in (0, 130):
        for line in lines[-SHOWN:]:
            print(line, file=sys.stderr)
        return code
    if training.now:
        last = training.last
        figures = " ".join(f"{k} {last[k]:.4g}" for k in ("loss", "top1", "exact", "reward") if k in last)  # fmt: skip
        print(f"step {last['step']} {figures}", file=sys.stderr)
    print(out)
    return code


def given(context: typer.Context) -> list[str]:
    """The options that a command was called with, as a command line, but for those of the screen."""
    arguments: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        value, source = context.params.get(name), context.get_parameter_source(name)
        if name in ("theme", "no_tui") or source is None or source.name == "DEFAULT":
            continue
        if isinstance(value, bool):
            arguments += (parameter.opts if value else parameter.secondary_opts)[:1]
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                arguments += [parameter.opts[0], str(one)]
    return arguments


def reports(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The reports that a training prints, until it ends."""
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):  # a line cut short by a kill
            yield json.loads(line)


def earlier(out: Path) -> list[dict[str, Any]]:
    """The reports of the runs that a resumed training goes on from, as trm.metrics wrote them; [] without any."""
    found = []
    try:
        text = (out / "metrics.jsonl").read_text("utf-8")
    except (OSError, ValueError):
        return []
    for line in text.split("\n"):
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "step" in record:
                found.append(record)
    return found
