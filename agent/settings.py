"""Settings of a fix: flags > TRM_AGENT_* > [tool.trm-agent] of the nearest pyproject.toml > config.toml > defaults.

`Settings.origins` says for each where its value came from. An unknown name is an error that offers the nearest known
one: a misspelt limit that is silently ignored is worse than a stop.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import UsageError

PREFIX = "TRM_AGENT_"
RANKS = ("trm", "untrained", "ochiai", "random")
PATIENCE = 2.0  # seconds
SWITCHES = ("allow_network", "cache")
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run may be told. Paths are absolute unless they are commands; a limit of 0 is not allowed.

    python: interpreter, environment or command for the tests ("" finds the project's own). pytest_args: handed to
    pytest. max_seconds: wall time of the whole run. max_candidates: candidates to validate (None no limit). rank: who orders
    them. checkpoint: weights ("" the shipped ones). seed: of everything random. jobs: test processes at once (0 automatic).
    patience: seconds to look for other patches after the first (0: show the first). allow_network: tests and candidates reach it.
    cache: what an earlier run of the same code told is not found out again.
    """

    python: str = ""
    pytest_args: tuple[str, ...] = ()
    max_seconds: float = 600.0
    max_candidates: int | None = None
    rank: str = "trm"
    checkpoint: str = ""
    seed: int = 0
    jobs: int = 0
    patience: float = PATIENCE
    allow_network: bool = False
    cache: bool = True
    origins: Mapping[str, str] = field(default_factory=dict)


NAMES = tuple(f.name for f in dataclasses.fields(Settings) if f.name != "origins")


def load_settings(
    start: Path,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings for a run on `start` (a file or directory). Flags of None were not given.

    environ: defaults to os.environ. config: the user's file, by default config.toml in the XDG config directory.

    Raises:
      UsageError: an unknown name, a value of the wrong type or out of range, a file that is not TOML.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins = dict.fromkeys(NAMES, "default")

    def take(name: str, value: Any, origin: str, base: Path | None = None) -> None:
        values[name] = _checked(name, value, origin, base)
        origins[name] = origin

    config = config_file() if config is None else config
    for name, value in _table_of(config, ()).items():
        take(_known(name, str(config)), value, str(config), config.parent)
    project = nearest_pyproject(start)
    if project:
        for name, value in _table_of(project, ("tool", "trm-agent")).items():
            where = f"[tool.trm-agent] of {project}"
            take(_known(name, where), value, where, project.parent)
    for variable, text in environ.items():
        if variable.startswith(PREFIX):
            name = _known(variable.removeprefix(PREFIX).lower(), variable, PREFIX)
            take(name, _from_text(name, text, variable), variable)
    for name, value in (flags or {}).items():
        if value is not None:
            flag = "after --" if name == "pytest_args" else "--" + name.replace("_", "-")
            take(name, value, flag)
    return Settings(**values, origins=origins)


def config_file() -> Path:
    """The user's own file; it need not exist."""
    import platformdirs

    return platformdirs.user_config_path("trm-agent") / "config.toml"


def nearest_pyproject(start: Path) -> Path | None:
    """The nearest pyproject.toml at or above `start` that has a [tool.trm-agent] table."""
    start = Path(os.path.abspath(start))
    for base in (start, *start.parents):
        path = base / "pyproject.toml"
        if path.is_file() and _table_of(path, ("tool", "trm-agent"), foreign=True):
            return path
    return None


def _table_of(path: Path, keys: tuple[str, ...], foreign: bool = False) -> dict[str, Any]:
    """A table of a TOML file; {} when file or table is absent. A foreign file's errors are its tools' to report."""
    try:
        table: Any = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        if foreign:
            return {}
        raise UsageError(f"{path}: {error}", "correct the file, or remove it") from None
    for key in keys:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    return table if isinstance(table, dict) else {}


def _known(name: str, where: str, prefix: str = "") -> str:
    plain = name.replace("-", "_")
    if plain in NAMES:
        return plain
    near = difflib.get_close_matches(plain, NAMES, 1, 0.5)
    shown = prefix + near[0].upper() if near and prefix else near[0] if near else ""
    message = f"unknown setting {name} in {where}" if not prefix else f"unknown setting {where}"
    known = ", ".join(prefix + n.upper() if prefix else n for n in NAMES)
    raise UsageError(message, f"did you mean {shown}?" if shown else f"known: {known}")


def _from_text(name: str, text: str, origin: str) -> Any:
    """An environment variable's text as the setting's type."""
    if name == "pytest_args":
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise UsageError(f"{origin}: {error}", "quote it as for a shell") from None
    if name in SWITCHES:
        # what is no such word is refused with the values of the other sources
        return _WORDS.get(text.lower(), text)
    kinds: dict[str, Callable[[str], Any]] = {
        "max_seconds": float, "max_candidates": int, "seed": int, "jobs": int,
        "patience": float,
    }  # fmt: skip
    try:
        return kinds.get(name, str)(text)
    except ValueError:
        raise UsageError(
            f"{origin}: {text!r} is not a number", f"for example {origin}=10"
        ) from None


def _checked(name: str, value: Any, origin: str, base: Path | None) -> Any:
    """The value in its proper type. Raises UsageError naming its origin."""

    def wrong(expected: str) -> UsageError:
        return UsageError(
            f"{name} ({origin}): expected {expected}, not {value!r}", "correct the value"
        )

    if name == "pytest_args":
        items = shlex.split(value) if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise wrong("a list of strings")
        return tuple(items)
    if name in ("python", "checkpoint"):
        if not isinstance(value, str):
            raise wrong("a path")
        # A path in a file is meant from that file's folder; a bare name is a command on PATH.
        if base is not None and ("/" in value or (base / value).exists()):
            return str(base / Path(value).expanduser())
        return value
    if name == "rank":
        if value not in RANKS:
            raise wrong(f"one of {', '.join(RANKS)}")
        return value
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise wrong("true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong("a number")
    if name == "max_seconds":
        if not value > 0:
            raise wrong("a number of seconds above 0")
        return float(value)
    if name == "patience":
        if not 0 <= value < float("inf"):
            raise wrong("a number of seconds, 0 or more")
        return float(value)
    least = 1 if name == "max_candidates" else 0
    if not float(value).is_integer() or value < least:
        raise wrong(f"a whole number of at least {least}")
    return int(value)
