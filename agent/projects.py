"""Projects to learn from: where they are, what their tests need, and whether they may be trained on at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import git

from agent.environments import prepare
from tools.workspace import WorkspaceError, find_workspace
from trm.data.sources import is_excluded, load_sources


@dataclass(frozen=True)
class Task:
    """One project of `mutate_all`: a path or a URL, and how to go about it.

    out: folder of all the mutants. install: make an environment with what the tests need, of the interpreter `python`.
    evidence: share of mutants with that of a search in vain.
    """

    given: str
    out: Path
    python: str | None
    pytest_args: tuple[str, ...]
    per_unit: int
    seconds: float
    seed: int
    install: bool = False
    evidence: float = 0.0

    @property
    def package(self) -> str:
        """Name of the unit of hold-out: owner/name of a URL or of a folder "owner+name", else the folder's name."""
        if is_url(self.given):
            parts = self.given.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
            return "/".join(parts[-2:])
        return Path(os.path.abspath(self.given)).name.replace("+", "/")

    @property
    def folder_name(self) -> str:
        """The package's name as a name of a file."""
        return self.package.replace("/", "+")

    @property
    def part(self) -> Path:
        """The file of its mutants."""
        return self.out / "parts" / f"{self.folder_name}.jsonl.gz"


class RefusedError(ValueError):
    """The project must not be trained on, or cannot be had; the message says why."""


def project_of(task: Task) -> Project:
    """The project of a task, cloned and installed if need be. Raises RefusedError, InstallError or WorkspaceError."""
    if (reason := is_excluded(Path(task.package))) is not None:
        raise RefusedError(f"kept out of all training ({reason})")
    folder = Path(task.given)
    if is_url(task.given):
        folder = task.out / "clones" / task.folder_name
        if not folder.is_dir():
            try:
                git.Repo.clone_from(task.given, folder, depth=1)
            except git.GitCommandError as error:
                said = str(error.stderr).strip().splitlines()
                raise RefusedError(f"cannot be cloned: {said[-1] if said else error}") from None
    python = task.python
    if task.install:
        python = prepare(folder.absolute(), task.out.absolute() / "envs" / task.folder_name, python)
    workspace = find_workspace(folder, python)
    if (problem := workspace.interpreter.problem) is not None:
        raise WorkspaceError(*problem)
    licences = {source.name: source.licence for source in load_sources()}
    return Project(
        workspace.root, task.package, licences.get(task.package, ""), workspace.python,
        workspace.pytest_args(task.pytest_args),
    )  # fmt: skip


def is_url(given: str) -> bool:
    """Whether a project is to be cloned from there."""
    return "://" in given or given.startswith("git@")


@dataclass(frozen=True)
class Project:
    """A project to mutate. package and licence: as the records shall have them."""

    root: Path
    package: str
    licence: str
    python: str
    pytest_args: tuple[str, ...] = ()
