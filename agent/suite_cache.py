"""What runs told of a project's code, on disk, so that a second `fix` of the same code need not find it out again.

First runs of suites (the memory of `tools.runner`), and which candidates failed.

Below the XDG cache directory; whoever deletes it loses time only. An entry is written whole or not at all, and one that
cannot be read is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from agent.atomic import replace

MOST_BYTES = 256 << 20  # of all entries; the oldest go first
MOST_DAYS = 14.0  # tests may depend on the date
_RUN, _REJECTED = ".run", ".rejected"
_MARK = 8  # bytes


def cache_folder() -> Path:
    """Where entries are kept; it need not exist."""
    import platformdirs

    return platformdirs.user_cache_path("trm-agent") / "suites"


class Rejected:
    """Candidates that a test failed with, in this run and, where there is a file, in earlier ones of the same code.

    A test that was cut or a guard that refused something is no such failure: it may be the machine's.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._new = file, list[bytes]()
        data = b""
        if file is not None:
            with contextlib.suppress(OSError):
                data = file.read_bytes()
        self._ragged = len(data) % _MARK  # of a full disk: what is appended would be misread
        whole = data[: len(data) - self._ragged]
        self._known = {whole[at : at + _MARK] for at in range(0, len(whole), _MARK)}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._known

    @staticmethod
    def mark(test: str, files: Mapping[str, bytes]) -> bytes:
        """Stands for changed files and the test that is to pass with them."""
        digest = hashlib.blake2b(test.encode("utf-8", "surrogateescape"), digest_size=_MARK)
        for path, data in sorted(files.items()):
            digest.update(
                b"\0%d\0" % len(data) + path.encode("utf-8", "surrogateescape") + b"\0" + data
            )
        return digest.digest()

    def add(self, mark: bytes) -> None:
        """The test failed."""
        self._new.append(mark)

    def save(self) -> None:
        """Keep what this run added for later ones."""
        if self._file is None or not self._new:
            return
        with contextlib.suppress(OSError):
            if self._ragged:
                replace(self._file, b"".join((*self._known, *self._new)))
            else:
                with self._file.open("ab", buffering=0) as out:  # others may append too
                    out.write(b"".join(self._new))
        self._new = []


class SuiteCache:
    """A memory for `Runner.baseline`: `get` and assignment by key. A disk that refuses costs time only."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder

    def get(self, key: str) -> bytes | None:
        """What was kept under the key, unless it is too old."""
        file = self.folder / (key + _RUN)
        try:
            if time.time() - file.stat().st_mtime < MOST_DAYS * 86400:
                return file.read_bytes()
        except OSError:
            pass
        return None

    def __setitem__(self, key: str, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(
                parents=True, exist_ok=True, mode=0o700
            )  # runs hold values of the user's
            (self.folder / (key + _REJECTED)).unlink(
                missing_ok=True
            )  # it was told beside an older run
            replace(self.folder / (key + _RUN), data)
        self._prune()

    def rejected(self, key: str) -> Rejected:
        """The candidates that failed on the code of that key."""
        return Rejected(self.folder / (key + _REJECTED))

    def _prune(self) -> None:
        """Remove what is too old or too much, also what a kill left half written. Others may do so at the same time."""
        found: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError):
            for file in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    about = file.stat()
                    found.append((about.st_mtime, about.st_size, file))
        total, oldest = 0, time.time() - MOST_DAYS * 86400
        for written, size, file in sorted(found, reverse=True):
            total += size
            if total > MOST_BYTES or written < oldest:
                with contextlib.suppress(OSError):
                    file.unlink()
