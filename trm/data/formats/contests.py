"""Sets from programming contests: LiveCodeBench, CodeContests, APPS, RunBugRun."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from trm.data.formats.fields import Damaged, Row, checked, listed, name_of, text, unpacked
from trm.data.formats.functions import method_of
from trm.data.formats.problem import NO_TESTS, Problem, Tests
from trm.data.formats.unpickle import decode

FLOATS = 1e-6  # the tolerance of contest judges
_PYTHON3 = 3  # CodeContests' number of the language
_CODENET_PYTHON = (5, "5", "python", "Python", "py", "python3")  # RunBugRun's number and names


def livecodebench(row: Row) -> Problem:
    """Public tests as JSON, private ones as JSON or packed; a call where there is starter code, else a whole program."""
    known = unpacked("metadata", row.get("metadata") or "{}")
    entry = known.get("func_name") if isinstance(known, dict) else None
    entry = f"Solution.{checked('func_name', entry)}" if entry else ""
    prompt = "\n\n".join(
        filter(None, [text(row, "question_title", default=""), text(row, "question_content")])
    )
    private = text(row, "private_test_cases", default="[]")
    hidden = _tests(
        "private_test_cases", private if private.lstrip()[:1] == "[" else decode(private), entry
    )
    return Problem(
        "livecodebench", name_of(row, "question_id"), prompt, text(row, "starter_code", default=""), entry_point=entry,
        visible=_tests("public_test_cases", row.get("public_test_cases"), entry), hidden=hidden,
        licence="", bug_type=text(row, "difficulty", default=""),
    )  # fmt: skip


def _tests(name: str, value: Any, entry: str) -> Tests:
    rows = unpacked(name, value)
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise Damaged(f"{name}: no list of tests")
    pairs = [(text(each, "input"), text(each, "output")) for each in rows]
    if not entry:
        return stdin(pairs)
    cases = []
    for given, wanted in pairs:
        arguments = [_python(name, line) for line in given.split("\n") if line.strip()]
        cases.append((", ".join(arguments), _python(name, wanted)))
    return Tests("call", tuple(cases), tolerance=FLOATS) if cases else NO_TESTS


def _python(name: str, value: str) -> str:
    """JSON as a Python expression."""
    try:
        return repr(json.loads(value))
    except (ValueError, RecursionError):
        raise Damaged(f"{name}: an argument or result is not JSON") from None


def stdin(pairs: Iterable[tuple[str, str]]) -> Tests:
    """Tests of a whole program."""
    cases = tuple(pairs)
    return Tests("stdin", cases, tolerance=FLOATS) if cases else NO_TESTS


def codecontests(row: Row) -> Problem:
    """The first right and the first wrong Python 3 program; private and generated tests are hidden ones."""
    visible, private, generated = (
        _pairs(row, f"{kind}_tests") for kind in ("public", "private", "generated")
    )
    return Problem(
        "codecontests", name_of(row, "name"), text(row, "description"), code=_program(row, "solutions"),
        buggy=_program(row, "incorrect_solutions"), visible=stdin(visible), hidden=stdin([*private, *generated] or visible),
    )  # fmt: skip


def _pairs(row: Row, name: str) -> list[tuple[str, str]]:
    """From {"input": [...], "output": [...]}, as the Parquet files have it, or from a list of pairs."""
    value = row.get(name)
    if value is None:
        return []
    if isinstance(value, dict):
        given, wanted = listed(value, "input", []), listed(value, "output", [])
        if len(given) != len(wanted):
            raise Damaged(f"{name}: {len(given)} inputs and {len(wanted)} outputs")
        return [(checked(name, a), checked(name, b)) for a, b in zip(given, wanted, strict=True)]
    rows = listed(row, name)
    if not all(isinstance(each, dict) for each in rows):
        raise Damaged(f"{name}: no list of tests")
    return [(text(each, "input"), text(each, "output")) for each in rows]


def _program(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, dict):
        return ""
    languages, programs = listed(value, "language", []), listed(value, "solution", [])
    for language, program in zip(languages, programs, strict=False):
        if language in (_PYTHON3, "PYTHON3"):
            return checked(name, program)
    return ""


def apps(row: Row) -> Problem:
    """Solutions and tests are JSON in text, which is empty where there are none."""
    solutions = unpacked("solutions", row.get("solutions") or "[]")
    if not isinstance(solutions, list):
        raise Damaged("solutions: no list")
    code = checked("solutions", solutions[0]) if solutions else ""
    stub = text(row, "starter_code", default="")
    known = unpacked("input_output", row.get("input_output") or "{}")
    if not isinstance(known, dict):
        raise Damaged("input_output: no object")
    given, wanted = listed(known, "inputs", []), listed(known, "outputs", [])
    if len(given) != len(wanted):
        raise Damaged(f"input_output: {len(given)} inputs and {len(wanted)} outputs")
    entry = text(known, "fn_name", default="")
    if entry and (method_of(code) or "class Solution" in stub):
        entry = f"Solution.{entry}"
    hidden = (
        _calls(given, wanted)
        if entry
        else stdin((_joined(a), _joined(b)) for a, b in zip(given, wanted, strict=True))
    )
    return Problem(
        "apps", name_of(row, "problem_id", "id"), text(row, "question"), stub, code, entry_point=entry, hidden=hidden,
        bug_type=text(row, "difficulty", default=""),
    )  # fmt: skip


def _calls(given: Sequence[Any], wanted: Sequence[Any]) -> Tests:
    """Calls. A result comes as it is or alone in a list; the reference harness accepts both, and this takes it out."""
    cases = []
    for arguments, result in zip(given, wanted, strict=True):
        if not isinstance(arguments, list):
            raise Damaged("input_output: an input is no list of arguments")
        alone = isinstance(result, list) and len(result) == 1
        cases.append((", ".join(map(repr, arguments)), repr(result[0] if alone else result)))
    return Tests("call", tuple(cases), tolerance=FLOATS) if cases else NO_TESTS


def _joined(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "\n".join(value)
    return checked("input_output", value)


def runbugrun(row: Row) -> Problem | None:
    """A wrong and a right submission to CodeNet; None: another language."""
    if row.get("language", 5) not in _CODENET_PYTHON:
        return None
    return Problem(
        "runbugrun", f"{name_of(row, 'problem_id')}/{name_of(row, 'id')}", code=text(row, "fixed_code"),
        buggy=text(row, "buggy_code"), hidden=stdin(_pairs(row, "tests")),
    )  # fmt: skip
