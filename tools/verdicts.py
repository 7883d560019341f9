"""What the test runner reports: outcomes, limits, failures, suite runs, verdicts."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.spectrum import Spectrum


_VARYING = re.compile(r"0x[0-9a-fA-F]+|/tmp/\S+")  # of a message
# The fields of Limits that the worker's processes are bound by.
WORKER_LIMITS = ("memory_bytes", "file_bytes", "disk_bytes", "processes", "open_files")


class Outcome(enum.StrEnum):
    """How a test, or a candidate over several tests, ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"  # set-up, tear-down, import or collection failed
    TIMEOUT = "timeout"
    CRASHED = "crashed"  # the process ended by itself or by a signal
    SKIPPED = "skipped"  # nothing failed, but a test that ran before is now skipped
    INVALID = "invalid"  # a changed file does not compile
    BLOCKED = "blocked"  # failed because a guard refused something
    POSTPONED = "postponed"  # only an import of the project anew would do: not judged yet


class RunnerError(Exception):
    """The suite cannot be run. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one candidate. Seconds, bytes, counts.

    A test may take `factor` times its own time in the baseline, at least the floors: CPU time is
    the tight bound, wall time a generous one for tests that sleep or wait.
    """

    factor: float = 10.0
    cpu_floor: float = 0.05
    wall_floor: float = 2.0
    baseline_seconds: float = 10.0  # a test of the baseline, CPU; wall is three times as much
    collect_seconds: float = 180.0  # wall time of the first start, import and collection
    setup_seconds: float = 60.0  # the same of a candidate that needs a process of its own
    memory_bytes: int = 2 << 30  # address space beyond what the collected suite has
    file_bytes: int = 64 << 20
    disk_bytes: int = 256 << 20  # the private temporary folder as a whole
    processes: int = 256  # beyond the 300 or so that the kernel keeps out of its count
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the project's own code at a failure."""

    path: str  # relative to the root
    line: int
    function: str
    names: dict[str, str]  # local names to reprs of at most 80 signs


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test failed."""

    nodeid: str
    exception: str  # type name
    message: str
    frames: list[Frame]  # outermost first
    actual: str | None = None  # reprs of a comparison's sides, where the failure was one
    expected: str | None = None
    operator: str | None = None
    test_line: str = ""  # the failing line of the test
    suggestions_data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of a run. `seconds` is CPU time, `wall` elapsed time."""

    __test__ = False

    nodeid: str
    outcome: Outcome
    seconds: float
    wall: float = 0.0
    path: str = ""
    line: int | None = None
    exception: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionError:
    """A file that pytest could not collect."""

    path: str  # the file with the fault, relative to the root where it is inside
    exception: str
    message: str
    line: int | None
    missing_module: str | None
    collecting: str = ""  # the test file or conftest that was being collected


@dataclass(slots=True)
class SuiteRun:
    """A run of the whole suite."""

    results: list[TestResult]
    failures: list[Failure]
    collection_errors: list[CollectionError]
    spectrum: Spectrum
    seconds: float
    notes: list[str] = field(default_factory=list)
    rootdir: str = ""
    configfile: str | None = None
    pytest_version: str = ""
    python_version: str = ""
    flaky: list[str] = field(default_factory=list)  # failing tests that passed when run again
    exit_code: int | None = None  # of a plain pytest process
    cpu: float = 0.0  # CPU seconds of that process
    recalled: bool = False  # an earlier run of the same code told of it

    @property
    def failing(self) -> list[str]:
        """Ids of the tests that did not pass, in collection order."""
        good = (Outcome.PASSED, Outcome.SKIPPED)
        return [result.nodeid for result in self.results if result.outcome not in good]

    @property
    def green(self) -> bool:
        """Whether nothing failed and something was collected."""
        code_ok = self.exit_code in (None, 0)
        return bool(self.results) and not self.failing and not self.collection_errors and code_ok


@dataclass(slots=True)
class Verdict:
    """What became of a candidate. `seconds` is CPU time of its process, `wall` elapsed time.

    `method`: "swap" (code exchanged in the collected suite), "overlay" (imported anew in a fork) or
    "process" (a pytest process).
    """

    outcome: Outcome
    failing_test: str | None = None
    exception: str | None = None
    message: str | None = None
    results: list[TestResult] = field(default_factory=list)
    seconds: float = 0.0
    wall: float = 0.0
    method: str = "swap"
    failure: Failure | None = None
    reason: str = ""  # why a swap was not exact, where it was not

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED

    @property
    def reached(self) -> set[str]:
        """Ids of the tests that ran, and their files. Where one hangs, those after it did not."""
        ids = {result.nodeid for result in self.results}
        return ids | {name.split("::")[0] for name in ids}


def said(result: TestResult | Verdict | None) -> tuple[str, str]:
    """Exception and message of a failure, without what varies from run to run."""
    if result is None:
        return "", ""
    return result.exception or "", _VARYING.sub("", result.message or "")
