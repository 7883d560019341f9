"""The sole writer to the user's tree: apply a patch, take it back, commit it.

Invariants: a file is written only when its bytes are those the patch was made for; several files change all or none; a
write is an exchange of names with a finished file beside the old one, so a kill leaves the old or the new bytes, never half,
and what another program saved at the same moment is taken out, seen, and put back. What is written is noted in the run's
directory first, so `undo` can put back exactly these bytes, with or without git, and `settle` ends what a kill or a loss of
power cut short. Nothing here resets, checks out or stashes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.atomic import exchange, locked, sync_folder
from agent.diffs import Files, conflict, files_of_diff, make_diff
from agent.errors import AgentError, PatchConflict, UsageError
from tools.signals import undisturbed

RECORD = "patch.json"
SUFFIX = ".trm-agent"  # of the finished files beside the old ones
# Set inside a git hook, they would send our git to another index or tree.
_GIT_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


_Entry = tuple[Path, bytes, bytes]  # a file, its bytes before, its bytes after


class CommitFailed(AgentError):
    """Git refused the commit; the patch stays applied."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file of a patch, relative to the root; contents as bytes."""

    path: str
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What the run's directory keeps of an applied patch.

    state: writing (by `apply_patch` or `undo`, which may have been killed at it) | applied | undone.
    """

    root: str
    state: str
    changes: tuple[Change, ...]


def apply_diff(root: Path, diff: str, run_dir: Path) -> tuple[str, ...]:
    """Apply a diff of `agent.diffs.make_diff`; returns the paths. Raises PatchConflict, nothing being written."""
    files = files_of_diff(root, diff)
    apply_patch(root, files, run_dir)
    return tuple(files)


def apply_patch(root: Path, files: Files, run_dir: Path) -> None:
    """Write {path: (before, after)}, paths relative to `root`, and note it in `run_dir` for `undo`.

    Raises:
      PatchConflict: a file's bytes are not `before`, it is read-only, a link out of the tree, or the disk refused; then
        every file is as it was.
    """
    changes = tuple(Change(path, *files[path]) for path in sorted(files))
    entries = [(_target(root, change.path), change.before, change.after) for change in changes]
    with undisturbed(), locked(target.parent for target, _, _ in entries):
        _sweep(entries)
        for (target, before, _), change in zip(entries, changes, strict=True):
            if _read(target, change.path) != before:
                raise conflict(change.path)
        record = Record(str(root.resolve()), "writing", changes)
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            if (run_dir / RECORD).exists() and load_record(run_dir).state != "undone":
                raise PatchConflict(
                    "this run's patch is applied already", "trm-agent undo takes it back"
                )
            _save_record(run_dir, record)
        except OSError as error:
            raise _refused(error) from None
        try:
            clean = _write_all(entries)
        except BaseException:
            if _sweep(entries) and not any(_holds(target, after) for target, _, after in entries):
                _note(run_dir, replace(record, state="undone"))
            raise
        if clean:
            _note(run_dir, replace(record, state="applied"))


def undo(run_dir: Path) -> tuple[str, ...]:
    """Put back the bytes from before the run's patch; returns the paths.

    Raises:
      UsageError: the run applied nothing, or was undone already.
      PatchConflict: a file changed since; then none is touched.
    """
    if not (run_dir / RECORD).exists():
        raise UsageError(f"run {run_dir.name} applied nothing", "there is nothing to undo")
    record = load_record(run_dir)
    if record.state == "undone":
        raise UsageError(f"run {run_dir.name} was undone already", "trm-agent show prints its diff")
    entries = _entries(record)
    with undisturbed(), locked(target.parent for target, _, _ in entries):
        _sweep(entries)
        written = []
        for entry, change in zip(entries, record.changes, strict=True):
            current = _read(entry[0], change.path)
            if current == change.after:
                written.append((entry, change.path))
            elif current != change.before:  # else: a kill between two files, or undone by hand
                raise PatchConflict(
                    f"{change.path} changed since the fix was applied: nothing was undone",
                    "undo your later changes first, or reverse the diff of trm-agent show by hand",
                )
        return _put_back(run_dir, record, written)


def settle(run_dir: Path) -> tuple[str, ...]:
    """End what a kill or a loss of power cut short: a patch written in part is taken back; returns the paths put back.

    A file that is neither as before nor as the patch has it was changed by somebody else since: then nothing is touched.
    Raises PatchConflict where the tree refuses, UsageError for a damaged record.
    """
    if not (run_dir / RECORD).exists() or load_record(run_dir).state != "writing":
        return ()
    entries = _entries(load_record(run_dir))
    with undisturbed(), locked(target.parent for target, _, _ in entries):
        record = load_record(run_dir)
        if record.state != "writing":  # its writer was alive, and has ended since
            return ()
        _sweep(entries)
        pairs = [(e, c.path) for e, c in zip(entries, record.changes, strict=True)]
        written = [(entry, path) for entry, path in pairs if _holds(entry[0], entry[2])]
        if len(written) == len(pairs):
            _note(run_dir, replace(record, state="applied"))
        elif all(pair in written or _holds(pair[0][0], pair[0][1]) for pair in pairs):
            return _put_back(run_dir, record, written)
        return ()


def _entries(record: Record) -> list[_Entry]:
    root = Path(record.root)
    return [(_target(root, c.path), c.before, c.after) for c in record.changes]


def _put_back(run_dir: Path, record: Record, written: list[tuple[_Entry, str]]) -> tuple[str, ...]:
    _note(run_dir, replace(record, state="writing"))
    if _write_all([(target, after, before) for (target, before, after), _ in written]):
        _note(run_dir, replace(record, state="undone"))
    return tuple(path for _, path in written)


def _target(root: Path, path: str) -> Path:
    """The real file behind `path`, which must lie in the tree."""
    base = root.resolve()
    target = (base / path).resolve()
    if Path(path).is_absolute() or not target.is_relative_to(base):
        raise PatchConflict(
            f"{path} is a link out of {base}: nothing was written",
            "change the file it points to by hand",
        )
    return target


def _read(target: Path, path: str) -> bytes:
    try:
        return target.read_bytes()
    except OSError as error:
        raise conflict(path, f"cannot be read ({error.strerror})") from None


def _holds(path: Path, data: bytes) -> bool:
    """Whether `path` is a regular file of just these bytes."""
    try:
        return not path.is_symlink() and path.read_bytes() == data
    except OSError:
        return False


def _refused(error: OSError) -> PatchConflict:
    return PatchConflict(
        f"{error.filename or 'the tree'}: {error.strerror}: nothing was written",
        "check permissions and free space",
    )


def _write_all(entries: list[_Entry]) -> bool:
    """Replace (file, before, after), all or none. The caller holds the folders' locks.

    False where all is written but the finished files' own names could not be removed: that is left to `settle`.
    """
    steps: list[tuple[Path, _Entry]] = []
    try:
        for entry in entries:
            steps.append((_beside(entry[0], entry[2]), entry))
        for made, (target, before, after) in steps:
            _put(made, target, before, after)
            sync_folder(target.parent)
    except BaseException as error:
        _roll_back(steps)
        if isinstance(error, OSError):
            raise _refused(error) from None
        raise
    finally:
        for made, _ in steps:
            with contextlib.suppress(OSError):
                made.unlink(missing_ok=True)
    return _sweep(entries)


def _put(made: Path, target: Path, before: bytes, after: bytes) -> None:
    """Let `made`, which holds `after`, take the place of `target`, which holds `before`.

    Raises PatchConflict where `target` is something else by now, and leaves that there.
    """
    if exchange(made, target):
        if not _holds(made, before):
            exchange(made, target)
            if not _holds(made, after):  # saved once more in between: the newer one stays
                exchange(made, target)
            raise conflict(target.name)
    elif _holds(
        target, before
    ):  # without an exchange what is saved from here to the next line is lost
        os.replace(made, target)
    else:
        raise conflict(target.name)


def _roll_back(steps: list[tuple[Path, _Entry]]) -> None:
    try:
        for made, (target, before, after) in reversed(steps):
            if _holds(target, after):
                # After an exchange it is the old file itself, which needs no room on the disk.
                old = made if _holds(made, before) else _beside(target, before)
                _put(old, target, after, before)
                sync_folder(target.parent)
    except OSError as error:
        raise PatchConflict(
            f"{error.filename or 'the tree'}: {error.strerror}: the patch was written in part",
            "trm-agent undo takes it back",
        ) from None


def _mark(target: Path) -> str:
    """How the names of finished files for `target` begin: short, whatever its own name is."""
    return f".{hashlib.sha1(os.fsencode(target.name), usedforsecurity=False).hexdigest()[:10]}."


def _sweep(entries: list[_Entry]) -> bool:
    """Remove what a writer left beside the files; nobody else writes while we hold the locks. Whether nothing is left."""
    clean = True
    for target, *ours in entries:
        try:
            for left in list(target.parent.glob(f"{_mark(target)}*{SUFFIX}")):
                data = None if left.is_symlink() else left.read_bytes()
                if data is not None and any(whole.startswith(data) for whole in ours):
                    left.unlink()
                elif any(_holds(target, whole) for whole in ours):
                    os.replace(left, target)  # another's, just taken out by an exchange
                else:
                    clean = False
        except OSError:
            clean = False
    return clean


def _beside(target: Path, data: bytes) -> Path:
    """A finished, synced file next to `target`, with its mode and attributes."""
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "read-only file", str(target))
    status = target.stat()
    handle, name = tempfile.mkstemp(prefix=_mark(target), suffix=SUFFIX, dir=target.parent)
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            with contextlib.suppress(OSError):
                os.chown(made, status.st_uid, status.st_gid)
            shutil.copystat(target, made)
            # Python trusts a cached .pyc by size and whole second: the new file must be newer by one.
            os.utime(made, (status.st_atime, max(time.time(), int(status.st_mtime) + 1)))
            os.fsync(stream.fileno())
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _note(run_dir: Path, record: Record) -> None:
    """Save a record that says no more than the tree itself: where the disk refuses, `settle` sees it in the files."""
    with contextlib.suppress(OSError):
        _save_record(run_dir, record)


def _save_record(run_dir: Path, record: Record) -> None:
    data = asdict(record)
    for change in data["changes"]:
        for key in ("before", "after"):
            change[key] = base64.b64encode(change[key]).decode("ascii")
    made = run_dir / (RECORD + ".new")
    try:
        with made.open("w", encoding="utf-8") as stream:
            json.dump(data, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(made, run_dir / RECORD)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise
    for folder in (run_dir, *run_dir.parents[:3]):  # it may be the first run of all
        sync_folder(folder)


def load_record(run_dir: Path) -> Record:
    """The record of an applied patch. Raises UsageError for a damaged one."""
    try:
        data = json.loads((run_dir / RECORD).read_text("utf-8"))
        changes = tuple(
            Change(
                entry["path"], base64.b64decode(entry["before"]), base64.b64decode(entry["after"])
            )
            for entry in data["changes"]
        )
        return Record(data["root"], data["state"], changes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"run {run_dir.name}: its record is damaged ({error})",
            "reverse the diff of trm-agent show by hand: git apply -R",
        ) from None


# Commits.


def check_committable(root: Path, paths: Iterable[str]) -> None:
    """Raise UsageError where a commit of `paths` would take more than the fix, or cannot be made."""
    top = _git(root, "rev-parse", "--show-toplevel")
    if top.returncode:
        raise UsageError(f"{root} is not in a git repository", "use --apply instead of --commit")
    for path in paths:
        if _git(root, "ls-files", "--error-unmatch", "--", path).returncode:
            raise UsageError(f"{path} is not tracked by git", "use --apply instead of --commit")
        changed = _git(root, "status", "--porcelain", "--", path)
        if changed.returncode or changed.stdout.strip():
            raise UsageError(
                f"{path} has uncommitted changes of yours", "commit them first, or use --apply"
            )


def commit(root: Path, paths: Iterable[str], message: str) -> str:
    """Commit `paths` and nothing else, with the user's identity and hooks; returns the commit's short hash.

    What else is staged stays staged. Raises CommitFailed with git's own words.
    """
    done = _git(root, "commit", "--quiet", "--only", "--message", message, "--", *paths)
    if done.returncode:
        words = (done.stderr + done.stdout).strip().splitlines()
        raise CommitFailed(
            f"git commit failed: {words[-1] if words else done.returncode}",
            "the fix is applied but not committed; trm-agent undo takes it back",
        )
    return _git(root, "rev-parse", "--short", "HEAD").stdout.strip()


def _git(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key not in _GIT_LOCAL}
    environ["GIT_OPTIONAL_LOCKS"] = "0"  # status does not write the user's index anew
    try:
        return subprocess.run(
            ["git", "-C", str(root), *args],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("git is not installed", "use --apply instead of --commit") from None


__all__ = ["CommitFailed", "apply_diff", "apply_patch", "check_committable", "commit", "load_record",
           "make_diff", "settle", "undo"]  # fmt: skip
