"""Tries the guards for real: ``python -B probe.py SETTINGS`` prints what a candidate may not do.

SETTINGS is the worker's settings plus "outside" (a file that must not be touched), "victim" (a
process that must not get signals) and "port" (a listener on the loopback device outside). Each
line printed is JSON: [name, active, how it is known]. Standard library only, Python >= 3.8.
"""

import errno
import importlib.util
import json
import mmap
import os
import signal
import socket
import sys


def attempt(action):
    """(refused, words) for an action that must fail."""
    try:
        action()
    except MemoryError:
        return True, "MemoryError"
    except OSError as error:
        return True, errno.errorcode.get(error.errno, str(error))
    return False, "it was allowed"


def write(path):
    with open(path, "ab") as handle:
        handle.write(b"x")


def connect(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        probe.connect(("127.0.0.1", port))


def signal_to(victim):
    # In a PID namespace the number may be one of ours.
    if victim in (1, os.getpid(), os.getppid()):
        raise OSError(errno.ESRCH, "another namespace")
    os.kill(victim, signal.SIGKILL)


def fork_many(count):
    children = []
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def spin_in_c():
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        sum(range(10**11))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise OSError(errno.EINTR, "cut")


def grow(path, size):
    with open(path, "wb") as handle:
        handle.truncate(size)


def open_many(count):
    handles = []
    try:
        for _ in range(count):
            handles.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in handles:
            os.close(handle)


def main():
    settings = json.loads(sys.argv[1])
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    spec = importlib.util.spec_from_file_location("_trm_worker", os.path.join(here, "worker.py"))
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    namespaces, confine = worker.sibling("namespaces"), worker.sibling("confine")
    settings["fds"] = []
    guards = worker.enter(settings, namespaces, confine)
    confine.become_subreaper()
    folder = os.path.join(settings["scratch"], "candidate")
    os.mkdir(folder, 0o700)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        confine.restrict_candidate(settings, guards, folder, 30)
        report(settings, guards, folder)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


def report(settings, guards, folder):
    limits, outside = settings["limits"], settings["outside"]
    landlock = guards["landlock"]
    layers = [name for name in ("read_only",) if name in guards["active"]]
    layers += ["Landlock ABI %d" % landlock.abi] if landlock else []
    by = " + ".join(layers).replace("read_only", "read-only mounts") or "nothing"
    trials = [
        ("writes outside", "open a file for writing (%s)" % by, lambda: write(outside)),
        ("chmod outside", "change a file's mode", lambda: os.chmod(outside, 0o600)),
        ("deletes outside", "unlink a file (%s)" % by, lambda: os.unlink(outside)),
        ("signals", "kill a process outside", lambda: signal_to(settings["victim"])),
        ("network", "connect to a listener outside", lambda: connect(settings["port"])),
        (
            "memory",
            "map %d MB" % (limits["memory_bytes"] >> 20),
            lambda: mmap.mmap(-1, limits["memory_bytes"] + (64 << 20)),
        ),
        (
            "processes",
            "fork %d times" % (limits["processes"] + 400),
            lambda: fork_many(limits["processes"] + 400),
        ),
        (
            "file size",
            "grow a file to %d MB" % ((limits["file_bytes"] >> 20) + 1),
            lambda: grow(os.path.join(folder, "big"), limits["file_bytes"] + (1 << 20)),
        ),
        (
            "open files",
            "open %d files" % limits["open_files"],
            lambda: open_many(limits["open_files"]),
        ),
        ("CPU time", "loop inside C", spin_in_c),
    ]
    for name, what, action in trials:
        refused, words = attempt(action)
        print(json.dumps([name, refused, "a confined child tried to %s: %s" % (what, words)]))
    print(json.dumps(_descendants(guards)))


def _descendants(guards):
    if "pid" in guards["active"]:
        return ["descendants", True, "a PID namespace ends with the worker"]
    how = "process groups and a subreaper; one that outlives the worker itself is not found"
    return ["descendants", False, how]


if __name__ == "__main__":
    main()
