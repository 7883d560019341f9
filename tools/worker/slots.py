"""Slots: confined forks of the collected session that fork children for candidates and do little else.

A fork makes every page shared, and both sides pay for each page that they touch afterwards. So the
server that reads requests and compiles code does not fork candidates itself: a slot does, one
child at a time, which has put on all guards before and so spares its children that. A child
adds a Landlock domain of its own, so that it can neither signal nor trace its slot.
Standard library only, Python >= 3.8.
"""

import array
import gc
import marshal
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
import warnings

confine = sys.modules["_trm_worker_confine"]
namespaces = sys.modules["_trm_worker_namespaces"]
serve = sys.modules["_trm_worker_serve"]

_HEAD = struct.Struct("=ci")  # kind, size of what follows
_PID = struct.Struct("=i")
_END = struct.Struct("=idd")  # status, CPU seconds of the child, and of the slot since the last one
START, REAP = b"S", b"R"


class Patterns:
    """Regular expressions that the tests compile, known to every slot before its first candidate.

    To compile them takes many a test longer than all the rest, and what comes of it depends on
    nothing but pattern and flags.
    """

    MOST, LONGEST = 300, 20000

    def __init__(self):
        self.known = set()

    @staticmethod
    def cached():
        """The (type, pattern, flags) that the re module holds now."""
        keys = [key for key in getattr(re, "_cache", ()) if isinstance(key, tuple)]
        return {key for key in keys if len(key) == 3 and key[0] in (str, bytes)}

    def seen(self, before):
        """[[text, whether bytes, flags]] compiled since `before`, for `learn`."""
        found = []
        for kind, pattern, flags in self.cached() - before:
            text = pattern.decode("latin-1") if kind is bytes else pattern
            if isinstance(flags, int) and len(text) <= self.LONGEST:
                found.append([text, kind is bytes, int(flags)])
        return found[: self.MOST]

    def learn(self, found):
        """Compiles what is new. True where something was; one that warns is left to the tests."""
        fresh = [tuple(entry) for entry in found if tuple(entry) not in self.known]
        self.known.update(fresh)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for text, as_bytes, flags in fresh:
                try:
                    re.compile(text.encode("latin-1") if as_bytes else text, flags)
                except Exception:
                    pass
        return bool(fresh)


class Gone(EOFError):
    """The slot's process ended."""


def _exactly(channel, size):
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise Gone
        data += part
    return data


class Slot:
    """The server's side of a slot."""

    def __init__(self, place, others, body):
        """`place`: where its candidates may write; `others`: descriptors that it must not keep.

        `body(place)` puts everything in place and returns (rules, run, clean): Landlock's rules
        again, `run(put, payload)` for children, `clean()` after each.
        """
        self.place = place
        self.channel, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                self.channel.close()
                for fd in others:
                    os.close(fd)
                namespaces.die_with_parent()
                _serve(theirs, *body(place))
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()

    def start(self, payload, writer):
        """The process id of a new child that runs `payload` and writes to `writer`. Raises Gone."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))]
        head = _HEAD.pack(START, len(payload))
        try:
            self.channel.sendmsg([head], rights)
            self.channel.sendall(payload)
            return _PID.unpack(_exactly(self.channel, _PID.size))[0]
        except OSError:
            raise Gone

    def reap(self):
        """Ends the child: (status, CPU seconds of it and of the slot). Raises Gone."""
        try:
            self.channel.sendall(_HEAD.pack(REAP, 0))
            status, child, own = _END.unpack(_exactly(self.channel, _END.size))
        except OSError:
            raise Gone
        self.place.empty()
        return status, child + own

    def close(self):
        """Ends the slot's process."""
        self.channel.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except OSError:
            pass
        self.place.remove()


def _serve(channel, rules, run, clean):
    """The slot's life: forks when told, reaps when told. What it does itself touches few pages."""
    gc.collect()
    gc.freeze()
    namespaces.release_memory()
    pid, used = 0, time.process_time()
    room = socket.CMSG_SPACE(4)
    while True:
        head, extra, _, _ = channel.recvmsg(_HEAD.size, room)
        if not head:
            return
        kind, length = _HEAD.unpack(head)
        if kind == START:
            writer = struct.unpack("=i", extra[0][2][:4])[0]
            os.set_inheritable(writer, False)
            payload = _exactly(channel, length)
            pid = os.fork()
            if pid == 0:
                _child(channel, rules, run, writer, payload)
            try:
                os.setpgid(pid, pid)
            except OSError:
                pass
            os.close(writer)
            channel.sendall(_PID.pack(pid))
            del payload
        else:
            status, child = _end(pid)
            clean()
            now = time.process_time()
            channel.sendall(_END.pack(status, child, now - used))
            used = now


def _child(channel, rules, run, writer, payload):
    code, put = 70, serve.Put(writer, 0)
    try:
        os.setpgid(0, 0)
        namespaces.die_with_parent()
        channel.close()
        if rules is not None:
            confine.Landlock.enforce(rules)
            os.close(rules)
        run(put, payload)
        code = 0
    except BaseException:
        import traceback

        try:
            put(b"X", traceback.format_exc()[-4000:])
        except BaseException:
            pass
    finally:
        os._exit(code)


def _end(pid):
    """Kills a child's group and what it left: (its status, its CPU seconds)."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    status, spent = 0, 0.0
    try:
        _, status, usage = os.wait4(pid, 0)
        spent = usage.ru_utime + usage.ru_stime
    except OSError:
        pass
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return status, spent
    except (OSError, AttributeError):
        pass
    confine.kill_strays(())
    return status, spent


def packed(request, candidates):
    """What a child of a slot is told: `candidates` are (number, swaps, late), the request is theirs all."""
    left_out = ("files", "args", "reads", "late")
    options = {name: value for name, value in request.items() if name not in left_out}
    return marshal.dumps((options, candidates))


def limit_cpu(seconds):
    """The coarse limit of a candidate's process; it is not the slot's, which goes on for long."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    except (ValueError, OSError):
        pass
