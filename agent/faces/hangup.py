"""A terminal that was closed under the program: what is still written goes nowhere instead of failing."""

from __future__ import annotations

import errno
import os

try:
    import termios
except ImportError:  # not POSIX
    termios = None


def let_go() -> None:
    """Turn those of stdin, stdout and stderr that were a terminal which is gone to the null device; others are as before."""
    for fd in (0, 1, 2):
        if _gone(fd):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, fd)
            os.close(null)


def _gone(fd: int) -> bool:
    if termios is None:
        return False
    try:
        termios.tcgetattr(fd)
    except termios.error as error:
        return error.args[0] == errno.EIO
    return False
