"""The options that set something, which several commands take, and `config`, which shows what is set and by whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.settings import NAMES, RANKS, Settings, load_settings

THEMES = ("dark", "light", "ansi")


def _of(*known: str) -> Any:
    """A completion among `known`."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


PathArgument = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Project folder or Python file.", show_default=False),
]
PythonOption = Annotated[
    str | None,
    typer.Option("--python", metavar="P", help="Interpreter or environment of the tests."),
]
SecondsOption = Annotated[
    float | None, typer.Option("--max-seconds", metavar="S", help="Wall time of the run. [600]")
]
CandidatesOption = Annotated[
    int | None,
    typer.Option("--max-candidates", metavar="N", help="Candidates to validate. [no limit]"),
]
PatienceOption = Annotated[
    float | None,
    typer.Option(
        "--patience", metavar="S", help="Seconds to look on after a first patch, for a better. [2]"
    ),
]
RankOption = Annotated[
    str | None,
    typer.Option(
        "--rank", metavar="R", help=f"Who orders: {', '.join(RANKS)}.", autocompletion=_of(*RANKS)
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="P", help="Weights other than the shipped ones."),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of all randomness. [0]")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", help="Test processes; 0: automatic.")
]
NetworkOption = Annotated[
    bool | None,
    typer.Option(
        "--allow-network/--no-allow-network",
        help="Tests, and so candidates, reach the network. [no]",
        show_default=False,
    ),
]
CacheOption = Annotated[
    bool | None,
    typer.Option(
        "--cache/--no-cache",
        help="Take over what an earlier run told of the very same code. [yes]",
        show_default=False,
    ),
]
ThemeOption = Annotated[
    str,
    typer.Option("--theme", help=f"Of the TUI: {', '.join(THEMES)}.", autocompletion=_of(*THEMES)),
]
MouseOption = Annotated[bool, typer.Option("--mouse/--no-mouse", help="The TUI takes the mouse.")]


def settings_of(context: typer.Context) -> Settings:
    """The settings of a command, whose options and PATH are named as they are. Raises UsageError."""
    flags = {name: context.params.get(name) for name in NAMES} | {
        "pytest_args": context.obj or None
    }
    return load_settings(context.params.get("path", Path()), flags)


def config(
    context: typer.Context,
    path: PathArgument = Path(),
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Also where each value comes from.")
    ] = False,
    python: PythonOption = None,
    max_seconds: SecondsOption = None,
    max_candidates: CandidatesOption = None,
    patience: PatienceOption = None,
    rank: RankOption = None,
    checkpoint: CheckpointOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    allow_network: NetworkOption = None,
    cache: CacheOption = None,
) -> None:
    """The settings of a fix of PATH, as TOML: of these flags, TRM_AGENT_*, pyproject.toml, the user's file, and the defaults."""
    found = settings_of(context)
    lines = {name: _toml(name, getattr(found, name)) for name in NAMES}
    width = max(map(len, lines.values()))
    for name, line in lines.items():
        print(f"{line:<{width}}  # {found.origins[name]}" if show_origin else line)


def _toml(name: str, value: Any) -> str:
    if value is None:  # TOML knows no such value
        return f"# {name}: no limit"
    # Strings, numbers, truth values and lists of strings are written alike in JSON and TOML.
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"
