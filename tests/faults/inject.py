"""Injects faults into applying and undoing a patch, at each call of the file system, and tells what was lost.

    python tests/faults/inject.py [--seed N] [--injections N] [--user]

Each injection forks a process that applies or undoes a patch of three files and meets one fault at one of its calls. Then
all bytes and modes of the project, of its git folder and of what lies around it are compared with a picture from before.
A table goes to stdout, what was lost to stderr; the exit code is 1 if anything was. `--user`: as an ordinary user.
Everything happens below one temporary folder, in a mount namespace with a small file system where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worlds
from worlds import Picture, World, picture

import agent.atomic
from agent.apply import RECORD, apply_diff, load_record, make_diff, undo
from agent.errors import AgentError
from agent.runs import settle_runs
from tools.worker import namespaces

# Calls that only look, and what splits paths.
QUIET = {"fspath", "stat", "lstat", "fstat", "access", "readlink", "scandir", "urandom", "isatty", "lseek",
         "getcwd", "listdir", "listxattr", "getxattr", "seek", "tell", "fileno", "readable", "writable",
         "seekable", "decode", "encode", "get_inheritable", "getpid", "_path_normpath", "_path_splitroot",
         "_path_splitroot_ex"}  # fmt: skip
THEIRS = b"another program's bytes\n"
OK, REFUSED, INTERRUPTED, BROKEN, NOT_MET = 0, 1, 130, 99, 98


@dataclass
class Scene:
    """What a fault has to work with."""

    world: World
    file: Path  # one of those that are written
    base: Path
    durable: Any = None


def saw(number: int) -> Callable[[Scene], None]:
    return lambda scene: os.kill(os.getpid(), number)


def fails(number: int) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        raise OSError(number, os.strerror(number), str(scene.file))

    return act


def no_more_bytes(scene: Scene) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def fill_disk(scene: Scene) -> None:
    handle = os.open(scene.base / "filler", os.O_CREAT | os.O_WRONLY)
    size = 1 << 20
    while size:
        try:
            os.write(handle, b"x" * size)
        except OSError:
            size //= 2
    os.close(handle)


def read_only(scene: Scene) -> None:
    with contextlib.suppress(namespaces.GuardError):  # busy: a file is open for writing
        namespaces._mount_read_only(str(scene.world.top), True)


def forbidden(scene: Scene) -> None:
    scene.file.parent.chmod(0o555)


def in_place(scene: Scene) -> None:
    scene.file.write_bytes(THEIRS)


def by_rename(scene: Scene) -> None:
    made = scene.file.with_name(".editor")
    made.write_bytes(THEIRS)
    os.replace(made, scene.file)


def deleted(scene: Scene) -> None:
    scene.file.unlink(missing_ok=True)


def linked(scene: Scene) -> None:
    outside = scene.base / "outside"
    outside.write_bytes(worlds.OLD)
    scene.file.unlink(missing_ok=True)
    scene.file.symlink_to(outside)


def power_off(scene: Scene) -> None:
    scene.durable.save(scene.base / "durable")
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[Scene], None]] = {
    "kill -9": saw(signal.SIGKILL), "SIGHUP": saw(signal.SIGHUP), "SIGINT": saw(signal.SIGINT),
    "SIGTERM": saw(signal.SIGTERM), "error of the disk": fails(errno.EIO), "no space, once": fails(errno.ENOSPC),
    "disk full": fill_disk, "no more bytes (RLIMIT_FSIZE)": no_more_bytes, "tree becomes read-only": read_only,
    "folder loses write permission": forbidden, "file changed in place": in_place, "file saved by rename": by_rename,
    "file deleted": deleted, "file becomes a link out of the tree": linked, "power lost": power_off,
}  # fmt: skip
KILLS = ("kill -9", "SIGHUP", "power lost")
FOREIGN = ("file changed in place", "file saved by rename", "file deleted", "file becomes a link out of the tree")  # fmt: skip
LASTS = ("tree becomes read-only", "folder loses write permission")  # it also hinders putting back
ROOT_ONLY, USER_ONLY = ("disk full", "tree becomes read-only"), ("folder loses write permission",)


class Durable:
    """What a loss of power cannot take: folders and files as they were when they were last synced."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = {str(folder): self.entries(folder) for folder in folders}
        self.synced = {
            inode for entries in self.folders.values() for inode, _, _ in entries.values()
        }
        self._fsync = os.fsync
        os.fsync = self.fsync

    @staticmethod
    def entries(folder: Path) -> dict[str, tuple[int, int, str]]:
        """Name -> (inode, mode, content) of the files of a folder."""
        found = {}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                found[path.name] = (
                    status.st_ino,
                    status.st_mode,
                    path.read_bytes().decode("latin-1"),
                )
        return found

    def fsync(self, handle: int) -> None:
        self._fsync(handle)
        path, inode = os.readlink(f"/proc/self/fd/{handle}"), os.fstat(handle).st_ino
        if path in self.folders:
            self.folders[path] = self.entries(Path(path))
        self.synced.add(inode)

    def save(self, place: Path) -> None:
        place.write_text(json.dumps([self.folders, sorted(self.synced)]))


