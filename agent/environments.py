"""Virtual environments for projects that are to be mutated: the project itself, and all that it says its tests need.

By uv, which shares one copy of a package among the environments. Installing runs the project's own build script, as it would for
anybody who installs the project; its tests run confined afterwards.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# What suites use without saying so, or name in options of pytest.
_USUAL = ("pytest", "hypothesis", "pytest-mock", "pytest-asyncio", "pytest-cov", "pytest-xdist", "pytest-timeout",
          "pytest-benchmark", "setuptools<81")  # fmt: skip
_FOR_TESTS = re.compile(
    r"(unit[-_])?tests?|testing|dev(elop(ment)?)?|all|full|ci|pytest", re.IGNORECASE
)
_FILES = re.compile(
    r"(.*[-_])?(tests?|testing|dev|ci)([-_]requirements)?\.(txt|in)|requirements\.(txt|in)",
    re.IGNORECASE,
)
# Whatever a project asks for: older ones do not run on today's Python, and the worker knows these.
_OVERRIDES = "pytest>=8,<9\n"
_SECONDS = 240.0  # of one installation
# Versions come from tags, which a shallow clone lacks.
_ENVIRONMENT = {
    "SETUPTOOLS_SCM_PRETEND_VERSION": "99.0", "PBR_VERSION": "99.0", "POETRY_DYNAMIC_VERSIONING_BYPASS": "99.0",
    "PDM_BUILD_SCM_VERSION": "99.0", "UV_NO_PROGRESS": "1",
}  # fmt: skip


class InstallError(Exception):
    """The environment cannot be made; the message says why in a line."""


def prepare(project: Path, where: Path, python: str | None = None) -> str:
    """The interpreter of an environment at `where`, made unless it is there, in which the project's tests should run.

    What cannot be installed with the rest is left out: a project whose tests do not import is found out soon enough.
    python: what the environment is made with; None for ours. Raises InstallError.
    """
    own = where / "bin" / "python"
    if own.exists():
        return str(own)
    partial = where.with_name(where.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    # relocatable: it is moved to its place when it is whole
    _uv("venv", "--quiet", "--relocatable", "--python", python or sys.executable, str(partial))
    (partial / "overrides.txt").write_text(_OVERRIDES, encoding="utf-8")
    _install(partial, *((one,) for one in _USUAL))
    wanted = list(dict.fromkeys(_wanted(project)))
    try:
        _install(partial, *wanted)
    except InstallError:
        for one in wanted:
            try:
                _install(partial, one)
            except InstallError:
                continue
    partial.rename(where)
    return str(own)


def _install(where: Path, *wanted: tuple[str, ...]) -> None:
    """Each of `wanted` is what pip would be told: a requirement, or an option with its value."""
    options = [part for one in wanted for part in one]
    overrides = ("--overrides", str(where / "overrides.txt"))
    if options:
        install = ("pip", "install", "--quiet", "--compile-bytecode", "--python", str(where))
        _uv(*install, *overrides, *options)


def _uv(*arguments: str) -> None:
    command = [shutil.which("uv") or str(Path(sys.executable).with_name("uv")), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, env=os.environ | _ENVIRONMENT, check=False
        )  # fmt: skip
    except FileNotFoundError:
        raise InstallError("uv is not installed: pip install uv") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"uv {arguments[0]} took longer than {_SECONDS:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InstallError(
            " ".join(line.strip() for line in said[-3:]) or f"uv {arguments[0]} failed"
        )


def _extras(project: Path) -> list[str]:
    """Extras whose names say that they are for tests."""
    names: list[str] = []
    names += _table(project, "project", "optional-dependencies")
    names += _table(project, "tool", "poetry", "extras")
    setup = _ini(project / "setup.cfg")
    if setup.has_section("options.extras_require"):
        names += setup.options("options.extras_require")
    if (project / "setup.py").is_file() and not names:
        text = (project / "setup.py").read_text("utf-8", "replace")
        names += (
            re.findall(r"""["'](\w+)["']\s*:\s*[\[(]""", text) if "extras_require" in text else []
        )
    return [name for name in dict.fromkeys(names) if _FOR_TESTS.fullmatch(name)]


def _wanted(project: Path) -> Iterator[tuple[str, ...]]:
    """The project, editable, with its extras for tests; then what else it names for them."""
    if any((project / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        extras = _extras(project)
        yield "-e", f"{project}[{','.join(extras)}]" if extras else str(project)
    yield from ((one,) for one in _named(project))
    for file in sorted(
        (
            *project.glob("*.[ti]*"),
            *project.glob("*requirements*/*.[ti]*"),
            *project.glob("tests/*.txt"),
        )
    ):
        if _FILES.fullmatch(file.name):
            yield "-r", str(file)


def _named(project: Path) -> Iterator[str]:
    """Requirements of dependency groups, of poetry's and of tox."""
    groups = _table(project, "dependency-groups")
    yield from _flat(groups, [name for name in groups if _FOR_TESTS.fullmatch(name)])
    poetry = _table(project, "tool", "poetry")
    tables = [poetry.get("dev-dependencies", {})]
    tables += [
        group.get("dependencies", {})
        for name, group in poetry.get("group", {}).items()
        if _FOR_TESTS.fullmatch(name)
    ]
    for table in tables:  # whichever version: theirs is often old
        yield from (name for name in table if name != "python")
    tox = _ini(project / "tox.ini")
    for line in tox.get("testenv", "deps", raw=True, fallback="").splitlines():
        line = line.split("#")[0].strip()
        if line and "{" not in line and not re.match(r"-|[\w.,-]+:\s", line):
            yield line


def _flat(
    groups: dict[str, Any], names: Sequence[str], seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Requirements of dependency groups (PEP 735)."""
    for name in names:
        for one in groups.get(name, []):
            if isinstance(one, str):
                yield one
            elif (inner := one.get("include-group")) not in seen:
                yield from _flat(groups, [inner], seen | {inner})


def _table(project: Path, *keys: str) -> dict[str, Any]:
    try:
        table: Any = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    for key in keys:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    return table if isinstance(table, dict) else {}


def _ini(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        pass
    return parser
