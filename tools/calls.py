"""Calls of unknown functions in a confined process (tools/worker/calls.py): for the making of training data."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tools.verdicts import WORKER_LIMITS, Limits

SCRIPT = Path(__file__).with_name("worker") / "calls.py"
MODULES = (
    "abc", "ast", "base64", "bisect", "calendar", "collections", "configparser", "contextlib", "copy", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "hashlib",
    "heapq", "html", "inspect", "io", "ipaddress", "itertools", "json", "locale", "logging", "math",
    "operator", "pathlib", "pprint", "random", "re", "shlex", "statistics", "string", "struct", "textwrap",
    "tokenize", "traceback", "typing", "unicodedata", "urllib.parse", "uuid", "warnings", "weakref",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Returned:
    """The call number `index` returned a value with this repr; `lines` of the source ran (1-based).

    attribute: where it returned None, the attribute of its first argument that it changed, and `text` its value; else "".
    """

    index: int
    text: str
    lines: tuple[int, ...]
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One test of one source. outcome: "passed", "failed" (another value), "raised" or "hung".

    Of the first test that failed or raised also the actual value or the exception, and of the frames in
    the source, outermost first, the line and the reprs of the local names.
    """

    outcome: str
    lines: tuple[int, ...]
    actual: str = ""
    exception: str = ""
    message: str = ""
    frames: tuple[tuple[int, dict[str, str]], ...] = ()
    first: bool = False


_OUTCOMES = ("passed", "failed", "raised", "hung")


@dataclass
class Caller:
    """A confined process that calls functions; a context manager.

    Raises RuntimeError where the process itself fails, which no called function can bring about.
    lines: line events after which a call counts as hung; cpu: CPU seconds of one request in all.
    """

    lines: int = 4000
    cpu: float = 4.0
    longest: int = 120  # signs of a result's repr
    _process: Any = field(default=None, repr=False)
    _scratch: str = ""

    def __enter__(self) -> Caller:
        self._start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="trm-agent-")
        limits = Limits(memory_bytes=512 << 20, disk_bytes=16 << 20, file_bytes=1 << 20)
        scratch = Path(self._scratch) / "run"
        scratch.mkdir(mode=0o700)
        settings = {
            "scratch": str(scratch), "root": self._scratch, "cwd": self._scratch, "writable": [], "network": False,
            "guards_off": [], "modules": MODULES,
            "limits": {name: getattr(limits, name) for name in WORKER_LIMITS},
        }  # fmt: skip
        with open(Path(self._scratch) / "stderr", "wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-B", str(SCRIPT), json.dumps(settings)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
            )  # fmt: skip

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _ask(self, request: dict[str, Any]) -> list[Any]:
        """The answers to one request; fewer than asked for where the process was cut."""
        request |= {"lines": self.lines, "cpu": self.cpu, "longest": self.longest}
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answers = []
            while line := self._process.stdout.readline():
                if line == b"\n":
                    return answers
                answers.append(json.loads(line))
        except (OSError, ValueError):
            pass
        said = (Path(self._scratch) / "stderr").read_text(errors="replace").strip()
        self._stop()
        if "Traceback" in said:
            raise RuntimeError(f"the process for calls failed: {said.splitlines()[-1]}")
        self._start()
        return []

    def probe(
        self, source: str, name: str, prelude: str, arguments: Sequence[str], *, listed: bool = False
    ) -> list[Returned]:  # fmt: skip
        """Call `name` of `source` with each of the argument lists (source text); those with a plain, repeatable result."""
        request = {"kind": "probe", "source": source, "name": name, "prelude": prelude,
                   "arguments": list(arguments), "listed": listed, "seconds": self.cpu / 2}  # fmt: skip
        return [
            Returned(i, text, tuple(lines), name) for i, text, lines, name in self._ask(request)
        ]

    def run(
        self, sources: Sequence[str], name: str, prelude: str, tests: Sequence[tuple[str, str, str]], *, listed: bool = False
    ) -> list[list[Result] | None]:  # fmt: skip
        """The tests of each source; None where it did not come to an end.

        tests: (arguments, expected value, attribute of the first argument or "" for the returned value), source texts.
        """
        found: list[list[Result] | None] = [None] * len(sources)
        first = 0
        while first < len(sources):
            request = {"kind": "run", "sources": list(sources[first:]), "name": name, "prelude": prelude,
                       "tests": [list(test) for test in tests], "listed": listed}  # fmt: skip
            answers = self._ask(request)
            for number, rows in answers:
                found[first + number] = [_result(*row) for row in rows]
            # what cut the process is left out, what comes after it is asked again
            first += len(answers) + 1
        return found


def _result(outcome: int, lines: Sequence[int], details: dict[str, Any] | None) -> Result:
    known = details or {}
    frames = tuple((line, names) for line, names in known.get("frames", ()))
    return Result(_OUTCOMES[outcome], tuple(lines), known.get("actual", ""), known.get("exception", ""),
                  known.get("message", ""), frames, details is not None)  # fmt: skip
