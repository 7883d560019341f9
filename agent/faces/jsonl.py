"""One event a line on stdout, and nothing else there. The schema is that of `agent.events`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from agent.events import Event, Finished, dumps


def show(events: Iterable[Event], out: TextIO) -> Finished | None:
    """Write each event at once; returns the terminal one. What is no valid text is written as \\udcXX escapes."""
    finished = None
    for event in events:
        line = dumps(event).encode("utf-8", "backslashreplace").decode("utf-8")
        out.write(line + "\n")
        out.flush()
        if isinstance(event, Finished):
            finished = event
    return finished
