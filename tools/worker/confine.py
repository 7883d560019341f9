"""Guards of the test worker: what a candidate may touch, and how much of it.

Standard library only, Python >= 3.8; loaded by ``worker.py`` under the user's interpreter.
Two barriers against writes stand behind each other where the kernel has both: mounts made
read-only in a private mount namespace (they also stop chmod and chown, which Landlock does not
see) and a Landlock domain per candidate (which also stops undoing the mounts). Landlock's signal
scope keeps ``kill(-1)`` inside the candidate; a PID namespace hides everybody else, and its end
ends every descendant, also those that called setsid.
"""

import ctypes
import os
import resource
import signal
import struct
import sys

LINUX = sys.platform.startswith("linux")
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 38, 36
# The system call numbers below are the same on every architecture with the generic table.
SYS_MOUNT_SETATTR, SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 442, 444, 445, 446
CAPABILITY_VERSION_3 = 0x20080522
# Kept for a root user: file rights (0-4), setgid and setuid (6, 7), loopback services (10).
KEPT_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 6, 7, 10))


class GuardError(Exception):
    """A guard could not be put in place."""


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise GuardError("%s: %s" % (what, os.strerror(number)))
    return result


def mount(source, target, kind, flags, data=None):
    """mount(2). Raises GuardError."""
    arguments = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(
        _libc.mount(*arguments, ctypes.c_ulong(flags), None if data is None else os.fsencode(data)),
        "mount %s" % target,
    )


def _mount_read_only(path, on, recursive=False):
    attributes = struct.pack("=QQQQ", 1 if on else 0, 0 if on else 1, 0, 0)
    _check(
        _libc.syscall(
            SYS_MOUNT_SETATTR, -100, os.fsencode(path), 0x8000 if recursive else 0, attributes, 32
        ),
        "mount_setattr %s" % path,
    )


# ---------------------------------------------------------------- namespaces

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
        _check(_libc.unshare(flags), "unshare " + "+".join(names))
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


def die_with_parent():
    if LINUX:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def overlay(root, upper, work):
    """Mounts a private writable view of `root` over itself (in the caller's mount namespace)."""
    for text in (root, upper, work):
        if any(sign in text for sign in ",:\\"):
            raise GuardError("overlay: unsupported sign in " + text)
    data = "lowerdir=%s,upperdir=%s,workdir=%s,userxattr" % (root, upper, work)
    mount("overlay", root, "overlay", MS_NOSUID | MS_NODEV, data)


def private_mounts():
    """A mount namespace of this process's own. Raises GuardError."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare mount")


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


# ---------------------------------------------------------------- Landlock

_WRITE_RIGHTS = (1, 4, 5, 6, 7, 8, 9, 10, 11, 12)  # write_file, remove_*, make_*
_FILE_RIGHTS = (
    (1 << 1) | (1 << 14) | (1 << 15)
)  # what makes sense on a file: write, truncate, ioctl
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/shm")


def landlock_abi():
    """The kernel's Landlock version, 0 where there is none."""
    if not LINUX:
        return 0
    return max(0, _libc.syscall(SYS_CREATE_RULESET, None, 0, 1))


