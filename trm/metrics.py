"""The figures of a training, report by report: JSON lines for programs, event files for TensorBoard."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

JSONL, EVENTS = "metrics.jsonl", "tensorboard"


class Metrics:
    """Appends to `folder`/metrics.jsonl and `folder`/tensorboard from the first report on; what is there stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = contextlib.ExitStack()
        self._open: tuple[Any, Any] | None = None

    def write(self, record: dict[str, Any]) -> None:
        """A report: its "step", and numbers by name; True and False are for the lines alone."""
        lines, events = self._open = self._open or self._opened()
        lines.write(json.dumps(record) + "\n")
        lines.flush()
        for name, value in record.items():
            if name != "step" and not isinstance(value, bool):
                events.add_scalar(name, value, record["step"])
        events.flush()

    def _opened(self) -> tuple[Any, Any]:
        from tensorboardX import SummaryWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        lines = self._files.enter_context((self._folder / JSONL).open("a", encoding="utf-8"))
        return lines, self._files.enter_context(SummaryWriter(str(self._folder / EVENTS)))

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
