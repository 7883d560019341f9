"""The pipe to the test worker: start, frames both ways, end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.verdicts import RunnerError

HEADER = struct.Struct(">II")
WORKER = Path(__file__).with_name("worker") / "worker.py"
CLOSE_SECONDS = 3.0  # for the worker to end by itself, and for a killed one to be gone
_GLANCE = (
    0.5  # seconds: an interrupt that is no signal of the kernel (Ray cancels so) wakes no poll
)
ZYGOTE, SESSION = "zygote", "session"  # the worker's two servers


class WorkerDied(Exception):
    """The worker's pipe closed."""


class Link:
    """A running worker process and its two servers.

    Frames that arrive are (server, job, kind, data): kinds are those of ``worker.py``.
    """

    def __init__(self, python: str, settings: dict[str, Any]) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="trm-agent-"))
        self.log = self.scratch / "log"
        inner = self.scratch / "run"
        inner.mkdir(mode=0o700)
        a_in, self._a_out = os.pipe()
        self._a_in, a_out = os.pipe()
        b_in, self._b_out = os.pipe()
        self._b_in, b_out = os.pipe()
        theirs = (a_in, a_out, b_in, b_out)
        # Where addopts have --trm-fix, our own red runs must not start trm-agent again: see plugin/.
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTEST_TRM_FIX="0")
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [python, "-B", str(WORKER), *map(str, theirs), str(self.scratch)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=theirs,
                    start_new_session=True,
                    env=environment,
                    cwd=settings["cwd"],
                )
        except OSError as error:
            self._remove()
            raise RunnerError(
                f"cannot start {python}: {error.strerror or error}",
                "name a Python interpreter with --python",
            ) from error
        finally:
            for fd in theirs:
                os.close(fd)
        self._readers = {self._a_in: ZYGOTE, self._b_in: SESSION}
        self._buffers = {self._a_in: b"", self._b_in: b""}
        self._poll = select.poll()
        for fd in self._readers:
            self._poll.register(fd, select.POLLIN)
        self._outgoing = {ZYGOTE: bytearray(), SESSION: bytearray()}
        self._writers = {ZYGOTE: self._a_out, SESSION: self._b_out}
        for fd in self._writers.values():
            os.set_blocking(fd, False)
        self.session_open = True
        self.send(ZYGOTE, 0, b"Q", dict(settings, scratch=str(inner)))

    def send(self, server: str, job: int, kind: bytes, data: Any) -> None:
        """Queues a frame and writes as much as goes without waiting."""
        body = kind + json.dumps(data, separators=(",", ":")).encode("ascii")
        self._outgoing[server] += HEADER.pack(len(body), job) + body
        self._flush()

    def _flush(self) -> bool:
        """Writes what can be written; True where something is left."""
        for server, pending in self._outgoing.items():
            while pending:
                try:
                    done = os.write(self._writers[server], pending[: 1 << 16])
                except BlockingIOError:
                    break
                except OSError as error:
                    if server == SESSION and not self.session_open:
                        pending.clear()
                        break
                    raise WorkerDied(str(error)) from error
                del pending[:done]
        return any(self._outgoing.values())

    def receive(self, timeout: float) -> list[tuple[str, int, bytes, Any]]:
        """Frames that arrive within `timeout` seconds (possibly none). Raises WorkerDied."""
        end = time.monotonic() + timeout
        while True:
            pending = self._flush()
            left = max(0.0, end - time.monotonic())
            ready = self._poll.poll(min(left, 0.01 if pending else _GLANCE) * 1000)
            found: list[tuple[str, int, bytes, Any]] = []
            for fd, _ in ready:
                found += self._read(fd)
            if found or time.monotonic() >= end:
                return found

    def _read(self, fd: int) -> list[tuple[str, int, bytes, Any]]:
        data = os.read(fd, 1 << 20)
        server = self._readers[fd]
        if not data:
            self._poll.unregister(fd)
            if server == SESSION:
                self.session_open = False
                return [(SESSION, 0, b"Z", None)]
            raise WorkerDied("the worker ended")
        buffer = self._buffers[fd] + data
        found, at = [], 0
        while len(buffer) - at >= HEADER.size:
            size, job = HEADER.unpack_from(buffer, at)
            start = at + HEADER.size
            if len(buffer) - start < size:
                break
            raw = buffer[start + 1 : start + size]
            found.append((server, job, buffer[start : start + 1], json.loads(raw)))
            at = start + size
        self._buffers[fd] = buffer[at:]
        return found

    def log_tail(self, size: int = 2000) -> str:
        """The end of what the worker printed."""
        try:
            return self.log.read_bytes()[-size:].decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Ends the worker and all it started, removes its folder. Never raises."""
        for fd in (self._a_out, self._b_out):
            with contextlib.suppress(OSError):
                os.close(fd)
        # It ends by itself when its input closes, and takes its children along.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=CLOSE_SECONDS)
        self._kill()
        for fd in (self._a_in, self._b_in):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._remove()

    def _kill(self) -> None:
        """Kills the worker's process group and waits until nothing of it is left."""
        group, end = self.process.pid, time.monotonic() + CLOSE_SECONDS
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
            self.process.wait()
            # The first process of a PID namespace is gone only after all others in there.
            while time.monotonic() < end:
                os.killpg(group, signal.SIGKILL)
                time.sleep(0.005)
        self.process.wait()

    def _remove(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
