"""Namespaces and mounts of the test worker: a private view of files, processes and network.

Standard library only, Python >= 3.8.
"""

import ctypes
import os
import signal
import struct
import sys

LINUX = sys.platform.startswith("linux")
libc = ctypes.CDLL(None, use_errno=True) if LINUX else None

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
SYS_MOUNT_SETATTR = 442  # the same number on every architecture


class GuardError(Exception):
    """A guard could not be put in place."""


def check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise GuardError("%s: %s" % (what, os.strerror(number)))
    return result


def mount(source, target, kind, flags, data=None):
    """mount(2). Raises GuardError."""
    arguments = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    check(
        libc.mount(*arguments, ctypes.c_ulong(flags), None if data is None else os.fsencode(data)),
        "mount %s" % target,
    )


def _mount_read_only(path, on, recursive=False):
    attributes = struct.pack("=QQQQ", 1 if on else 0, 0 if on else 1, 0, 0)
    check(
        libc.syscall(
            SYS_MOUNT_SETATTR, -100, os.fsencode(path), 0x8000 if recursive else 0, attributes, 32
        ),
        "mount_setattr %s" % path,
    )


NAMESPACE_SETS = (
    ("user", "mount", "pid", "ipc", "net"),
    ("user", "mount", "net"),
    ("user", "net"),
    ("user", "mount", "pid", "ipc"),
)
_FLAGS = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "ipc": CLONE_NEWIPC,
    "net": CLONE_NEWNET,
}


def _map_identity(pid):
    """Writes the id maps of process `pid`: all ids there are for root, else only its own."""
    uid, gid = os.getuid(), os.getgid()
    maps = []
    if uid == 0:
        for name in ("uid_map", "gid_map"):
            with open("/proc/self/" + name) as handle:
                ranges = [line.split() for line in handle]
            maps.append((name, "\n".join("%s %s %s" % (a, a, n) for a, _, n in ranges) + "\n"))
    else:
        maps.append(("setgroups", "deny"))
        maps.append(("uid_map", "%d %d 1" % (uid, uid)))
        maps.append(("gid_map", "%d %d 1" % (gid, gid)))
    for name, text in maps:
        with open("/proc/%d/%s" % (pid, name), "w") as handle:
            handle.write(text)


def unshare(names):
    """Moves this process into new namespaces (a PID one takes effect for its children).

    A helper that stays outside writes the id maps, since only a process with rights in the parent
    namespace may map more than one id. Raises GuardError.
    """
    me = os.getpid()
    ready_in, ready_out = os.pipe()
    helper = os.fork()
    if helper == 0:
        code = 1
        try:
            os.close(ready_out)
            if os.read(ready_in, 1):
                _map_identity(me)
                code = 0
        finally:
            os._exit(code)
    os.close(ready_in)
    try:
        flags = 0
        for name in names:
            flags |= _FLAGS[name]
        check(libc.unshare(flags), "unshare " + "+".join(names))
        os.write(ready_out, b"x")
    finally:
        os.close(ready_out)
        status = os.waitpid(helper, 0)[1]
    if status:
        raise GuardError("the id map of the user namespace was refused")


def _loopback_up():
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe.fileno(), 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


def arrange(names, scratch, writable, limits):
    """Inside new namespaces: fresh /proc, loopback, read-only mounts. Returns what is active.

    `scratch` becomes a size-limited tmpfs, invisible outside. Raises GuardError where `names`
    promises something the kernel then refuses.
    """
    active = set(names)
    if "net" in names:
        try:
            _loopback_up()
        except OSError:
            pass
    if "mount" not in names:
        return active
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if "pid" in names:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try:
            # Since Linux 6.14 this is per PID namespace; numbers below 300 are not reused.
            if tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 14):
                with open("/proc/sys/kernel/pid_max", "w") as handle:
                    handle.write(str(320 + limits["processes"]))
                active.add("pid_max")
        except (OSError, ValueError):
            pass
    mount(
        "tmpfs",
        scratch,
        "tmpfs",
        MS_NOSUID | MS_NODEV,
        "size=%d,mode=0700" % limits["disk_bytes"],
    )
    active.add("tmpfs")
    if os.path.isdir("/dev/shm"):
        size = "size=%d,mode=1777" % limits["disk_bytes"]
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, size)
    for path in writable:
        mount(path, path, None, MS_BIND | MS_REC)
    try:
        _mount_read_only("/", True, recursive=True)
        for path in [scratch, "/dev/shm"] + list(writable):
            if os.path.isdir(path):
                _mount_read_only(path, False)
        active.add("read_only")
    except GuardError:
        pass
    return active


def probe_namespaces(network, scratch, writable, limits):
    """The first of NAMESPACE_SETS that works here (tried in throwaway children), or ()."""
    if not LINUX:
        return ()
    for names in NAMESPACE_SETS:
        if network:
            names = tuple(name for name in names if name != "net")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                unshare(names)
                inner = os.fork() if "pid" in names else 0
                if inner == 0:
                    arrange(names, scratch, writable, limits)
                    os._exit(0)
                code = 1 if os.waitpid(inner, 0)[1] else 0
            except BaseException:
                pass
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1] == 0 and names != ("user",):
            return names
    return ()


def release_memory():
    """Gives back what malloc holds in reserve: a fork costs by the page."""
    if LINUX and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def die_with_parent():
    if LINUX:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def overlay(root, upper, work):
    """Mounts a private writable view of `root` over itself (in the caller's mount namespace)."""
    for text in (root, upper, work):
        if any(sign in text for sign in ",:\\"):
            raise GuardError("overlay: unsupported sign in " + text)
    data = "lowerdir=%s,upperdir=%s,workdir=%s,userxattr" % (root, upper, work)
    mount("overlay", root, "overlay", MS_NOSUID | MS_NODEV, data)


def private_mounts():
    """A mount namespace of this process's own. Raises GuardError."""
    check(libc.unshare(CLONE_NEWNS), "unshare mount")


def private_processes():
    """A PID namespace for the children of this process. Raises GuardError."""
    check(libc.unshare(CLONE_NEWPID), "unshare pid")


def bind(source, target):
    mount(source, target, None, MS_BIND)


def has_submounts(root):
    """Whether something else is mounted below `root` (an overlay of it would hide that)."""
    prefix = root.rstrip("/") + "/"
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as handle:
            return any(line.split(" ")[4].startswith(prefix) for line in handle)
    except OSError:
        return True
