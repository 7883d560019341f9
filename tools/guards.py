"""Which guards hold on this machine, found out by trying them in a throwaway child."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.verdicts import WORKER_LIMITS, Limits

PROBE = Path(__file__).with_name("worker") / "probe.py"


class Guard(NamedTuple):
    """One guard: what it keeps candidates from, whether it does so here, how that is known."""

    name: str
    active: bool
    how_known: str


def guards_status(
    python: str | None = None, limits: Limits | None = None, guards_off: Sequence[str] = ()
) -> list[Guard]:
    """Tries every guard in a child that is confined as a candidate is.

    The child tries to touch a temporary file of ours, to kill a process of ours, to reach a
    listener of ours, and to outgrow its limits. `python`: the interpreter to run it under. An
    empty list never comes back: where the probe itself fails, that is the one entry.
    """
    limits = limits or Limits()
    base = Path(tempfile.mkdtemp(prefix="trm-agent-"))
    scratch, outside = base / "run", base / "outside"
    scratch.mkdir(mode=0o700)
    outside.write_bytes(b"as it was")
    victim = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            settings = {
                "scratch": str(scratch), "root": str(base), "cwd": str(base), "writable": [],
                "network": False, "guards_off": list(guards_off), "outside": str(outside),
                "limits": {name: getattr(limits, name) for name in WORKER_LIMITS},
                "victim": victim.pid, "port": listener.getsockname()[1],
            }  # fmt: skip
            done = subprocess.run(
                [python or sys.executable, "-B", str(PROBE), json.dumps(settings)],
                capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
            )  # fmt: skip
        found = [Guard(*json.loads(line)) for line in done.stdout.splitlines()]
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return [Guard("guards", False, f"the probe failed: {error}")]
    finally:
        victim.kill()
        victim.communicate()
        shutil.rmtree(base, ignore_errors=True)
    if not found:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return [Guard("guards", False, f"the probe failed: {last[0]}")]
    return found


def running_as_root() -> bool:
    """Whether candidates would run with root's rights."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
