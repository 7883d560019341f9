"""One request to the test worker on its way: what was asked, what came back, the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.verdicts import Failure, Frame, Outcome, TestResult, Verdict

NOT_PASSED = (Outcome.FAILED, Outcome.ERROR, Outcome.BLOCKED, Outcome.TIMEOUT, Outcome.CRASHED)
NOTHING_COLLECTED = 5  # pytest's exit code


@dataclass(slots=True)
class Answer:
    """What a child reported so far."""

    results: list[TestResult] = field(default_factory=list)
    extras: list[dict[str, Any]] = field(default_factory=list)  # beside `results`
    failures: list[Failure] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)  # of collection
    invalid: list[str] | None = None  # [exception, message] of a file that does not compile
    missing: list[str] = field(default_factory=list)  # wanted tests that were not collected
    inexact: str = ""  # why this server cannot judge it
    doubtful: str = ""  # the test that needs pytest's whole protocol, texts included
    broken: str = ""  # a traceback of the worker itself
    partial: dict[str, list[int]] = field(default_factory=dict)  # lines of the test that goes on
    behaviour: dict[str, str] | None = None
    done: dict[str, Any] | None = None
    end: dict[str, Any] | None = None

    def take(self, kind: bytes, data: Any) -> None:
        """Takes a frame of the worker."""
        if kind == b"R":
            nodeid, outcome, cpu, wall, exception, message, extra = data
            found = Outcome(outcome)
            if extra.get("blocked") and found in (Outcome.FAILED, Outcome.ERROR):
                found = Outcome.BLOCKED
            self.results.append(
                TestResult(nodeid, found, cpu, wall, exception=exception, message=message)
            )
            self.extras.append(extra)
            self.partial = {}
        elif kind == b"P":
            self.partial = data
        elif kind == b"F":
            frames = [Frame(**frame) for frame in data.pop("frames")]
            self.failures.append(Failure(frames=frames, **data))
        elif kind == b"N":
            self.inexact = data
        elif kind == b"A":
            self.doubtful = data
        elif kind == b"I":
            self.invalid = data
        elif kind == b"C":
            self.missing = data[0]
        elif kind == b"L":
            self.errors += data
        elif kind == b"O":
            self.errors.append(_collection_text(*data))
        elif kind == b"V":
            self.behaviour = data
        elif kind == b"D":
            self.done = data
        elif kind == b"X":
            self.broken = data
        elif kind == b"E":
            self.end = data

    def close(self) -> None:
        """Adds the test in which the process was cut or ended by itself, if it was in one."""
        end = self.end or {}
        if end.get("current") is not None and self.done is None:
            outcome = Outcome.TIMEOUT if end["timeout"] else Outcome.CRASHED
            self.results.append(
                TestResult(end["current"], outcome, end["cpu"], message=self.ending())
            )
            self.extras.append({"cut": True, "lines": self.partial})

    def ending(self) -> str:
        """How the process ended, in words."""
        end = self.end or {}
        if end.get("timeout"):
            return "took too long and was cut"
        if end.get("signal"):
            return f"the process was ended by signal {end['signal']}"
        return f"the process ended by itself with code {end.get('exit')}"


def _collection_text(nodeid: str, text: str) -> dict[str, Any]:
    lines = [line for line in text.splitlines() if line.startswith("E ")] or text.splitlines()
    name, _, message = (lines or [""])[-1].removeprefix("E ").strip().partition(": ")
    return {
        "path": nodeid, "exception": name, "message": message, "line": None,
        "missing_module": None, "collecting": nodeid,
    }  # fmt: skip


@dataclass(slots=True)
class Task:
    """A candidate (or a baseline) on its way through the worker.

    `options` is the request as the worker reads it; `method` as in Verdict.
    """

    key: Any
    files: Mapping[str, bytes]
    tests: Sequence[str]
    options: dict[str, Any]
    method: str = "swap"
    reason: str = ""  # why a swap was not exact
    deaths: int = 0  # workers that ended while this ran
    placed: bool = False
    exact: bool = False  # only where the code can be exchanged in the collected suite
    guess: bool = False  # or where it repairs a test if it is exchanged though it ran during import: that is worth an import
    doubted: frozenset[str] = frozenset()  # tests that may only be slow where they are cut
    answer: Answer = field(default_factory=Answer)
    began: float = field(default_factory=time.perf_counter)

    def patience(self) -> float:
        """The longest time in seconds that the worker may be silent about it."""
        walls = [wall for _, wall in self.options["limits"].values()]
        return max([*walls, self.options["limit"][1], self.options["setup_wall"]])

    def verdict(self, own: Mapping[str, TestResult]) -> Verdict:
        """The verdict; `own` has the tests' results in the baseline."""
        answer = self.answer
        end = answer.end or {}
        verdict = Verdict(
            Outcome.PASSED, results=answer.results, seconds=end.get("cpu", 0.0),
            method=self.method, wall=time.perf_counter() - self.began, reason=self.reason,
            failure=answer.failures[0] if answer.failures else None,
        )  # fmt: skip
        if self.exact and (answer.inexact or self.options["guess"]):
            verdict.outcome, verdict.reason = Outcome.POSTPONED, answer.inexact or self.reason
            return verdict
        if answer.invalid is not None:
            verdict.outcome = Outcome.INVALID
            verdict.exception, verdict.message = answer.invalid
            return verdict
        for result in answer.results:
            if result.outcome in NOT_PASSED:
                verdict.outcome, verdict.failing_test = result.outcome, result.nodeid
                verdict.exception, verdict.message = result.exception, result.message
                return verdict
        if answer.done is None:
            verdict.outcome = Outcome.TIMEOUT if end.get("timeout") else Outcome.CRASHED
            verdict.failing_test = end.get("current")
            verdict.message = answer.broken or answer.ending()
        elif answer.errors:
            verdict.outcome = Outcome.ERROR
            verdict.exception = answer.errors[0]["exception"]
            verdict.message = answer.errors[0]["message"]
        elif answer.missing:
            verdict.outcome, verdict.failing_test = Outcome.ERROR, answer.missing[0]
            verdict.message = "not collected"
        elif answer.done.get("code", 0) not in (0, NOTHING_COLLECTED):
            verdict.outcome = Outcome.ERROR
            verdict.message = f"pytest ended with exit code {answer.done['code']}"
        elif not answer.results:
            verdict.outcome, verdict.message = Outcome.ERROR, "nothing was run"
        else:
            self._newly_skipped(verdict, own)
        return verdict

    @staticmethod
    def _newly_skipped(verdict: Verdict, own: Mapping[str, TestResult]) -> None:
        for result in verdict.results:
            before = own.get(result.nodeid)
            ran_before = before is None or before.outcome is not Outcome.SKIPPED
            if result.outcome is Outcome.SKIPPED and ran_before:
                verdict.outcome, verdict.failing_test = Outcome.SKIPPED, result.nodeid
                return
