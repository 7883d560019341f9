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

namespaces = sys.modules["_trm_worker_namespaces"]
LINUX, libc, check = namespaces.LINUX, namespaces.libc, namespaces.check

PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 38, 36
# System call numbers that are the same on every architecture.
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
CAPABILITY_VERSION_3 = 0x20080522
# Kept for a root user: file rights (0-4), setgid and setuid (6, 7), loopback services (10).
KEPT_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 6, 7, 10))

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
    return max(0, libc.syscall(SYS_CREATE_RULESET, None, 0, 1))


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
        check(
            libc.syscall(SYS_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, handle), 0),
            "landlock_add_rule",
        )

    def ruleset(self, writable):
        """A descriptor of the rules, for `enforce` in any number of processes. Raises GuardError."""
        attributes = struct.pack("=QQQ", self.rights, self.tcp, self.scoped)
        size = 8 if self.abi < 4 else 16 if self.abi < 6 else 24
        ruleset = check(
            libc.syscall(SYS_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset"
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
        except BaseException:
            os.close(ruleset)
            raise
        return ruleset

    @staticmethod
    def enforce(ruleset):
        """Confines this process for good. Raises GuardError."""
        no_new_privileges()
        check(libc.syscall(SYS_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")

    def restrict(self, writable):
        """Confines this process for good. Raises GuardError."""
        ruleset = self.ruleset(writable)
        try:
            self.enforce(ruleset)
        finally:
            os.close(ruleset)


def no_new_privileges():
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def become_subreaper():
    if LINUX:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def drop_capabilities():
    """Keeps a root user's rights over files, drops the rest (mounts, raw devices, tracing)."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    current = ctypes.create_string_buffer(24)
    check(libc.capget(header, current), "capget")
    words = list(struct.unpack("=6I", current.raw))
    words[:3] = [word & KEPT_CAPABILITIES for word in words[:3]]
    words[3:] = [0, 0, 0]
    check(libc.capset(header, struct.pack("=6I", *words)), "capset")


# ---------------------------------------------------------------- limits and kills


def address_space():
    """Bytes of address space this process uses now (0 where unknown)."""
    try:
        with open("/proc/self/statm") as handle:
            return int(handle.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def set_limits(limits, cpu_seconds):
    """Resource limits of a candidate; `cpu_seconds` is a coarse backstop for each process, or None."""

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

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bound("RLIMIT_AS", address_space() + limits["memory_bytes"])
    bound("RLIMIT_FSIZE", limits["file_bytes"])
    bound("RLIMIT_NOFILE", limits["open_files"])
    bound("RLIMIT_CPU", cpu_seconds and int(cpu_seconds) + 1)
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
    namespaces.private_processes()
    outer = os.fork()
    if outer:
        _end_like(os.waitpid(outer, 0)[1])
    namespaces.die_with_parent()
    inner = os.fork()
    if inner:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == inner:
                # As the first process it cannot die by a signal: pass it on as a number.
                os._exit(
                    os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                )
    namespaces.die_with_parent()


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
