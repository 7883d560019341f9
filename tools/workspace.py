"""A look at the user's project: its root, git state and interpreter. Reads only; runs no test and writes nothing.

Where pytest puts its `rootdir` is left to pytest: `root` is only the directory it is started in.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.interpreter import Interpreter, WorkspaceError, find_python

PROJECT_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml",
                 "setup.py", "setup.cfg", "tox.ini")  # fmt: skip
_SKIPPED_FOLDERS = frozenset({"node_modules", "site-packages", "__pycache__", "venv", "build"})


@dataclass(frozen=True, slots=True)
class Workspace:
    """What `find_workspace` found.

    target: the absolute path asked for. root: the directory to start pytest in. git_root: the working tree's top, None
    outside git. test_args: what to hand pytest so that it runs the target's tests, relative to root, () for all that the
    project configures. dirty: files with uncommitted changes, relative to root, POSIX.
    """

    target: Path
    root: Path
    git_root: Path | None
    interpreter: Interpreter
    test_args: tuple[str, ...] = ()
    dirty: tuple[str, ...] = ()

    @property
    def python(self) -> str:
        """The interpreter's path; a virtual environment's symbolic link is not resolved."""
        return self.interpreter.path

    @property
    def python_reason(self) -> str:
        """Why this interpreter, in a few words."""
        return self.interpreter.reason

    @property
    def python_version(self) -> str:
        """For example "3.12.1"."""
        return ".".join(map(str, self.interpreter.version))

    def pytest_args(self, given: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The user's arguments, with `test_args` before them unless they name a path themselves."""
        for arg in given:
            path = arg.split("::")[0]
            if path and not path.startswith("-") and (self.root / path).exists():
                return given
        return (*self.test_args, *given)


def find_workspace(
    path: str | os.PathLike[str] = ".",
    python: str | None = None,
    python_origin: str = "--python",
    environ: Mapping[str, str] | None = None,
) -> Workspace:
    """Look at the project that holds `path`, a directory or a Python file.

    python: an interpreter, an environment's directory or a command on PATH that was asked for (flag or setting);
    `python_origin` names who asked. environ: defaults to os.environ.

    Raises:
      WorkspaceError: no such path, not Python, or the interpreter asked for does not run.
    """
    environ = os.environ if environ is None else environ
    target = Path(os.path.abspath(path))
    _check_target(target, os.fspath(path))
    folder = target if target.is_dir() else target.parent
    git_root = find_git_root(folder)
    project = _project_root(folder, git_root)
    root = project or (folder if target.is_file() or _first_test(folder) else git_root or folder)
    interpreter = find_python(root, git_root, python, python_origin, environ)
    return Workspace(
        target, root, git_root, interpreter, _test_args(target, root), dirty_files(root, git_root)
    )


def _check_target(target: Path, given: str) -> None:
    if not target.exists():
        parent = target.parent
        names = os.listdir(parent) if parent.is_dir() else []
        near = difflib.get_close_matches(target.name, names, 1)
        meant = str(Path(given).parent / near[0]) if near else ""
        raise WorkspaceError(
            f"{given}: no such file or directory",
            f"did you mean {meant}?"
            if meant
            else "give the folder of the project, or one Python file",
        )
    if target.is_file():
        if target.suffix != ".py":
            raise WorkspaceError(
                f"{given}: not a Python file", "give a .py file, or the folder that holds the tests"
            )
    elif next(_python_files(target), None) is None:
        raise WorkspaceError(
            f"{given}: no Python file in this folder", "give the folder of a Python project"
        )


def _python_files(folder: Path) -> Iterator[Path]:
    """Python files below `folder`, nearest first; hidden folders and environments are left out."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS
            and not name.startswith(".")
            and not os.path.exists(os.path.join(base, name, "pyvenv.cfg"))
        )
        yield from (Path(base, name) for name in sorted(names) if name.endswith(".py"))


def is_test_name(name: str) -> bool:
    """Whether pytest's default `python_files` matches."""
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def _first_test(folder: Path) -> Path | None:
    return next((path for path in _python_files(folder) if is_test_name(path.name)), None)


def _project_root(folder: Path, git_root: Path | None) -> Path | None:
    """The nearest directory with a project's file, at most as far up as the git root; a home directory is no project."""
    for base in (folder, *folder.parents):
        if base in (Path.home(), Path(base.anchor)) and base != git_root:
            return None
        if any((base / name).is_file() for name in PROJECT_FILES):
            return base
        if base == git_root:
            return None
    return None


def _test_args(target: Path, root: Path) -> tuple[str, ...]:
    if target == root:
        return ()
    if target.is_dir():
        return (target.relative_to(root).as_posix(),) if _first_test(target) else ()
    if is_test_name(target.name):
        return (target.relative_to(root).as_posix(),)
    wanted = {f"test_{target.stem}.py", f"{target.stem}_test.py"}
    places = dict.fromkeys((target.parent, *(root / name for name in ("tests", "test"))))
    places |= dict.fromkeys(target.parent / name for name in ("tests", "test"))
    found = [place / name for place in places for name in sorted(wanted)]
    return tuple(path.relative_to(root).as_posix() for path in found if path.is_file())


# Git: reads only.


def find_git_root(folder: Path) -> Path | None:
    """The top of the working tree that holds `folder`, or None (no repository, a bare one, no git)."""
    for base in (folder, *folder.parents):
        if (base / ".git").exists():
            try:
                import git

                top = git.Repo(base).working_tree_dir
            except Exception:  # no git binary, or a .git that is not a repository: as outside git
                return None
            return Path(top) if top else None
    return None


def dirty_files(root: Path, git_root: Path | None) -> tuple[str, ...]:
    """Changed and untracked files of the working tree, relative to `root`; () outside git."""
    if git_root is None:
        return ()
    import git

    try:
        command = git.Repo(git_root).git
        command.update_environment(
            GIT_OPTIONAL_LOCKS="0"
        )  # status would write the user's index anew
        text = command.status("--porcelain=v1", "-z", "--no-renames")
    except git.GitError:  # for example an index locked or owned by somebody else
        return ()
    names = [entry[3:] for entry in text.split("\0") if len(entry) > 3]
    return tuple(Path(os.path.relpath(git_root / name, root)).as_posix() for name in names)


__all__ = ["Interpreter", "Workspace", "WorkspaceError", "find_workspace", "is_test_name"]
