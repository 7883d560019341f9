"""A change that the user wrote: run against the whole suite without writing it, and shown like the machine's own."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from agent.diffs import make_diff
from agent.errors import AgentError, PatchConflict, UsageError
from agent.events import CandidateTried, Event, PatchFound, Started, Suspect
from tools.runner import Runner
from tools.verdicts import RunnerError

OPERATOR = "by hand"


def changed(content: bytes, first_line: int, before: str, after: str) -> bytes:
    """`content` with the lines from `first_line` on, which must be `before`, replaced by `after`; line ends stay.

    Raises PatchConflict where the lines are not `before`.
    """
    end = b"\r\n" if b"\r\n" in content else b"\n"
    lines = content.split(end)
    old = before.rstrip("\n").split("\n")
    found = lines[first_line - 1 : first_line - 1 + len(old)]
    if [line.decode("utf-8", "replace") for line in found] != old:
        raise PatchConflict("the file changed since the run began", "run fix again")
    new = [line.encode() for line in after.rstrip("\n").split("\n")]
    return end.join(lines[: first_line - 1] + new + lines[first_line - 1 + len(old) :])


def attempt(
    started: Started, red: Sequence[str], suspect: Suspect, text: str, number: int, at: float, allow_network: bool = False
) -> list[Event]:  # fmt: skip
    """What a plain pytest run says of the suspect's file with `text` in the suspect's place.

    Gives a CandidateTried, and a PatchFound where every test passes. red: tests that failed before. number, at: of the events.

    Raises UsageError for a text that is no Python, PatchConflict where the file changed since, AgentError where no test can run.
    """
    root, path = Path(started.root), suspect.path
    old = (root / path).read_bytes()
    new = changed(old, suspect.first_line, suspect.source, text)
    if old == new:
        raise UsageError("nothing was changed", "edit the code first")
    try:
        compile(new, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(
            f"not Python{f', line {line}' if line else ''}: {error.args[0]}", "correct it"
        ) from None
    began = time.monotonic()
    try:
        with Runner(
            root, started.python, started.pytest_args, allow_network=allow_network
        ) as runner:
            final = runner.confirm({path: new})
    except RunnerError as error:
        raise AgentError(str(error), error.hint) from error
    seconds = round(time.monotonic() - began, 4)
    first, before, after = _first_difference(old, new)
    failing = final.failing or [error.path for error in final.collection_errors]
    outcome = "passed" if final.green else "failed" if final.failing else "error"
    still = failing[0] if failing else ""
    events: list[Event] = [
        CandidateTried(
            number, path, first, before, after, OPERATOR, 1.0, outcome, still, seconds, at=at
        )
    ]
    if final.green:
        diff, command = (
            make_diff(root, {path: (old, new)}),
            " ".join(["pytest", *started.pytest_args]),
        )
        events.append(PatchFound(diff, (path,), tuple(red), number, at, command, at=at))
    return events


def _first_difference(old: bytes, new: bytes) -> tuple[int, str, str]:
    """Line number and both texts of the first line that differs."""
    one, two = (text.decode("utf-8", "replace").split("\n") for text in (old, new))
    for number, (a, b) in enumerate(zip(one, two, strict=False), 1):
        if a != b:
            return number, a.strip(), b.strip()
    number = min(len(one), len(two))
    before, after = ("\n".join(text[number:]).strip() for text in (one, two))
    return number + 1, before, after


def open_in_editor(path: Path, line: int) -> None:
    """Run $VISUAL or $EDITOR (vi by default) on a file and wait for it. Raises UsageError where it cannot be started."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    command = shlex.split(editor)
    # every editor knows the file, and those of this list the line
    at = (
        [f"+{line}"]
        if Path(command[0]).name in ("vi", "vim", "nvim", "nano", "emacs", "ex")
        else []
    )
    try:
        subprocess.run([*command, *at, str(path)], check=False)
    except OSError as error:
        raise UsageError(f"{editor}: {error.strerror}", "set EDITOR to your editor") from None
