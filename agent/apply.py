"""The sole writer to the user's tree: apply a patch, take it back, commit it.

Invariants: a file is written only when its bytes are those the patch was made for; several files change all or none; a
write is a rename of a finished file beside the old one, so a kill leaves the old or the new bytes, never half; what was
written is noted in the run's directory first, so `undo` can put back exactly these bytes, with or without git. Nothing here
resets, checks out or stashes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.diffs import Files, conflict, files_of_diff, make_diff
from agent.errors import AgentError, PatchConflict, UsageError

RECORD = "patch.json"
# Set inside a git hook, they would send our git to another index or tree.
_GIT_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


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
    """What the run's directory keeps of an applied patch. state: writing | applied | undone."""

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
    targets = [(_target(root, change.path), change.before, change.after) for change in changes]
    for (target, before, _), change in zip(targets, changes, strict=True):
        if _read(target, change.path) != before:
            raise conflict(change.path)
    run_dir.mkdir(parents=True, exist_ok=True)
    if (run_dir / RECORD).exists() and load_record(run_dir).state != "undone":
        raise PatchConflict("this run's patch is applied already", "trm-agent undo takes it back")
    record = Record(str(root.resolve()), "writing", changes)
    _save_record(run_dir, record)
    try:
        _write_all(targets)
    except BaseException:
        if all(target.read_bytes() == before for target, before, _ in targets):
            _save_record(run_dir, replace(record, state="undone"))
        raise
    _save_record(run_dir, replace(record, state="applied"))


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
    root = Path(record.root)
    targets, paths = [], []
    for change in record.changes:
        target = _target(root, change.path)
        current = _read(target, change.path)
        if current == change.before:  # a kill between two renames, or undone by hand
            continue
        if current != change.after:
            raise PatchConflict(
                f"{change.path} changed since the fix was applied: nothing was undone",
                "undo your later changes first, or reverse the diff of trm-agent show by hand",
            )
        targets.append((target, change.after, change.before))
        paths.append(change.path)
    _write_all(targets)
    _save_record(run_dir, replace(record, state="undone"))
    return tuple(paths)


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


def _write_all(targets: list[tuple[Path, bytes, bytes]]) -> None:
    """Replace (file, before, after), all or none."""
    finished: list[tuple[Path, Path]] = []
    renamed: list[tuple[Path, bytes, bytes]] = []
    try:
        for target, _, after in targets:
            finished.append((_beside(target, after), target))
        for (made, target), entry in zip(finished, targets, strict=True):
            if target.read_bytes() != entry[1]:  # changed while the files were being prepared
                raise conflict(target.name)
            os.replace(made, target)
            renamed.append(entry)
            _sync_folder(target.parent)
    except BaseException as error:
        for target, before, after in reversed(renamed):
            if target.read_bytes() == after:
                os.replace(_beside(target, before), target)
        if isinstance(error, OSError):
            raise PatchConflict(
                f"{error.filename or 'the tree'}: {error.strerror}: nothing was written",
                "check permissions and free space",
            ) from None
        raise
    finally:
        for made, _ in finished:
            made.unlink(missing_ok=True)


def _beside(target: Path, data: bytes) -> Path:
    """A finished, synced file next to `target`, with its mode."""
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "read-only file", str(target))
    status = target.stat()
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=".trm-agent", dir=target.parent
    )
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(target, made)
        with contextlib.suppress(OSError):
            os.chown(made, status.st_uid, status.st_gid)
        if int(made.stat().st_mtime) <= int(status.st_mtime):
            # Python trusts a cached .pyc by size and whole second: the new file must be newer by one.
            os.utime(made, (status.st_atime, int(status.st_mtime) + 1))
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _save_record(run_dir: Path, record: Record) -> None:
    data = asdict(record)
    for change in data["changes"]:
        for key in ("before", "after"):
            change[key] = base64.b64encode(change[key]).decode("ascii")
    made = run_dir / (RECORD + ".new")
    with made.open("w", encoding="utf-8") as stream:
        json.dump(data, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(made, run_dir / RECORD)


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
           "make_diff", "undo"]  # fmt: skip
