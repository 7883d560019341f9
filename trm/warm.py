"""Executables made in a process of their own: compiling them holds up neither the screen nor the candidates.

JAX holds the interpreter's lock while it traces and lowers, 0.1 to 0.2 s at a time. The process that needs the executables only
loads them from the cache (trm.compiled).

    python -P -m trm.warm PARENT [CHECKPOINT]
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # JAX is imported once somebody looks after the parent
    from trm.predict import Predictor

_LENGTHS = (128, 64, 256, 512)  # padded lengths of units; most have the first
_NICENESS = 5
_children: list[subprocess.Popen[bytes]] = []


def _mark(predictor: Predictor, length: int) -> str:
    return f"{predictor.config!r} {length}"


def compile_apart(
    predictor: Predictor, checkpoint: Path | None, stopped: Callable[[], bool]
) -> None:
    """Have what is missing compiled by another process; returns once the executables for most units are there.

    That process goes on with those for shorter and longer units, and ends with this one. Where it cannot be started or fails, or
    the cache cannot be written, this process will compile for itself, as it calls. stopped: nobody waits any more.
    """
    from trm import compiled

    missing = [length for length in _LENGTHS if not compiled.is_marked(_mark(predictor, length))]
    if not missing or not compiled.is_writable():
        return
    command = [sys.executable, "-P", "-m", "trm.warm", str(os.getpid())]
    command += [str(checkpoint)] if checkpoint else []
    null = subprocess.DEVNULL
    try:
        child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
    except OSError:
        return
    _children.append(child)  # kept, so that nothing is said of it at the end
    if missing[0] != _LENGTHS[0]:
        return
    while child.poll() is None and not compiled.is_marked(_mark(predictor, _LENGTHS[0])):
        if stopped():
            child.kill()
            child.wait()
            return
        time.sleep(0.02)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(0)


def main() -> None:
    """Compile what is missing, what most units need first."""
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    from trm import compiled
    from trm.predict import Predictor

    predictor = Predictor(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    for length in _LENGTHS:
        for _ in predictor.warm((length,)):
            pass
        compiled.mark(_mark(predictor, length))
        if length == _LENGTHS[0]:  # nobody waits for the others
            with contextlib.suppress(AttributeError, OSError):  # no such call on Windows
                os.nice(_NICENESS)


if __name__ == "__main__":
    main()
