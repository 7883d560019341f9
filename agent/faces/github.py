"""What GitHub Actions shows of a run: an annotation at each place that the patch changes, and the patch in the job's summary.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from agent.events import Finished

_HUNK = re.compile(r"@@ -(\d+)")


def report(finished: Finished, out: TextIO, summary: Path | None) -> None:
    """Write the annotations to `out`, which the runner reads, and append to the file of the summary."""
    for path, line, text in changes(finished.diff):
        told = f"::warning file={_property(path)},line={line},title=trm-agent::{_message(text)}"
        out.write(told.encode("utf-8", "replace").decode() + "\n")
    if not finished.diff:
        level = "notice" if finished.exit_code == 0 else "error"
        out.write(f"::{level} title=trm-agent::{_message(finished.message)}\n")
    out.flush()
    if summary is not None:
        with summary.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(_summary(finished))


def changes(diff: str) -> Iterator[tuple[str, int, str]]:
    """Path, line before the change and what becomes of it, of every change of a diff of `agent.diffs.make_diff`."""
    path, line = "", 0
    removed: list[str] = []
    added: list[str] = []
    at = 0

    def done() -> Iterator[tuple[str, int, str]]:
        if removed or added:
            old, new = "\n".join(removed), "\n".join(added)
            arrow = f"{old} -> {new}" if old and new else f"remove {old}" if old else f"add {new}"
            yield path, at, arrow
        removed.clear()
        added.clear()

    for text in diff.splitlines():
        if text.startswith("+++ "):
            yield from done()
            path = text[4:].removeprefix("b/").rstrip("\t")
        elif text.startswith("--- ") and not line:
            continue
        elif text.startswith("diff --git"):
            yield from done()
            line = 0
        elif found := _HUNK.match(text):
            yield from done()
            line = int(found[1])
        elif line and text[:1] in "-+":
            at = at if removed or added else line
            (removed if text[0] == "-" else added).append(text[1:].strip())
            line += text[0] == "-"
        elif line and not text.startswith("\\"):
            yield from done()
            line += 1
    yield from done()


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
