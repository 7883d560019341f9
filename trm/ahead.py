"""An iterator that works ahead of its consumer, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def ahead(source: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items of `source`, taken in a thread that is at most `depth` of them ahead; its exception is raised here.

    Closing the generator, or the end of the program, ends the thread after the item it is at. The interpreter waits for that: a
    daemon thread that is inside compiled code when the interpreter goes away takes the process with it (abort).
    """
    items: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def wanted() -> bool:
        return not stop.is_set() and threading.main_thread().is_alive()

    def put(item: object, error: BaseException | None) -> None:
        while wanted():
            try:
                items.put((item, error), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in source:
                put(item, None)
                if not wanted():
                    return
            put(end, None)
        except BaseException as error:  # handed to the consumer
            put(end, error)

    threading.Thread(target=work).start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
