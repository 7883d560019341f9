"""`serve`, as a command."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from agent.errors import UsageError
from agent.runs_cli import EXIT_CODES


def serve(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Project folder.", show_default=False)
    ] = Path(),
    port: Annotated[
        int, typer.Option("--port", metavar="N", help="On loopback; 0: one that is free.")
    ] = 8000,
) -> None:
    """Home of PATH in a browser on this machine. Prints the address, which holds a key; needs the extra serve."""
    if importlib.util.find_spec("textual_serve") is None:
        raise UsageError(
            "serve needs textual-serve, which is not installed", "pip install 'trm-agent[serve]'"
        )
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder", "name the project's folder")
    from agent.serve import serve_home

    serve_home(path.absolute(), ["--", *context.obj] if context.obj else [], port)


def add_commands(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command(epilog=EXIT_CODES)(serve)
