"""Frames and the server of the test worker: a forked child per request, watched and killed.

Standard library only, Python >= 3.8. Frames: length (4 bytes), job (4 bytes), kind (1 byte), JSON.
Kinds from a child: S start of a test, R result, F failure, W regular expressions compiled, N not
exact, A ask again through pytest's protocol, I invalid, C collected, L collection errors, O
collection error as text, D done, B that no further candidate may run in it, X broken. From a server:
H hello, E end of a job. To a server: Q request, J number of jobs, K kill a job.
"""

import json
import os
import select
import signal
import struct
import sys
import time

confine = sys.modules["_trm_worker_confine"]
namespaces = sys.modules["_trm_worker_namespaces"]
places = sys.modules["_trm_worker_places"]

HEADER = struct.Struct(">II")
FINAL = (b"D", b"I", b"N", b"A", b"X")  # after one of these nothing more is expected of a child
CUT = (signal.SIGPROF, signal.SIGXCPU)
SPOILT = 6  # children in a row that left traces, after which each candidate has its own
RETRY = 200  # candidates after which sharing is tried again
WATCH_MS = 200  # how often children are looked at that said nothing


_encode = json.JSONEncoder(separators=(",", ":")).encode


def frame(job, kind, data):
    body = kind + _encode(data).encode("ascii")
    return HEADER.pack(len(body), job) + body


def write_frame(fd, job, kind, data):
    write_all(fd, frame(job, kind, data))


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
        self.writer, self.number, self._held = writer, number, b""

    def __call__(self, kind, data):
        held, self._held = self._held, b""
        write_all(self.writer, held + frame(self.number, kind, data))

    def hold(self, kind, data):
        """Writes it together with the next frame: every write wakes the server."""
        self._held += frame(self.number, kind, data)


class Job:
    """A running child."""

    def __init__(self, number, pid, fd, place, wall, current, spent, slot=None):
        """`current`: the test it begins with; `spent`: CPU seconds of the server so far."""
        self.number, self.pid, self.fd, self.place, self.slot = number, pid, fd, place, slot
        self.frames = Frames(fd)
        self.began = time.monotonic()
        self.deadline = self.began + wall
        self.current, self.timed_out, self.done, self.spent = current, False, False, spent
        self.teaches = False  # it runs the code as it is
        self.request = self.parts = None  # of the candidate that runs
        self.rest = []  # [(number, request, parts, CPU seconds)] of those to run next
        self.chained = False  # there were such
        self.told = 0.0  # CPU seconds of the child that were reported

    def ended(self):
        """Whether the child has ended (it stays to be waited for)."""
        try:
            if self.slot is None:
                options = os.WEXITED | os.WNOHANG | os.WNOWAIT
                return os.waitid(os.P_PID, self.pid, options) is not None
            with open("/proc/%d/stat" % self.pid, "rb") as handle:
                return handle.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
        except (OSError, AttributeError):
            return False