class Landlock:
    """A ruleset that is applied per process: writes only beneath the given paths.

    Reading and executing stay free. `network` False also refuses TCP (ABI 4, used where there is no
    network namespace); ABI 6 keeps signals and abstract sockets inside the domain.
    """

    def __init__(self, deny_tcp=False):
        self.abi = landlock_abi()
        self.rights = sum(1 << bit for bit in _WRITE_RIGHTS)
        if self.abi >= 2:
            self.rights |= 1 << 13
        if self.abi >= 3:
            self.rights |= 1 << 14
        if self.abi >= 5:
            self.rights |= 1 << 15
        self.tcp = 3 if deny_tcp and self.abi >= 4 else 0
        self.scoped = 3 if self.abi >= 6 else 0
        self.devices = [self._open(path) for path in DEVICES if os.path.exists(path)]

    @staticmethod
    def _open(path):
        return os.open(path, os.O_PATH | os.O_CLOEXEC), os.path.isdir(path)

    def _allow(self, ruleset, opened):
        handle, folder = opened
        rights = self.rights if folder else self.rights & _FILE_RIGHTS
        _check(
            _libc.syscall(SYS_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, handle), 0),
            "landlock_add_rule",
        )

    def restrict(self, writable):
        """Confines this process for good. Raises GuardError."""
        attributes = struct.pack("=QQQ", self.rights, self.tcp, self.scoped)
        size = 8 if self.abi < 4 else 16 if self.abi < 6 else 24
        ruleset = _check(
            _libc.syscall(SYS_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset"
        )
        try:
            for opened in self.devices:
                self._allow(ruleset, opened)
            for path in writable:
                opened = self._open(path)
                try:
                    self._allow(ruleset, opened)
                finally:
                    os.close(opened[0])
            no_new_privileges()
            _check(_libc.syscall(SYS_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
        finally:
            os.close(ruleset)


def no_new_privileges():
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def become_subreaper():
    if LINUX:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def drop_capabilities():
    """Keeps a root user's rights over files, drops the rest (mounts, raw devices, tracing)."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    current = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, current), "capget")
    words = list(struct.unpack("=6I", current.raw))
    words[:3] = [word & KEPT_CAPABILITIES for word in words[:3]]
    words[3:] = [0, 0, 0]
    _check(_libc.capset(header, struct.pack("=6I", *words)), "capset")


# ---------------------------------------------------------------- limits and kills


def address_space():
    """Bytes of address space this process uses now (0 where unknown)."""
    try:
        with open("/proc/self/statm") as handle:
            return int(handle.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def set_limits(limits, cpu_seconds):
    """Resource limits of a candidate; `cpu_seconds` is a coarse backstop for each process."""

    def bound(name, value):
        kind = getattr(resource, name, None)
        if kind is None or not value:
            return
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            pass

    bound("RLIMIT_CORE", 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bound("RLIMIT_AS", address_space() + limits["memory_bytes"])
    bound("RLIMIT_FSIZE", limits["file_bytes"])
    bound("RLIMIT_NOFILE", limits["open_files"])
    bound("RLIMIT_CPU", int(cpu_seconds) + 1)
    if os.getuid() != 0:
        bound("RLIMIT_NPROC", 4096)


def restrict_candidate(settings, guards, folder, cpu_seconds, writable=()):
    """Puts all guards on in a candidate's child. `guards`: what is in place around it.

    `folder` and `writable` are where it may write. Raises GuardError.
    """
    set_limits(settings["limits"], cpu_seconds)
    if not LINUX:
        return
    landlock = guards["landlock"]
    if "pid" in guards["active"] and not (landlock and landlock.scoped):
        private_processes()
    become_subreaper()
    if landlock is not None:
        landlock.restrict([folder] + settings["writable"] + list(writable))
    else:
        no_new_privileges()
    if "mount" in guards["active"]:
        drop_capabilities()


def private_processes():
    """Goes on in a PID namespace of its own, where Landlock cannot keep signals inside.

    Two processes stay behind: this one, which ends as the candidate does, and the namespace's
    first, since a first process would not get the signals that it has no handler for.
    """
    _check(_libc.unshare(CLONE_NEWPID), "unshare pid")
    outer = os.fork()
    if outer:
        _end_like(os.waitpid(outer, 0)[1])
    die_with_parent()
    inner = os.fork()
    if inner:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == inner:
                # As the first process it cannot die by a signal: pass it on as a number.
                os._exit(
                    os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                )
    die_with_parent()


def _end_like(status):
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    if code > 128:
        try:
            signal.signal(code - 128, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
        os.kill(os.getpid(), code - 128)
    os._exit(code)


def children_of(pid):
    """Process ids whose parent is `pid`."""
    found = []
    try:
        entries = os.listdir("/proc")
    except OSError:
        return found
    for entry in entries:
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, "rb") as handle:
                    fields = handle.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found


def kill_strays(mine):
    """Kills and reaps children of this process that are not in `mine`, until none is left.

    As a subreaper this process inherits what a candidate left behind, whatever session that moved
    to. Returns how many were killed.
    """
    killed = 0
    for _ in range(100):
        strays = [pid for pid in children_of(os.getpid()) if pid not in mine]
        if not strays:
            break
        for pid in strays:
            for act in (lambda p: os.kill(p, signal.SIGKILL), lambda p: os.waitpid(p, 0)):
                try:
                    act(pid)
                except OSError:
                    pass
            killed += 1
    return killed
