"""Brings events (or reports) from a blocking iterator to the app without ever blocking it.

One daemon thread runs the iterator. A daemon rather than Textual's thread worker: leaving the app must not wait for an
iterator that is stuck in a test run (asyncio joins its executor's threads at exit, it never joins a daemon). The thread only
appends to a queue and posts `Arrived` when the queue was empty; the app takes what is there at its own pace. Nothing is
dropped.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from textual.message import Message

Item = TypeVar("Item")
_LEAVING = 0.5  # seconds


class Feed(Generic[Item]):
    """The queue between the iterator's thread and the app's.

    `post` must be safe to call from another thread (`App.post_message` is). After the iterator ended, `ended` is true and
    `error` holds what it raised, if anything.
    """

    class Arrived(Message):
        """Events wait in the queue, or the iterator ended."""

    def __init__(self, events: Iterator[Item], post: Callable[[Message], object]) -> None:
        self._events = events
        self._post = post
        self._queue: deque[Item] = deque()
        self._lock = threading.Lock()
        self._notified = False
        self._abandoned = False
        self.ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._pump, name="trm-agent-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, most: int) -> list[Item]:
        """Up to `most` waiting events, oldest first. Posts no further `Arrived` for those left: ask `waiting`."""
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._notified = bool(self._queue)
        return taken

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def abandon(self) -> None:
        """Nobody reads any more: close the iterator as soon as it yields again.

        Waits a moment: a daemon that is inside compiled code (the model) when the interpreter goes away aborts the process. A
        test run that takes longer is waited for in Python, where that cannot happen.
        """
        self._abandoned = True
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_LEAVING)

    def _notify(self) -> None:
        with self._lock:
            if self._notified or self._abandoned:
                return
            self._notified = True
        # The app may be gone between the check and the call; there is nobody left to tell then.
        with contextlib.suppress(Exception):
            self._post(self.Arrived())

    def _pump(self) -> None:
        try:
            for event in self._events:
                if self._abandoned:
                    close = getattr(self._events, "close", None)
                    if close is not None:
                        close()
                    break
                with self._lock:
                    self._queue.append(event)
                self._notify()
        except BaseException as error:  # the app's caller raises it again
            self.error = error
        finally:
            with self._lock:
                self.ended = True
                self._notified = False
            self._notify()
