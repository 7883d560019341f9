"""Other interpreters than ours, with each pytest that the worker knows: pyenv's, in environments that are made once a session."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tools.interpreter import OLDEST_PYTHON

PYTESTS = (7, 8, 9)
_SECONDS = 300.0  # to make an environment


def _found() -> dict[tuple[int, int], Path]:
    """(major, minor) -> pyenv's newest interpreter of that, where it is not ours."""
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[tuple[int, int], tuple[int, Path]] = {}
    for place in folder.glob("3.*"):
        match = re.fullmatch(r"3\.(\d+)\.(\d+)", place.name)
        python = place / "bin" / "python"
        if match and python.exists():
            version = (3, int(match[1]))
            found[version] = max(found.get(version, (0, python)), (int(match[2]), python))
    ours = sys.version_info[:2]
    return {v: path for v, (_, path) in sorted(found.items()) if v >= OLDEST_PYTHON and v != ours}


def _parameter(name: str, python: str, wanted: int | None) -> ParameterSet:
    return pytest.param((python, wanted), id=name, marks=pytest.mark.slow)


# Interpreters, and the version of pytest to install for it; None: it has one. TRM_PYTHON_3_14=... names one more.
NAMED = [
    _parameter(name, python, None)
    for name, python in sorted(os.environ.items())
    if name.startswith("TRM_PYTHON_")
]
ELSEWHERE = NAMED + [
    _parameter(f"{major}.{minor}-pytest{wanted}", str(python), wanted)
    for (major, minor), python in _found().items()
    for wanted in PYTESTS
    if wanted < 9 or (major, minor) >= (3, 10)
]
# For tests that take long: one pytest an interpreter, in turns.
ONE_EACH = NAMED + [
    _parameter(f"{major}.{minor}-pytest{wanted}", str(python), wanted)
    for ((major, minor), python), wanted in zip(_found().items(), itertools.cycle(PYTESTS))
]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], str]:
    """The interpreter of an environment with that pytest; skips where it cannot be had."""
    made: dict[tuple[str, int], str] = {}

    def make(python: str, wanted: int) -> str:
        if (python, wanted) not in made:
            folder = tmp_path_factory.mktemp("elsewhere") / "env"
            uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
            for step in (
                ["venv", "--quiet", "--python", python, str(folder)],
                ["pip", "install", "--quiet", "--python", str(folder), f"pytest=={wanted}.*"],
            ):
                done = subprocess.run(
                    [uv, *step], capture_output=True, text=True, check=False, timeout=_SECONDS
                )
                if done.returncode:
                    pytest.skip(f"uv {step[0]}: {done.stderr.strip()[-200:]}")
            made[python, wanted] = str(folder / "bin" / "python")
        return made[python, wanted]

    return make


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request: pytest.FixtureRequest, environment: Callable[[str, int], str]) -> str:
    """Each interpreter but ours."""
    python, wanted = request.param
    return environment(python, wanted) if wanted else python


@pytest.fixture(params=[pytest.param(None, id="ours"), *ONE_EACH])
def interpreter(request: pytest.FixtureRequest, environment: Callable[[str, int], str]) -> str:
    """Ours, and each other with one pytest."""
    python, wanted = request.param or (sys.executable, None)
    return environment(python, wanted) if wanted else python
