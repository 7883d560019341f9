"""The project's history, read from git: commits, and what files were like at one. Never a checkout: the tree is not touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.workspace import PROJECT_FILES, is_test_name

LARGEST = 2 << 20  # bytes; larger files are left as they are now
UNCOMMITTED = ""  # stands for the working tree where a commit's name would


class HistoryError(ValueError):
    """The history cannot be read, or the revision is not in it. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Commit:
    """name: 40 hex digits. date: year-month-day of the author. UNCOMMITTED as the name: changes not committed yet."""

    name: str
    subject: str = "uncommitted changes"
    author: str = ""
    date: str = ""

    @property
    def short(self) -> str:
        """As people write it."""
        return self.name[:10] or "working tree"


class History:
    """First-parent history of the project at `root`; paths are relative to `root`, POSIX.

    Raises HistoryError if `root` is not in a git repository with a commit.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefix = self._text("rev-parse", "--show-prefix")
        self.head = self.resolve("HEAD")

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(["git", "-c", "core.quotepath=off", *arguments], cwd=self.root, input=given,
                                  capture_output=True, check=False, timeout=120, env=environment)  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise HistoryError(f"git: {error}", "is git installed?") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
            raise HistoryError(
                f"git {arguments[0]}: {said}", "bisect needs a git repository with commits"
            )
        return done.stdout

    def _text(self, *arguments: str) -> str:
        return self._git(*arguments).decode("utf-8", "replace").strip()

    def resolve(self, revision: str) -> str:
        """The commit's full name. Raises HistoryError for an unknown revision."""
        try:
            return self._text(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except HistoryError as error:
            raise HistoryError(
                f"no commit {revision!r} in {self.root}", "git log shows what there is"
            ) from error

    def is_ancestor(self, commit: str) -> bool:
        """Whether `commit` is HEAD or before it."""
        return (
            self._text("merge-base", commit, self.head) == commit
            if self._related(commit)
            else False
        )

    def _related(self, commit: str) -> bool:
        try:
            self._git("merge-base", commit, self.head)
        except HistoryError:
            return False
        return True

    def commits(self, after: str | None = None, limit: int | None = None) -> list[Commit]:
        """Commits that touch the project, oldest first: those after `after`, or the latest `limit`."""
        arguments = ["log", "--first-parent", "--format=%H%x1f%s%x1f%an%x1f%as"]
        arguments += [f"--max-count={limit}"] if limit else []
        text = self._text(*arguments, f"{after}..{self.head}" if after else self.head, "--", ".")
        return [
            Commit(*line.split("\x1f"))
            for line in reversed(text.split("\n"))
            if line.count("\x1f") == 3
        ]

    def parent(self, commit: str) -> str | None:
        """The first parent's name, None for the first commit."""
        names = self._text("rev-list", "--parents", "--max-count=1", commit).split()
        return names[1] if len(names) > 1 else None

    def is_dirty(self) -> bool:
        """Whether code in the working tree differs from HEAD (untracked files aside)."""
        return bool(self.code_at(self.head))

    def code_at(self, commit: str) -> dict[str, bytes]:
        """Code files that are different now, as they were at `commit`; one that was not there then is empty.

        Tests, conftest.py and pytest's configuration are left out: today's tests are what is asked about all versions.
        """
        fields = self._git(
            "diff", "--name-status", "-z", "--no-renames", "--relative", commit, "--", "."
        ).split(b"\0")
        changed = [
            (status.decode(), os.fsdecode(path))
            for status, path in zip(fields[::2], fields[1::2], strict=False)
        ]
        changed = [(status, path) for status, path in changed if is_code(path)]
        files = {path: b"" for status, path in changed if status == "A" and path.endswith(".py")}
        return files | self.contents(commit, (path for status, path in changed if status in "MD"))

    def contents(self, commit: str, paths: Iterable[str]) -> dict[str, bytes]:
        """Files as they were at `commit`; absent and very large ones are left out."""
        paths = list(paths)
        if not paths:
            return {}
        asked = b"".join(os.fsencode(f"{commit}:{self.prefix}{path}") + b"\n" for path in paths)
        data = self._git("cat-file", "--batch", given=asked)
        found: dict[str, bytes] = {}
        at = 0
        for path in paths:
            header, _, _ = data[at:].partition(b"\n")
            at += len(header) + 1
            words = header.rsplit(b" ", 2)
            if len(words) == 3 and words[1] == b"blob":
                size = int(words[2])
                if size <= LARGEST:
                    found[path] = data[at : at + size]
                at += size + 1
        return found


def is_code(path: str) -> bool:
    """Whether a version of the file belongs to the program rather than to its tests or pytest's configuration."""
    parts = path.split("/")
    if is_test_name(parts[-1]) or parts[-1] == "conftest.py" or path in PROJECT_FILES:
        return False
    return not {"tests", "test"} & set(parts[:-1])
