"""What the kernel gives to write a file that others may write too: an exchange of two names, and a lock of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Generator, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from agent.errors import PatchConflict

try:
    import fcntl
except ImportError:  # not POSIX: no lock, and no exchange either
    fcntl = None

LOCK_SECONDS = (
    10.0  # to wait for another trm-agent, which holds a lock for as long as it writes a few files
)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNABLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@cache
def _renameat2() -> Any:
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        return ctypes.CDLL(None, use_errno=True).renameat2
    return None


def exchange(first: Path, second: Path) -> bool:
    """Let two files change names in one step, so that neither is lost; False where the file system has no such call.

    Raises OSError where one is missing, or the tree refuses.
    """
    import ctypes

    call = _renameat2()
    if call is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(second))


@contextlib.contextmanager
def locked(folders: Iterable[Path]) -> Generator[None, None, None]:
    """Hold the lock that every trm-agent takes before it writes into one of these folders. It ends with the process.

    Raises PatchConflict where another holds one for ten seconds. Folders that cannot be locked are left unlocked.
    """
    end = time.monotonic() + LOCK_SECONDS
    with contextlib.ExitStack() as stack:
        for folder in sorted(set(folders)):  # in one order, so that no two wait for each other
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(_close, handle)
                _lock(handle, folder, end)
        yield


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)


def _lock(handle: int, folder: Path, end: float) -> None:
    while fcntl is not None:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise PatchConflict(
                    f"another trm-agent is writing in {folder}: nothing was written",
                    "wait for it to end, then try again",
                ) from None
            time.sleep(0.02)


def replace(file: Path, data: bytes) -> None:
    """Write a file of ours whole or not at all, whoever else does so; not beyond a loss of power. Raises OSError."""
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as made:
        try:
            made.write(data)
            made.flush()
            os.replace(made.name, file)
        except BaseException:
            os.unlink(made.name)
            raise


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` survive a loss of power."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
