"""A copy of a project to run a plain pytest process on, where private mounts are not available."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

# Not copied: version control, caches, environments (they are found through sys.path anyway).
LEFT_OUT = {
    ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".tox", ".nox", "node_modules",
    ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis",
}  # fmt: skip
LARGE = 64 << 20  # bytes; larger files are linked, and the guards keep them from being written


def copy_project(root: Path, target: Path, files: Mapping[str, bytes]) -> None:
    """Copies `root` to the new folder `target` and writes `files` into the copy.

    Tracked, untracked and ignored files alike (tests may need an ignored .env). Links are copied as
    links; one that leaves the project still points to the original.
    """

    def left_out(folder: str, names: list[str]) -> set[str]:
        found = LEFT_OUT & set(names)
        found |= {name for name in names if name.endswith((".pyc", ".pyo"))}
        found |= {name for name in names if (Path(folder) / name / "pyvenv.cfg").exists()}
        return found

    def copy(source: str, destination: str) -> str:
        if not os.path.islink(source) and os.path.getsize(source) > LARGE:
            os.symlink(source, destination)
            return destination
        return shutil.copy2(source, destination, follow_symlinks=False)

    shutil.copytree(root, target, symlinks=True, ignore=left_out, copy_function=copy)
    for path, data in files.items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.write_bytes(data)


def moved(argument: str, root: Path, target: Path) -> str:
    """A pytest argument with an absolute path inside `root` turned to the copy."""
    prefix = str(root)
    if argument == prefix or argument.startswith(prefix + os.sep):
        return str(target) + argument[len(prefix) :]
    return argument
