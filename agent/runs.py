"""Recorded runs: each a directory under the XDG state directory, never in the user's repository.

runs/ID/events.jsonl holds the run's events, one a line; patch.json, where a patch was applied, what `undo` needs. An ID is
the local time and four random digits, so names sort by age.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.apply import RECORD, load_record, settle
from agent.errors import AgentError, UsageError
from agent.events import Event, dumps, loads

EVENTS = "events.jsonl"
KEPT = 100  # newest runs kept; older ones go unless they hold an applied patch
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run."""

    folder: Path

    @property
    def id(self) -> str:
        """Its name for `show`, `replay` and `undo`."""
        return self.folder.name

    def events(self, *names: str) -> Iterator[Event]:
        """The recorded events, or only those of these types. A last line cut short by a kill is left out.

        Raises:
          UsageError: no events were recorded, or a line is none.
        """
        try:
            text = (self.folder / EVENTS).read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            raise UsageError(
                f"run {self.id} has no recorded events", "choose another run"
            ) from None
        wanted = tuple(f'{{"event":"{name}"' for name in names) or ("",)  # as `dumps` writes it
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            if not line.startswith(wanted):
                continue
            try:
                yield loads(line)
            except (ValueError, TypeError) as error:
                raise UsageError(
                    f"run {self.id}: line {number} of {EVENTS} is not an event ({error})",
                    "it was recorded by another version or damaged; choose another run",
                ) from None


class Recorder:
    """Writes a run's events as they come. A disk that refuses ends the recording, not the run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._stream = (run.folder / EVENTS).open("a", encoding="utf-8", errors="surrogateescape")

    def write(self, event: Event) -> None:
        """Append one event; all but progress is on disk when this returns."""
        if self._stream.closed:
            return
        try:
            self._stream.write(dumps(event) + "\n")
            if not event.progress:
                self._stream.flush()
        except OSError:
            self.close()

    def close(self) -> None:
        """End the recording."""
        with contextlib.suppress(OSError):
            self._stream.close()


def runs_folder() -> Path:
    """Where runs are kept; it need not exist."""
    import platformdirs

    return platformdirs.user_state_path("trm-agent") / "runs"


def new_run(base: Path | None = None) -> Run:
    """A new, empty run; old ones are pruned. Raises OSError where the directory cannot be made."""
    base = runs_folder() if base is None else base
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    (base / name).mkdir(parents=True)
    _prune(base)
    return Run(base / name)


def list_runs(base: Path | None = None) -> list[Run]:
    """All runs, newest first."""
    base = runs_folder() if base is None else base
    names = sorted((p.name for p in base.glob("*") if _ID.fullmatch(p.name)), reverse=True)
    return [Run(base / name) for name in names]


def find_run(name: str = "", base: Path | None = None, applied: bool = False) -> Run:
    """The run of that id or unique beginning of one; the latest without a name, with `applied` the latest that wrote.

    Raises:
      UsageError: there is none, or several begin so; the nearest ids are in the hint.
    """
    runs = list_runs(base)
    if not name:
        if applied:
            runs = [run for run in runs if wrote(run)]
        if not runs:
            what = "no run has applied a patch" if applied else "no run has been recorded"
            raise UsageError(what, "trm-agent fix makes one")
        return runs[0]
    found = [run for run in runs if run.id == name] or [
        run for run in runs if run.id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    ids = [run.id for run in found or runs]
    near = ids[:3] if found else difflib.get_close_matches(name, ids, 3, 0.3) or ids[:3]
    raise UsageError(
        f"several runs begin with {name}" if found else f"no run {name}",
        f"nearest: {', '.join(near)}"
        if near
        else "no run has been recorded; trm-agent fix makes one",
    )


def settle_runs(root: Path, base: Path | None = None) -> Iterator[tuple[Run, tuple[str, ...]]]:
    """End what killed runs left half written in the project `root`: each run that was, and the paths put back."""
    for run in list_runs(base):
        paths: tuple[str, ...] = ()
        with contextlib.suppress(AgentError, OSError):  # what cannot be ended is for `undo` to tell
            if (run.folder / RECORD).exists():
                mine = load_record(run.folder).root == str(root.resolve())
                paths = settle(run.folder) if mine else ()
        if paths:
            yield run, paths


def wrote(run: Run) -> bool:
    """Whether its patch is in the tree, or may be."""
    try:
        return (run.folder / RECORD).exists() and load_record(run.folder).state != "undone"
    except UsageError:  # damaged: for `undo` to report
        return True


def _prune(base: Path) -> None:
    for run in list_runs(base)[KEPT:]:
        if not (run.folder / RECORD).exists():
            shutil.rmtree(run.folder, ignore_errors=True)
