"""Programs judged by the tests of a problem, whatever their kind: in the confined worker, and pass@k over several programs.

The kinds and what is written for each are in `agent.suites`; a problem without tests is judged by its syntax, or by tests that
`agent.generated` makes of its reference.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

from agent.errors import TestsCannotRun, UsageError
from agent.evalsets import write_files
from agent.generated import ASKED, resolved, stub_of
from agent.suites import module_of, program, suite
from tools.calls import Caller
from tools.runner import Runner
from tools.verdicts import Limits, Outcome, RunnerError
from trm.data.formats.problem import Problem, Tests

TEST_SECONDS = 10.0  # CPU time of one test
_CONFIG = b'[tool.pytest.ini_options]\naddopts = ""\n'


@dataclass(frozen=True)
class Judged:
    """What became of one program. test: the first that did not pass; message: why, one line."""

    outcome: Outcome
    test: str = ""
    message: str = ""

    @property
    def passed(self) -> bool:
        """All tests ran and passed."""
        return self.outcome is Outcome.PASSED


def validate(
    problem: Problem, programs: Sequence[str], *, tests: Tests | None = None, python: str = "", seconds: float = TEST_SECONDS
) -> list[Judged]:  # fmt: skip
    """One verdict a program, by `tests` (the problem's hidden ones if None) or, where there are none, by syntax.

    python: interpreter of the tests, this one if "". seconds: CPU time of each test. Raises TestsCannotRun where the suite does
    not run at all, UsageError for tests that cannot be written as a file.
    """
    tests = problem.hidden if tests is None else tests
    if tests.kind == "oracle":
        with Caller(**ASKED) as caller:
            tests = resolved(problem, caller, tests)
    written = suite(problem, tests)
    if written is None:
        raise UsageError(
            f"{problem.source} {problem.task}: its tests are empty or not Python", "leave it out"
        )
    module, file = f"{module_of(problem)}.py", f"test_{module_of(problem)}.py"
    # what is collected with the suite is the reference, or else a stub: no program to be judged
    first = program(problem, problem.code or stub_of(problem) or "\n")
    files = {module: first.encode(), file: written.text(), "pyproject.toml": _CONFIG}
    files |= {path: text.encode() for path, text in [*written.files, *problem.support.items()]}
    judged: list[Judged] = [Judged(Outcome.ERROR)] * len(programs)
    with tempfile.TemporaryDirectory(prefix="trm-judge-", ignore_cleanup_errors=True) as scratch:
        write_files(Path(scratch), files)
        candidates = [
            (i, {module: program(problem, text).encode()}) for i, text in enumerate(programs)
        ]
        try:
            with Runner(
                Path(scratch), python or sys.executable, (), Limits(baseline_seconds=seconds)
            ) as runner:
                found = runner.validate_many(candidates, [file], limit_seconds=seconds)
                for index, verdict in found:
                    ran = verdict.passed and file in verdict.reached
                    said = verdict.message or (
                        "" if ran else f"{verdict.outcome}: {file} did not run"
                    )
                    outcome = verdict.outcome if ran or not verdict.passed else Outcome.ERROR
                    judged[index] = Judged(outcome, verdict.failing_test or "", said.split("\n")[0])
        except RunnerError as error:
            raise TestsCannotRun(f"{problem.source} {problem.task}: {error}", error.hint) from error
    return judged


def pass_at_k(programs: int, right: int, k: int) -> float:
    """Chance that one of k programs drawn from `programs`, `right` of them right, is right: unbiased (Chen et al. 2021).

    Raises ValueError unless 0 <= right <= programs and 1 <= k <= programs.
    """
    if not 0 <= right <= programs or not 1 <= k <= programs:
        raise ValueError(f"{k} of {programs} programs, {right} of them right")
    return 1.0 - comb(programs - right, k) / comb(programs, k)


@dataclass(frozen=True)
class Scored:
    """The programs of one problem and what became of them."""

    task: str
    judged: tuple[Judged, ...]

    @property
    def right(self) -> int:
        """How many passed."""
        return sum(each.passed for each in self.judged)


def read_samples(path: Path) -> dict[str, list[str]]:
    """Programs a task of a JSON-lines file of {"task_id", "solution"}, or "completion" of the stub, as is usual.

    A completion is marked by a leading NUL, for `score` to put after the stub. Raises UsageError.
    """
    samples: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "a JSON-lines file of task_id and solution") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row["solution"] if "solution" in row else "\0" + row["completion"]
            samples.setdefault(str(row["task_id"]), []).append(text)
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{path}:{number}: no program of a task", '{"task_id": ..., "solution": ...}'
            ) from None
    return samples


def score(
    problems: Iterator[Problem], samples: Mapping[str, Sequence[str]], python: str = ""
) -> Iterator[Scored]:
    """Judge the programs of each problem that there are some of. Raises UsageError if a task is none of the set's."""
    missing = dict.fromkeys(samples)
    for problem in problems:
        if problem.task in missing:
            del missing[problem.task]
            texts = [
                problem.stub + text[1:] if text[:1] == "\0" else text
                for text in samples[problem.task]
            ]
            yield Scored(problem.task, tuple(validate(problem, texts, python=python)))
    if missing:
        raise UsageError(
            f"no task {next(iter(missing))!r} in the set", "task_id is that of the set's own rows"
        )