class Server:
    """Runs requests in forked children, `jobs` at once, until its input closes."""

    def __init__(self, fd_in, fd_out, settings, body, keep=(), prepare=None, new_slot=None,
                 pack=None, learn=None):  # fmt: skip
        """`body(request, put, place, known)` runs in the child.

        `prepare(request)` runs before the fork. Its answer is (kind, data) that is final, so that no
        child is needed; or (None, (parts, None)) for a child of a slot; or (None, (None, known)).
        `new_slot(place, others)` makes a slot; `pack(request, [(number, *parts)])` says to it what to
        run. `learn(data)` takes what a W frame has, and tells
        whether slots must be made anew for it. `keep`: children that are not jobs.
        """
        self.inp, self.out, self.settings = Frames(fd_in), fd_out, settings
        self.body, self.keep, self.prepare, self.new_slot = body, set(keep), prepare, new_slot
        self.queue, self.jobs, self.slots, self.numbers = [], {}, [], 0
        self.pack = pack
        self.length = settings["chain"]  # candidates for a child; fewer while they leave traces
        self.spoilt = 0  # children in a row that left traces
        self.alone = 0  # candidates since then that had a child each
        self.prepared = {}  # number -> what `ready` said of a request that waits
        self.spare = 0.0  # CPU seconds that belong to no job in particular
        self.learn, self.age = learn, 0  # slots that are older than `age` are not used again
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
                elif now - job.began > WATCH_MS / 1000 and job.ended():
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
                self.prepared.pop(number, None)
                for job in list(self.jobs.values()):
                    if job.number == number:
                        self.finish(job)
        return still_open

    def ready(self, number, request):
        """(parts, known) as `prepare` says, and CPU seconds; None where that was final."""
        if number in self.prepared:
            return self.prepared.pop(number)
        spent = time.process_time()
        kind, data = (None, (None, None)) if self.prepare is None else self.prepare(request)
        spent = time.process_time() - spent
        if kind is not None:
            self.report(number, frame(number, kind, data), spent)
            return None
        return data + (spent,)

    def start(self, number, request):
        began = self.ready(number, request)
        if began is None:
            return
        parts, known, spent = began
        used = time.process_time()
        slot = None if parts is None else self.slot()  # before there is a pipe to inherit
        place = self.new_place() if slot is None else slot.place
        reader, writer = os.pipe()
        rest = []
        try:
            if slot is not None:
                rest = self.following(request)
                run = [(number,) + parts] + [(other,) + its for other, _, its, _ in rest]
                pid = slot.start(self.pack(request, run), writer)
        except EOFError:  # it was killed, by the kernel for memory or by somebody else
            slot.close()
            self.requeue(rest)
            slot, place, known, rest = None, self.new_place(), None, []
        if slot is None:
            pid = self.fork(number, request, place, known, reader, writer)
        os.close(writer)
        wall, current = request["setup_wall"], None
        if request["first"]:  # the child does not tell that it begins
            current, extra = request["first"]
            wall += extra
        spent += time.process_time() - used
        job = Job(number, pid, reader, place, wall, current, spent, slot)
        job.teaches, job.request, job.parts, job.rest = request["warm"], request, parts, rest
        job.chained = bool(rest)
        self.jobs[reader] = job
        self.poll.register(reader, select.POLLIN)

    def following(self, request):
        """[(number, request, parts, CPU seconds)] of waiting requests that the same child may run."""
        found = []
        if self.length == 1 and self.spoilt:
            self.alone += 1
            if self.alone % RETRY == 0:
                self.length, self.spoilt = 2, SPOILT - 1
        while request.get("chain") and self.queue and len(found) < self.length - 1:
            number, other = self.queue[0]
            began = self.ready(number, other)
            if began is None:
                self.queue.pop(0)
                continue
            parts, _, spent = began
            # where it needs a process of its own, not all of the request has been filled in
            alike = all(other.get(key) == request[key] for key in request if key != "files")
            if parts is None or not alike:
                self.prepared[number] = began
                break
            self.queue.pop(0)
            found.append((number, other, parts, spent))
        return found

    def requeue(self, entries):
        """Those that a child did not come to wait again, before all others, prepared as they are."""
        self.queue = [entry[:2] for entry in entries] + self.queue
        for number, _, parts, spent in entries:
            self.prepared[number] = parts, None, spent

    def advance(self, job, kind, raw):
        """The child goes on to its next candidate. Returns the end of the one before as a frame."""
        used = json.loads(raw)["cpu"] if kind == b"D" else 0.0
        job.told += used
        ended = self.end(job.number, job.spent + used, job)
        job.number, job.request, job.parts, job.spent = job.rest.pop(0)
        job.current, extra = job.request["first"]
        job.deadline = time.monotonic() + job.request["setup_wall"] + extra
        return ended

    def slot(self):
        if self.slots:
            return self.slots.pop()
        slot = self.new_slot(self.new_place(), self.fds())
        slot.age = self.age
        return slot

    def taught(self, raw):
        """Slots are to know what a run of the code as it is has shown."""
        if self.learn is not None and self.learn(json.loads(raw)):
            self.age += 1
            for slot in self.slots:
                slot.close()
            self.slots = []

    def fds(self):
        """Descriptors that are no child's business."""
        slots = self.slots + [job.slot for job in self.jobs.values() if job.slot is not None]
        channels = [slot.channel.fileno() for slot in slots]
        return [self.inp.fd, self.out] + list(self.jobs) + channels

    def fork(self, number, request, place, known, reader, writer):
        """A child that runs the request from its start; returns its process id."""
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.setpgid(0, 0)
                for fd in [reader] + self.fds():
                    os.close(fd)
                if namespaces.LINUX:
                    namespaces.die_with_parent()
                self.body(request, Put(writer, number), place, known)
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
        return pid

    def new_place(self):
        self.numbers += 1
        name = "c%d-%d" % (os.getpid(), self.numbers)  # the other server has places there too
        return places.Place(os.path.join(self.settings["scratch"], name))

    def relay(self, job, last=False):
        try:
            still_open, frames = True, []
            if not last or select.select([job.fd], [], [], 0)[0]:
                still_open, frames = job.frames.read()
        except OSError:
            still_open, frames = False, []
        out = []
        for number, kind, raw in frames:
            if kind == b"S":
                job.current, wall = json.loads(raw)
                job.deadline = time.monotonic() + wall
            elif kind == b"W":
                if job.teaches:
                    self.taught(raw)
            elif kind == b"B":  # `number` is done, but has left traces: others need another child
                self.spoilt += 1
                again = json.loads(raw) and self.spoilt < SPOILT
                self.length = max(2, self.length // 2) if again else 1
                self.requeue([(job.number, job.request, job.parts, job.spent)] + job.rest)
                job.number, job.rest, job.done = None, [], True
            else:
                if kind == b"R":
                    job.current = None
                out.append(HEADER.pack(len(raw) + 1, number) + kind + raw)
                if kind in FINAL and job.rest and kind != b"X":
                    out.append(self.advance(job, kind, raw))
                elif kind in FINAL:
                    job.done = True
                    if job.chained:
                        self.spoilt = 0
                        self.length = min(self.settings["chain"], 2 * self.length)
        if not still_open or job.done or last:
            self.finish(job, b"".join(out))
        elif out:
            write_all(self.out, b"".join(out))

    def finish(self, job, out=b""):
        """Kills the child's group and what it left, writes `out` and how it ended."""
        began, status, used = time.process_time(), 0, 0.0
        self.poll.unregister(job.fd)
        os.close(job.fd)
        del self.jobs[job.fd]
        if job.slot is None:
            try:
                os.killpg(job.pid, signal.SIGKILL)
            except OSError:
                pass
            try:
                # A child that closed its pipe and goes on is killed above; so this does not block.
                _, status, usage = os.wait4(job.pid, 0)
                used = usage.ru_utime + usage.ru_stime
            except OSError:
                pass
            self.sweep()
            job.place.remove()
        else:
            try:
                status, used = job.slot.reap()
                if job.slot.age == self.age:
                    self.slots.append(job.slot)
                else:
                    job.slot.close()
            except EOFError:
                status = signal.SIGKILL
                job.slot.close()
                self.sweep()
        self.requeue(job.rest)
        spent = job.spent + max(0.0, used - job.told) + time.process_time() - began
        if job.number is None:
            self.spare += spent
            write_all(self.out, out)
        else:
            self.report(job.number, out, spent, job, status)

    def report(self, number, out, spent, job=None, status=0):
        """Writes `out` and the end of a job: its CPU seconds include the server's own for it."""
        write_all(self.out, out + self.end(number, spent, job, status))

    def end(self, number, spent, job=None, status=0):
        """The frame that says how a job ended."""
        spent, self.spare = spent + self.spare, 0.0
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) and not job.done else 0
        end = {
            "current": job and job.current,
            "timeout": bool(job and job.timed_out) or signalled in CUT,
            "signal": signalled,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "cpu": spent,
            "chain": self.length if job and job.request and job.request.get("chain") else 1,
        }
        return frame(number, b"E", end)

    def sweep(self):
        slots = self.slots + [job.slot for job in self.jobs.values() if job.slot is not None]
        mine = {job.pid for job in self.jobs.values()} | {slot.pid for slot in slots} | self.keep
        if not mine:
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            except AttributeError:
                pass
        confine.kill_strays(mine)
