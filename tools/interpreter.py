"""The project's interpreter: which Python runs the user's tests, and why that one.

It is the project's own, never silently ours; it is named together with the reason; an environment that cannot import
pytest gives way to the next of the list, and the reason says so. Only reads: nothing is created or installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 8)  # the test worker's
PROBE_SECONDS = 30.0

# Also runs on Python 2.7, so that an old interpreter is named instead of failing with a SyntaxError.
_PROBE = """
import json, sys
try:
    import pytest
    found = getattr(pytest, "__version__", "unknown")
except Exception:
    found = ""
answer = [sys.executable, list(sys.version_info[:3]), sys.prefix, found]
sys.stdout.write("\\n" + json.dumps(answer) + "\\n")
"""


class WorkspaceError(ValueError):
    """The path or the interpreter asked for cannot be used. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that answered. `version` as (major, minor, micro), `pytest` its pytest's version or ""."""

    path: str
    reason: str
    version: tuple[int, int, int]
    prefix: str
    pytest: str

    @property
    def problem(self) -> tuple[str, str] | None:
        """(message, hint) when tests cannot run under it, else None."""
        name = ".".join(map(str, self.version))
        if self.version < OLDEST_PYTHON:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            return (
                f"{self.path} is Python {name}; the test worker needs {oldest} or newer",
                "choose another interpreter with --python",
            )
        if not self.pytest:
            return (
                f"{self.path} ({self.reason}) has no pytest",
                f"{self.path} -m pip install pytest, or choose another interpreter with --python",
            )
        return None


def python_of(environment: Path) -> Path | None:
    """The interpreter of an environment's directory, or None."""
    for name in ("bin/python", "bin/python3", "Scripts/python.exe"):
        if (environment / name).exists():
            return environment / name
    return None


def probe(python: str | os.PathLike[str], reason: str) -> Interpreter | None:
    """Ask `python` who it is and whether it has pytest; None when it does not run or is no Python."""
    try:
        done = subprocess.run(
            [os.fspath(python), "-c", _PROBE],
            cwd=os.sep,  # not the project's folder: a json.py there would be imported
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        _, version, prefix, found = json.loads(lines[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError):
        return None
    major, minor, micro = version
    return Interpreter(os.fspath(python), reason, (major, minor, micro), prefix, found)


def find_python(
    root: Path,
    git_root: Path | None,
    python: str | None,
    origin: str,
    environ: Mapping[str, str],
) -> Interpreter:
    """The interpreter for the project at `root`. Raises WorkspaceError when the one asked for does not run."""
    if python:
        return _asked_for(python, origin)
    passed_over: list[Interpreter] = []
    for path, reason in _environments(root, git_root, environ):
        found = probe(path, reason)
        if found is None:
            continue
        if found.pytest and found.version >= OLDEST_PYTHON:
            return _with_note(found, passed_over)
        passed_over.append(found)
    if passed_over:  # the project's own environment: its lack of pytest is what to report
        return passed_over[0]
    ours = probe(sys.executable, "no environment of the project found: trm-agent's own Python")
    assert ours is not None, sys.executable
    if not ours.pytest:
        for name in ("python3", "python"):
            on_path = shutil.which(name, path=environ.get("PATH"))
            other = probe(on_path, f"{name} on PATH") if on_path else None
            if other is not None and other.problem is None:
                return other
    return ours


def _with_note(found: Interpreter, passed_over: list[Interpreter]) -> Interpreter:
    if not passed_over:
        return found
    others = ", ".join(other.reason for other in passed_over)
    reason = f"{found.reason}; passed over, no usable pytest: {others}"
    return Interpreter(found.path, reason, found.version, found.prefix, found.pytest)


def _asked_for(python: str, origin: str) -> Interpreter:
    given = Path(python).expanduser()
    path: str | None
    if given.is_dir():
        inside = python_of(given)
        path = os.path.abspath(inside) if inside else None
    elif given.exists():
        path = os.path.abspath(given)
    else:
        path = shutil.which(python)
    if path is None:
        raise WorkspaceError(
            f"{origin} {python}: no such interpreter",
            "give the path of a Python executable, a virtual environment or a command on PATH",
        )
    found = probe(path, origin)
    if found is None:
        raise WorkspaceError(
            f"{origin} {python}: this does not run as a Python interpreter",
            f"try: {path} -c 'import sys; print(sys.version)'",
        )
    return found


def _environments(
    root: Path, git_root: Path | None, environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Interpreters of environments in order of precedence, each with the reason."""
    ours = os.path.realpath(sys.prefix)
    upward = [root]
    while upward[-1] != git_root and git_root is not None and git_root in upward[-1].parents:
        upward.append(upward[-1].parent)

    def named(variable: str, base: Path = root) -> Iterator[tuple[str, str]]:
        if value := environ.get(variable):
            folder = base / Path(value).expanduser()
            # Our own tool environment may be active only because the agent was started from it.
            if os.path.realpath(folder) != ours and (path := python_of(folder)):
                yield os.fspath(path), variable

    uv_root = next((base for base in upward if _is_uv_project(base)), None)
    if uv_root:
        yield from named("UV_PROJECT_ENVIRONMENT", uv_root)
    yield from named("VIRTUAL_ENV")
    if environ.get("CONDA_DEFAULT_ENV") != "base":
        yield from named("CONDA_PREFIX")
    for name in (".venv", "venv"):
        for base in upward:
            if path := python_of(base / name):
                yield os.fspath(path), f"{os.path.relpath(base / name, root)} of the project"
    for base in upward:
        for tool, belongs, command in _MANAGERS:
            if belongs(base) and (path := _answer_of(tool, command, base, environ)):
                yield path, f"{tool}'s environment"
        if path := _pdm_choice(base):
            yield path, "pdm's environment"


def _table(base: Path, name: str) -> bool:
    """Whether pyproject.toml of `base` has the table tool.NAME."""
    try:
        data = tomllib.loads((base / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data.get("tool"), dict) and name in data["tool"]


def _is_uv_project(base: Path) -> bool:
    return (base / "uv.lock").exists() or _table(base, "uv")


def _answer_of(
    tool: str, command: tuple[str, ...], base: Path, environ: Mapping[str, str]
) -> str | None:
    """What a package manager says is its environment's interpreter; None when it is absent or has none."""
    program = shutil.which(tool, path=environ.get("PATH"))
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command],
            cwd=base,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    answer = Path(lines[-1]) if lines else Path()
    if answer.is_dir():
        inside = python_of(answer)
        return os.fspath(inside) if inside else None
    return os.fspath(answer) if answer.is_file() else None


def _pdm_choice(base: Path) -> str | None:
    """The interpreter that pdm noted. `pdm info` is not asked: it may create an environment."""
    try:
        path = (base / ".pdm-python").read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return path if path and Path(path).is_file() else None


_MANAGERS: tuple[tuple[str, Callable[[Path], bool], tuple[str, ...]], ...] = (
    # Not `uv run --no-sync`: where there is no .venv it creates one in the user's tree.
    ("uv", _is_uv_project, ("python", "find", "--offline", "--no-python-downloads")),
    (
        "poetry",
        lambda base: (base / "poetry.lock").exists() or _table(base, "poetry"),
        ("env", "info", "-p"),
    ),
)
