"""What GitHub Actions shows of a run: an annotation at each place that the patch changes, and the patch in the job's summary.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from agent.events import Finished

Change = tuple[
    str, int, str, str
]  # path, line before it, old and new text; see agent.diffs.changes


def report(
    finished: Finished, changes: Iterable[Change], out: TextIO, summary: Path | None
) -> None:
    """Write the annotations to `out`, which the runner reads, and append to the file of the summary."""
    for path, line, old, new in changes:
        text = _message(_told(old, new))
        told = f"::warning file={_property(path)},line={line},title=trm-agent::{text}"
        out.write(told.encode("utf-8", "replace").decode() + "\n")
    if not finished.diff:
        level = "notice" if finished.exit_code == 0 else "error"
        out.write(f"::{level} title=trm-agent::{_message(finished.message)}\n")
    out.flush()
    if summary is not None:
        with summary.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(_summary(finished))


def _summary(finished: Finished) -> str:
    lines = ["### trm-agent", "", finished.message, ""]
    if finished.diff:
        fence = "`" * (3 + max((len(run) for run in re.findall("`+", finished.diff)), default=0))
        lines += [f"{fence}diff", finished.diff.rstrip("\n"), fence, ""]
    elif finished.suspects:
        lines += ["Likeliest places:", "", *(f"- `{suspect}`" for suspect in finished.suspects), ""]
    return "\n".join(lines) + "\n"


def _told(old: str, new: str) -> str:
    """What becomes of it, without layout."""
    old, new = ("\n".join(line.strip() for line in text.splitlines()) for text in (old, new))
    return f"{old} -> {new}" if old and new else f"remove {old}" if old else f"add {new}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
