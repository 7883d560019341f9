"""First runs of suites on disk, so that a second `fix` of the same code need not run it again: the memory of `tools.runner`.

Below the XDG cache directory; whoever deletes it loses time only. An entry is written whole or not at all, and one that
cannot be read is none.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from agent.atomic import replace

MOST_BYTES = 256 << 20  # of all entries; the oldest go first
MOST_DAYS = 14.0  # tests may depend on the date
_RUN = ".run"


def cache_folder() -> Path:
    """Where entries are kept; it need not exist."""
    import platformdirs

    return platformdirs.user_cache_path("trm-agent") / "suites"


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
            replace(self.folder / (key + _RUN), data)
        self._prune()

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
