"""An iterator that works ahead of its consumer, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def ahead(source: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items of `source`, taken in a thread that is at most `depth` of them ahead; its exception is raised here.

    Closing the generator ends the thread after the item it is at.
    """
    items: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def put(item: object, error: BaseException | None) -> None:
        while not stop.is_set():
            try:
                items.put((item, error), timeout=0.5)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in source:
                put(item, None)
                if stop.is_set():
                    return
            put(end, None)
        except BaseException as error:  # handed to the consumer
            put(end, error)

    threading.Thread(target=work, daemon=True).start()
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
