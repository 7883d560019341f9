"""A first run of a suite as bytes, and back: what a later run of the same code need not find out again.

What passed is believed, what failed is run once more: it must fail as it did.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from typing import Any, Protocol

from tools import fingerprint
from tools.baseline import Baseline, repeatable
from tools.dispatch import Dispatcher
from tools.records import Records
from tools.spectrum import Spectrum
from tools.verdicts import Failure, Frame, Limits, Outcome, SuiteRun, TestResult

_KEPT = ("seconds", "notes", "rootdir", "configfile", "pytest_version", "python_version")


class Memory(Protocol):
    """Where runs are kept, by key. A dict is one; neither method raises."""

    def get(self, key: str, /) -> bytes | None: ...

    def __setitem__(self, key: str, data: bytes, /) -> None: ...


class Earlier:
    """What earlier runs of the same code told. Made before the code is imported, used after it was collected.

    key: stands for all that a run depends on, "" where that cannot be told.
    """

    def __init__(self, memory: Memory, dispatch: Dispatcher, limits: Limits) -> None:
        self.memory, self.dispatch, self.limits = memory, dispatch, limits
        self.files, self.key = fingerprint.files_of(dispatch.root), ""

    def _key(self, files: str) -> str:
        dispatch = self.dispatch
        around = fingerprint.surroundings(dispatch.root, dispatch.hello, os.environ)
        settings = {**dispatch.settings, "jobs": 0}
        parts = [files, around, dispatch.python, settings, dataclasses.asdict(self.limits)]
        return fingerprint.digest_of(parts) if files and around else ""

    def find(self) -> tuple[SuiteRun, Records] | None:
        """The run and what it told of each test.

        None where there is none, pytest collects something else now, or a test that failed does not fail as it did.
        """
        self.key = self._key(self.files)
        kept = self.memory.get(self.key) if self.key else None
        records, session = Records(self.limits), self.dispatch.session
        run = unpack(kept, records) if kept else None
        if run is None or session["errors"] or not self._sound(run):
            return None
        if [run.rootdir, run.configfile] != [session.get("rootdir", ""), session.get("configfile")]:
            return None
        before = {test: _ending(records.own[test]) for test in repeatable(run)}
        again = Baseline(self.dispatch, records, run, spectrum=True, seconds=0.0).again()
        if {each.nodeid: _ending(each) for each in again} != before:
            return None
        run.recalled = True
        return run, records

    def _sound(self, run: SuiteRun) -> bool:
        """Whether something failed, all that is collected ran, and nothing was seen to be flaky.

        A green run is not worth keeping: nothing is left to do after it, and what depends on more than code may be red by now.
        """
        whole = [result.nodeid for result in run.results] == list(self.dispatch.order)
        return bool(run.failing) and whole and not run.flaky

    def keep(self, run: SuiteRun, records: Records) -> str:
        """Remember a run, unless something changed meanwhile. Returns the key, "" where nothing was kept."""
        same = self.key and self.key == self._key(fingerprint.files_of(self.dispatch.root))
        if not same or run.collection_errors or not self._sound(run):
            return ""
        self.memory[self.key] = pack(run, records)
        return self.key


def pack(run: SuiteRun, records: Records) -> bytes:
    """The run and what is known of its tests."""
    data = {
        "run": {name: getattr(run, name) for name in _KEPT},
        "results": [dataclasses.astuple(result) for result in run.results],
        "failures": [dataclasses.asdict(failure) for failure in run.failures],
        "spectrum": run.spectrum.to_json(),
        "own": [dataclasses.astuple(result) for result in records.own.values()],
        "extras": records.extras, "late": records.late, "wrote": records.wrote, "open": sorted(records.open),
    }  # fmt: skip
    # ASCII: names of files and reprs may hold what is no text
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode("ascii"), 1)


def unpack(data: bytes, records: Records) -> SuiteRun | None:
    """The run, and its knowledge into `records`; None, and nothing, where these are not bytes of `pack`."""
    try:
        told: Any = json.loads(zlib.decompress(data))
        run = SuiteRun(
            results=[_result(row) for row in told["results"]],
            failures=[_failure(row) for row in told["failures"]],
            collection_errors=[], spectrum=Spectrum.from_json(told["spectrum"]),
            **{name: told["run"][name] for name in _KEPT},
        )  # fmt: skip
        own = [_result(row) for row in told["own"]]
        known = {name: told[name] for name in ("extras", "late", "wrote")}
        still_open = set(told["open"])
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError):
        return None
    records.know(own)
    for name, value in known.items():
        setattr(records, name, value)
    records.open = still_open
    return run


def _ending(result: TestResult) -> tuple[Outcome, str | None]:
    return result.outcome, result.exception


def _result(row: list[Any]) -> TestResult:
    nodeid, outcome, *rest = row
    return TestResult(nodeid, Outcome(outcome), *rest)


def _failure(row: dict[str, Any]) -> Failure:
    return Failure(**{**row, "frames": [Frame(**frame) for frame in row["frames"]]})
