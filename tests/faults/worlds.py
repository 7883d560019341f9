"""Projects that faults are injected into, each with a patch of several files, and pictures of all their bytes and modes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Picture = dict[str, tuple[int, bytes]]  # path below the top -> (mode, content or link's target)

OLD = b"def f(a, b):\n    return a - b\n"
NEW = b"def f(a, b):\n    return a + b\n"
# Name in the project -> (before, after): line ends, encodings and names that are not usual ones.
PATCH = {
    "src/calc.py": (OLD, NEW),
    "src/dos.py": (OLD.replace(b"\n", b"\r\n"), NEW.replace(b"\n", b"\r\n")),
    "src/\u00fcn\u00ef \n'\"x\udcff.py": (b"# \xe9 latin-1\nx = 1", b"# \xe9 latin-1\nx = 2"),
}
MODES = {"src/calc.py": 0o755, "src/dos.py": 0o640}


@dataclass
class World:
    """A project. `top` holds all that must not change; `state` is where runs are recorded; `picture` is of `top` as made."""

    name: str
    top: Path
    root: Path
    state: Path
    patch: dict[str, tuple[bytes, bytes]] = field(default_factory=lambda: dict(PATCH))
    picture: Picture = field(default_factory=dict)
    patched: Picture = field(default_factory=dict)  # with exactly the patch

    def reset(self) -> None:
        """Everything as it was made."""
        now = picture(self.top)
        for path in sorted(now.keys() - self.picture.keys(), reverse=True):
            remove(self.top / path)
        for path, (mode, data) in sorted(self.picture.items()):
            if now.get(path) != (mode, data):
                place = self.top / path
                if path in now and not (place.is_dir() and stat.S_ISDIR(mode)):
                    remove(place)
                if stat.S_ISLNK(mode):
                    place.symlink_to(os.fsdecode(data))
                    continue
                if stat.S_ISDIR(mode):
                    place.mkdir(exist_ok=True)
                else:
                    place.write_bytes(data)
                place.chmod(stat.S_IMODE(mode))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def picture(top: Path) -> Picture:
    """Mode and content of everything below `top`, git's own files included."""
    found: Picture = {}
    for base, folders, names in os.walk(top):
        for name in folders + names:
            path = Path(base, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                data = os.fsencode(os.readlink(path))
            else:
                data = b"" if stat.S_ISDIR(mode) else path.read_bytes()
            found[str(path.relative_to(top))] = mode, data
    return found


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def fill(root: Path) -> None:
    for path, (before, _) in PATCH.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(before)
        (root / path).chmod(MODES.get(path, 0o644))
    (root / "mine.py").write_bytes(b"x = 1\n")


def busy(root: Path) -> None:
    """A stash, staged and unstaged changes."""
    (root / "mine.py").write_bytes(b"x = 'stashed'\n")
    git(root, "stash")
    (root / "mine.py").write_bytes(b"x = 'staged'\n")
    git(root, "add", "mine.py")
    (root / "mine.py").write_bytes(b"x = 'neither'\n")
    (root / "new.py").write_bytes(b"untracked\n")


def committed(root: Path) -> None:
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main", "--template=")
    fill(root)
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")


def _repository(top: Path) -> Path:
    committed(top / "repo")
    busy(top / "repo")
    return top / "repo"


def _subfolder(top: Path) -> Path:
    return _repository(top) / "src"


def _no_git(top: Path) -> Path:
    fill(top / "plain")
    return top / "plain"


def _bare_file(top: Path) -> Path:
    fill(top / "plain")
    (top / "plain" / ".git").write_text("gitdir: /nowhere\n")
    return top / "plain"


def _worktree(top: Path) -> Path:
    committed(top / "main")
    git(top / "main", "worktree", "add", "-q", "-b", "side", str(top / "side"))
    busy(top / "side")
    return top / "side"


def _submodule(top: Path) -> Path:
    committed(top / "library")
    (top / "super").mkdir()
    git(top / "super", "init", "-q", "--template=")
    git(top / "super", "submodule", "--quiet", "add", str(top / "library"), "library")
    git(top / "super", "commit", "-qm", "x")
    return top / "super" / "library"


def _links(top: Path) -> Path:
    """The patch's first file is a link within the tree; beside it lies one out of the tree."""
    root = _repository(top)
    (top / "outside.py").write_bytes(OLD)
    (root / "out.py").symlink_to(top / "outside.py")
    (root / "link.py").symlink_to("src/calc.py")
    return root


KINDS: dict[str, Callable[[Path], Path]] = {
    "repository": _repository, "subfolder": _subfolder, "no git": _no_git, "bare .git file": _bare_file,
    "worktree": _worktree, "submodule": _submodule, "links": _links,
}  # fmt: skip


def make(name: str, base: Path) -> World:
    """The project of that kind, in a folder of its own below `base`."""
    top = base / name.replace(" ", "-") / "top"
    top.mkdir(parents=True)
    world = World(name, top, KINDS[name](top), base / name.replace(" ", "-") / "state" / "runs")
    if name == "subfolder":
        world.patch = {path.removeprefix("src/"): pair for path, pair in PATCH.items()}
    if name == "links":
        world.patch = {
            "link.py" if path == "src/calc.py" else path: pair for path, pair in PATCH.items()
        }
    world.picture = picture(top)
    world.patched = dict(world.picture)
    for path, (_, after) in world.patch.items():
        place = str((world.root / path).resolve().relative_to(top.resolve()))
        world.patched[place] = world.picture[place][0], after
    return world
