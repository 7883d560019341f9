"""What a run of a suite depends on, as one short text: equal where nothing is different that can be known of.

That is every file of the project (also those that git ignores; not version control, caches and environments), what is installed
for the interpreter, sources that it imports from elsewhere, pytest's configuration in the folders above, the environment
variables, the machine and this code. Not seen are a package changed in place, the time of day, a service.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tools.shadow import LARGE, LEFT_OUT
from tools.workspace import PROJECT_FILES

MOST_BYTES, MOST_FILES = 512 << 20, 30_000  # beyond which looking takes longer than it may save
_PACKAGES = ("site-packages", "dist-packages")
_REPORTS = ("coverage.xml", "htmlcov")  # left by runs of the user's, read by no test; .coverage too
# Of a terminal or a login, not of the machine.
_PASSING = (
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "TERM",
    "TMUX",
    "WINDOWID",
    "_",
)
_PASSING_PREFIXES = ("DBUS_", "GPG_", "SSH_", "TERM_", "TMUX_", "VSCODE_", "XDG_SESSION_")


class TooLarge(Exception):
    """There is more to read than it is worth."""


def files_of(*folders: Path) -> str:
    """Stands for the content of all files below the folders; "" where that cannot be told, or takes too long."""
    try:
        return _files(folders)
    except (OSError, TooLarge):
        return ""


def _files(folders: Iterable[Path]) -> str:
    digest, sizes = hashlib.blake2b(digest_size=16), 0
    for number, (name, path) in enumerate(_below(folders)):
        about = path.lstat()
        kind = stat.S_IFMT(about.st_mode)
        entry: list[Any] = [name, kind, about.st_mode & stat.S_IXUSR]
        if kind == stat.S_IFLNK:
            entry.append(os.readlink(path))
            about = path.stat() if path.is_file() else about
        if stat.S_ISREG(about.st_mode):
            entry.append(_content(path, about))
            sizes += about.st_size if about.st_size <= LARGE else 0
        if sizes > MOST_BYTES or number > MOST_FILES:
            raise TooLarge
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(path: Path, about: os.stat_result) -> str:
    if about.st_size > LARGE:
        return f"{about.st_size} {about.st_mtime_ns}"
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()


def _below(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """(name, path) of all files, in an order of its own; a link to a folder counts as one more folder."""
    waiting, seen = [Path(os.path.realpath(folder)) for folder in folders], set[Path]()
    while waiting:
        top = waiting.pop(0)
        if top in seen or any(other in top.parents for other in seen):
            continue
        seen.add(top)
        yield str(top), top
        for base, inner, names in os.walk(top, onerror=_refuse):
            inner[:] = sorted(name for name in inner if not _left_out(base, name))
            links = [name for name in inner if os.path.islink(os.path.join(base, name))]
            waiting += [Path(os.path.realpath(os.path.join(base, name))) for name in links]
            inner[:] = [name for name in inner if name not in links]
            for name in sorted((*names, *links)):
                if (
                    not name.endswith((".pyc", ".pyo"))
                    and not name.startswith(".coverage")
                    and name not in _REPORTS
                ):
                    path = Path(base, name)
                    yield os.path.relpath(path, top), path


def _left_out(base: str, name: str) -> bool:
    return (
        name in LEFT_OUT
        or name in _REPORTS
        or os.path.exists(os.path.join(base, name, "pyvenv.cfg"))
    )


def _refuse(error: OSError) -> None:
    raise error


def surroundings(root: Path, hello: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Stands for all but the project's own files; "" where that cannot be told. hello: the worker's first words."""
    try:
        return _surroundings(root, hello, environ)
    except (OSError, TooLarge):
        return ""


def _surroundings(root: Path, hello: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    installed, elsewhere = _imported(root, hello)
    above = [
        path
        for base in root.parents
        for name in (*PROJECT_FILES, "conftest.py")
        if (path := base / name).is_file()
    ]
    variables = {
        name: value
        for name, value in environ.items()
        if name not in _PASSING and not name.startswith(_PASSING_PREFIXES)
    }
    ours = sorted(Path(__file__).parent.rglob("*.py"))
    parts = [
        hello, installed, _files(elsewhere), sorted(variables.items()), list(platform.uname()), os.getuid(),
        [(str(path), _content(path, path.stat())) for path in (*above, *ours)],
    ]  # fmt: skip
    return digest_of(parts)


def digest_of(parts: Sequence[Any]) -> str:
    """A short text of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _imported(root: Path, hello: Mapping[str, Any]) -> tuple[list[Any], list[Path]]:
    """(What is in the interpreter's folders of packages, folders elsewhere from which it imports)."""
    installed: list[Any] = []
    elsewhere: list[Path] = []
    _, _, *prefixes = hello["interpreter"]
    for place in map(Path, filter(None, hello["path"])):
        if place.name in _PACKAGES and place.is_dir():
            for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
                # A folder of code gets another time when it is first imported; what describes it, when it is installed.
                dated = entry.is_file() or entry.name.endswith((".dist-info", ".egg-info"))
                if entry.name != "__pycache__":
                    time = entry.stat().st_mtime_ns if dated else 0
                    installed.append([str(place), entry.name, time])
                if entry.name.endswith(".dist-info"):
                    elsewhere += _editable(Path(entry.path))
        elif place.is_file():
            installed.append([str(place), place.stat().st_mtime_ns])
        elif place.is_dir() and not any(place.is_relative_to(prefix) for prefix in prefixes):
            elsewhere.append(place)
    return installed, [place for place in elsewhere if not place.is_relative_to(root)]


def _editable(distribution: Path) -> Iterator[Path]:
    """The folder of a package that is imported from where it is written."""
    try:
        told = json.loads((distribution / "direct_url.json").read_text("utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        told = {}
    if isinstance(told, dict) and told.get("dir_info", {}).get("editable"):
        yield Path(unquote(urlsplit(told["url"]).path))
