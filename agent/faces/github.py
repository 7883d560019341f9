"""What GitHub Actions shows of a run: an annotation at each place that the patch changes, and the patch in the job's summary.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from agent.events import Finished

Change = tuple[str, int, str]  # path, line before it, what becomes of it; see agent.diffs.changes


def report(
    finished: Finished, changes: Iterable[Change], out: TextIO, summary: Path | None
) -> None:
    """Write the annotations to `out`, which the runner reads, and append to the file of the summary."""
    for path, line, text in changes:
        told = f"::warning file={_property(path)},line={line},title=trm-agent::{_message(text)}"
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


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
