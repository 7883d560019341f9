"""The signals that end the program, and how they wait while something is made that must be known before it can be taken away."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator

ENDING = [  # signals that end the program; the last comes when its terminal is closed
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextlib.contextmanager
def undisturbed() -> Generator[None, None, None]:
    """Let signals that end the program wait until the end of the block, which must be short."""
    held: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # handlers run there alone
        for number in ENDING:
            if signal.getsignal(number) == signal.SIG_IGN:  # as nohup and a shell's & have it
                continue
            before[number] = signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not set by Python, and cannot be set by it
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in held:
            signal.raise_signal(number)
