"""Frames and the server of the test worker: a forked child per request, watched and killed.

Standard library only, Python >= 3.8. Frames: length (4 bytes), job (4 bytes), kind (1 byte), JSON.
Kinds from a child: S start of a test, R result, F failure, N not exact, I invalid, C collected,
L collection errors, O collection error as text, D done, X broken. From a server: H hello, E end of
a job. To a server: Q request, J number of jobs, K kill a job.
"""

import json
import os
import select
import shutil
import signal
import struct
import sys
import time

confine = sys.modules["_trm_worker_confine"]
namespaces = sys.modules["_trm_worker_namespaces"]

HEADER = struct.Struct(">II")
FINAL = (b"D", b"I", b"N", b"X")  # after one of these nothing more is expected of a child
WATCH_MS = 200  # how often children are looked at that said nothing


def write_frame(fd, job, kind, data):
    body = kind + json.dumps(data, separators=(",", ":")).encode("ascii")
    write_all(fd, HEADER.pack(len(body), job) + body)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self, fd):
        self.fd, self.buffer = fd, b""

    def read(self):
        """(still open, [(job, kind, raw JSON)]) after one read."""
        data = os.read(self.fd, 1 << 20)
        self.buffer += data
        found, at = [], 0
        while len(self.buffer) - at >= 8:
            size, job = HEADER.unpack_from(self.buffer, at)
            if len(self.buffer) - at - 8 < size:
                break
            start = at + 8
            found.append(
                (job, self.buffer[start : start + 1], self.buffer[start + 1 : start + size])
            )
            at = start + size
        if at:
            self.buffer = self.buffer[at:]
        return bool(data), found


class Put:
    """Writes the frames of one job."""

    def __init__(self, writer, number):
        self.writer, self.number = writer, number

    def __call__(self, kind, data):
        write_frame(self.writer, self.number, kind, data)


class Job:
    """A running child."""

    def __init__(self, number, pid, fd, folder, wall):
        self.number, self.pid, self.fd, self.folder = number, pid, fd, folder
        self.frames = Frames(fd)
        self.deadline = time.monotonic() + wall
        self.current, self.timed_out, self.done = None, False, False
        self.began = time.monotonic()


class Server:
    """Runs requests in forked children, `jobs` at once, until its input closes."""

    def __init__(self, fd_in, fd_out, settings, body, keep=(), prepare=None):
        """`body(request, put, folder)` runs in the child, `prepare(request)` before the fork.

        `keep`: children that are not jobs.
        """
        self.inp, self.out, self.settings = Frames(fd_in), fd_out, settings
        self.body, self.keep, self.prepare = body, set(keep), prepare
        self.queue, self.jobs = [], {}
        self.poll = select.poll()
        self.poll.register(fd_in, select.POLLIN)

    def run(self):
        while True:
            while self.queue and len(self.jobs) < self.settings["jobs"]:
                self.start(*self.queue.pop(0))
            now = time.monotonic()
            wait = None
            if self.jobs:
                nearest = min(job.deadline for job in self.jobs.values())
                wait = min(WATCH_MS, max(0, int((nearest - now) * 1000) + 1))
            for fd, _ in self.poll.poll(wait):
                if fd == self.inp.fd:
                    if not self.listen():
                        for job in list(self.jobs.values()):
                            self.finish(job)
                        return
                elif fd in self.jobs:
                    self.relay(self.jobs[fd])
            now = time.monotonic()
            for job in list(self.jobs.values()):
                if now >= job.deadline:
                    job.timed_out = True
                    self.finish(job)
                elif now - job.began > WATCH_MS / 1000 and ended(job.pid):
                    # Something it forked still holds the pipe: read what came, wait no longer.
                    self.relay(job, last=True)

    def listen(self):
        still_open, frames = self.inp.read()
        for number, kind, raw in frames:
            if kind == b"Q":
                self.queue.append((number, json.loads(raw)))
            elif kind == b"J":
                self.settings["jobs"] = json.loads(raw)
            elif kind == b"K":
                self.queue = [entry for entry in self.queue if entry[0] != number]
                for job in list(self.jobs.values()):
                    if job.number == number:
                        self.finish(job)
        return still_open

    def start(self, number, request):
        if self.prepare is not None:
            self.prepare(request)
        folder = os.path.join(self.settings["scratch"], "c%d" % number)
        os.mkdir(folder, 0o700)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.setpgid(0, 0)
                os.close(reader)
                for fd in [self.inp.fd, self.out] + list(self.jobs):
                    os.close(fd)
                if namespaces.LINUX:
                    namespaces.die_with_parent()
                self.body(request, Put(writer, number), folder)
                code = 0
            except BaseException:
                import traceback

                try:
                    Put(writer, number)(b"X", traceback.format_exc()[-4000:])
                except BaseException:
                    pass
            finally:
                os._exit(code)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        os.close(writer)
        self.jobs[reader] = Job(number, pid, reader, folder, request["setup_wall"])
        self.poll.register(reader, select.POLLIN)

    def relay(self, job, last=False):
        try:
            still_open, frames = True, []
            if not last or select.select([job.fd], [], [], 0)[0]:
                still_open, frames = job.frames.read()
        except OSError:
            still_open, frames = False, []
        out = []
        for _, kind, raw in frames:
            if kind == b"S":
                job.current, wall = json.loads(raw)
                job.deadline = time.monotonic() + wall
            else:
                if kind == b"R":
                    job.current = None
                elif kind in FINAL:
                    job.done = True
                out.append(HEADER.pack(len(raw) + 1, job.number) + kind + raw)
        if out:
            write_all(self.out, b"".join(out))
        if not still_open or job.done or last:
            self.finish(job)

    def finish(self, job):
        """Kills the child's group and what it left, reports how it ended."""
        try:
            os.killpg(job.pid, signal.SIGKILL)
        except OSError:
            pass
        status, usage = 0, None
        try:
            # A child that closed its pipe and goes on is killed above; so this does not block.
            _, status, usage = os.wait4(job.pid, 0)
        except OSError:
            pass
        self.poll.unregister(job.fd)
        os.close(job.fd)
        del self.jobs[job.fd]
        self.sweep()
        remove(job.folder)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) and not job.done else 0
        write_frame(
            self.out,
            job.number,
            b"E",
            {
                "current": job.current,
                "timeout": job.timed_out or number in (signal.SIGPROF, signal.SIGXCPU),
                "signal": number,
                "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "cpu": usage.ru_utime + usage.ru_stime if usage else 0.0,
            },
        )

    def sweep(self):
        mine = {job.pid for job in self.jobs.values()} | self.keep
        if not mine:
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            except AttributeError:
                pass
        confine.kill_strays(mine)


def ended(pid):
    """Whether a child has ended (it stays to be waited for)."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (OSError, AttributeError):
        return False


def remove(folder):
    try:
        os.rmdir(folder)
    except OSError:
        try:
            for base, names, _ in os.walk(folder):
                for name in names:
                    os.chmod(os.path.join(base, name), 0o700)
        except OSError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