def lose_power(place: Path, rng: random.Random) -> None:
    """Makes the folders what may be found after the power came back: unsynced names lost or not, unsynced content lost."""
    folders, synced = json.loads(place.read_text())
    place.unlink()
    for name, entries in folders.items():
        folder = Path(name)
        now = Durable.entries(folder)
        if now != entries and rng.random() < 0.5:
            for path in now.keys() - entries.keys():
                (folder / path).unlink()
            for path, (_, mode, data) in entries.items():
                (folder / path).write_bytes(data.encode("latin-1"))
                (folder / path).chmod(mode & 0o7777)
        else:
            for path, (inode, _, _) in now.items():
                if inode not in synced and rng.random() < 0.7:
                    os.truncate(folder / path, 0)


class Injector:
    """A profile function that counts the calls of the file system and meets `fault` at the one of that number."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.left, self.act, self.count = at, act, 0

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if event == "c_call":
            owner = getattr(arg, "__self__", None)
            module = getattr(arg, "__module__", None) or type(owner).__module__
            if module not in ("posix", "_io", "fcntl") or arg.__name__ in QUIET:
                return
        elif event != "call" or frame.f_code is not agent.atomic.exchange.__code__:
            return
        self.count += 1
        if self.count == self.left:
            sys.setprofile(None)
            self.act()


def operate(world: World, deed: str, run: Path) -> int:
    """Apply or undo, as the program does; the exit code tells how it ended."""
    try:
        if deed == "apply":
            apply_diff(world.root, make_diff(world.root, world.patch), run)
        else:
            undo(run)
    except AgentError as error:
        return REFUSED if "Traceback" not in str(error) else BROKEN
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:
        import traceback

        traceback.print_exc()
        return BROKEN
    return OK


def forked(work: Callable[[], int]) -> int:
    """The wait status of a child that does `work`."""
    child = os.fork()
    if child == 0:
        code = BROKEN
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def points(world: World, deed: str, run: Path) -> int:
    """How many calls there are to meet a fault at."""
    reader, writer = os.pipe()

    def work() -> int:
        injector = Injector(0, lambda: None)
        sys.setprofile(injector)
        operate(world, deed, run)
        sys.setprofile(None)
        os.write(writer, str(injector.count).encode())
        return 0

    forked(work)
    os.close(writer)
    count = int(os.read(reader, 100) or b"0")
    os.close(reader)
    return count


def trial(
    world: World, deed: str, fault: str, at: int, base: Path, rng: random.Random
) -> str | None:
    """One injection: what was lost, "" if nothing, None where the call was not reached."""
    run = world.state / f"20260101-000000-{rng.randrange(16**4):04x}"
    if deed == "undo":
        apply_diff(world.root, make_diff(world.root, world.patch), run)
    file = (world.root / rng.choice(sorted(world.patch))).resolve()

    def work() -> int:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        scene, met = Scene(world, file, base), []
        if fault == "power lost":
            scene.durable = Durable([run, file.parent, world.state])

        def act() -> None:
            met.append(1)
            FAULTS[fault](scene)

        sys.setprofile(Injector(at, act))
        code = operate(world, deed, run)
        sys.setprofile(None)
        return code if met else NOT_MET

    status = forked(work)
    with contextlib.suppress(FileNotFoundError):
        (base / "filler").unlink()
    if fault == "tree becomes read-only":
        namespaces._mount_read_only(str(world.top), False)
    if fault == "folder loses write permission":
        file.parent.chmod(0o755)
    if (base / "durable").exists():
        lose_power(base / "durable", rng)
    code = os.waitstatus_to_exitcode(status)
    try:
        lost = None if code == NOT_MET else told(world, deed, fault, code, run, file)
    except Exception as error:
        lost = f"the way back failed: {type(error).__name__}: {error}"
    finally:
        if picture(world.top) != world.picture:
            world.reset()
        worlds.remove(world.state)
    return lost


def told(world: World, deed: str, fault: str, code: int, run: Path, file: Path) -> str:
    """What was lost or left after one injection; "" if nothing."""
    place = str(file.relative_to(world.top.resolve()))
    before, after = world.picture, world.patched
    foreign = fault in FOREIGN
    now = picture(world.top)
    if foreign:
        mine = now.pop(place, None)
        kept = {"file deleted": mine is None, "file becomes a link out of the tree": mine is not None
                and mine[1] == os.fsencode(str(world.top.parents[1] / "outside"))}  # fmt: skip
        if not kept.get(fault, mine is not None and mine[1] == THEIRS):
            return f"another program's work was lost: {mine}"
        before = {path: entry for path, entry in before.items() if path != place}
        after = {path: entry for path, entry in after.items() if path != place}
    if code == BROKEN:
        return "it ended in a traceback"
    ended_well = (after, OK) if deed == "apply" else (before, OK)
    if fault in KILLS or fault in LASTS:
        whole = {path: {before.get(path), after.get(path)} for path in {*before, *after}}
        for path, entry in now.items():
            if path in whole and entry not in whole[path]:
                return f"{path} is half written: {entry}"
            if path not in whole and not path.endswith(".trm-agent"):
                return f"{path} is new"
        if whole.keys() - now.keys():
            return f"{whole.keys() - now.keys()} is gone"
    elif now not in (before, after):
        return "neither as before nor the patch"
    elif code == OK and (now, code) != ended_well:
        return "it said that it was done"
    elif code == REFUSED and not foreign and now == ended_well[0]:
        return "it said that nothing was done"
    list(settle_runs(world.root, world.state))
    now = picture(world.top)
    if foreign:
        return (
            ""
            if now.pop(place, None) == mine and now in (before, after)
            else "the next run lost something"
        )
    if now not in (before, after):
        return f"neither as before nor the patch after the next run: {differing(now, before)}"
    state = load_record(run).state if (run / RECORD).exists() else ""
    if now == after != before:
        if state != "applied":
            return f"the patch is there, the record says {state!r}"
        undo(run)
    elif state not in ("undone", ""):
        return f"the patch is not there, the record says {state!r}"
    if run.exists() and {path.name for path in run.iterdir()} - {RECORD, RECORD + ".new"}:
        return "something is left beside the record"
    return "" if picture(world.top) == before else "undo did not restore"


def differing(now: Picture, before: Picture) -> list[str]:
    return sorted(path for path in {*now, *before} if now.get(path) != before.get(path))


def private(base: Path) -> bool:
    """A small file system of our own over `base`; False where the kernel has none for us."""
    try:
        namespaces.unshare(("user", "mount"))
        namespaces.mount(None, "/", None, namespaces.MS_REC | namespaces.MS_PRIVATE)
        namespaces.mount("tmpfs", str(base), "tmpfs", 0, "size=8m")
    except (namespaces.GuardError, OSError):
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--injections", type=int, default=1000)
    parser.add_argument("--user", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    if options.user and os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    base = Path(tempfile.mkdtemp(prefix="trm-faults-"))
    os.environ.update(HOME=str(base), GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull)
    own = not options.user and private(base)
    skipped = USER_ONLY if os.getuid() == 0 else ()
    skipped += () if own else ROOT_ONLY
    faults = [fault for fault in FAULTS if fault not in skipped]
    began, done, losses = time.monotonic(), Counter[str](), Counter[str]()
    try:
        made = [worlds.make(name, base) for name in worlds.KINDS]
        if own:
            for world in made:
                namespaces.bind(str(world.top), str(world.top))
        counts = {}
        for world in made:
            for deed in ("apply", "undo"):
                run = world.state / "20260101-000000-0000"
                if deed == "undo":
                    apply_diff(world.root, make_diff(world.root, world.patch), run)
                counts[world.name, deed] = points(world, deed, run)
                world.reset()
                worlds.remove(world.state)
        print(f"calls to meet a fault at: {counts}", file=sys.stderr)
        while sum(done.values()) < options.injections:
            fault = faults[sum(done.values()) % len(faults)]
            world, deed = rng.choice(made), rng.choice(("apply", "undo"))
            at = rng.randint(1, counts[world.name, deed])
            lost = trial(world, deed, fault, at, base, rng)
            if lost is not None:
                done[fault] += 1
            if lost:
                losses[fault] += 1
                print(f"{world.name}, {deed}, {fault} at {at}: {lost}", file=sys.stderr)
    finally:
        if not own:
            worlds.remove(base)
    print("| fault | injections | losses |\n|---|---|---|")
    for fault in faults:
        print(f"| {fault} | {done[fault]} | {losses[fault]} |")
    took = f"{time.monotonic() - began:.0f} s, seed {options.seed}, {'user' if os.getuid() else 'root'}"
    print(f"| all, {took} | {sum(done.values())} | {sum(losses.values())} |")
    for fault in skipped:
        print(f"not tried here: {fault}")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
