"""The figures of a training, report by report: JSON lines for programs, event files for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JSONL, EVENTS = "metrics.jsonl", "tensorboard"


class Metrics:
    """Appends to `folder`/metrics.jsonl and `folder`/tensorboard; a resumed training goes on in the same."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._lines = (folder / JSONL).open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder / EVENTS))

    def write(self, record: dict[str, Any]) -> None:
        """A report: its "step", and numbers by name; True and False are for the lines alone."""
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        for name, value in record.items():
            if name != "step" and not isinstance(value, bool):
                self._events.add_scalar(name, value, record["step"])
        self._events.flush()

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        self._events.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
