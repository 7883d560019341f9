"""What every data set is read as: one problem, with whatever of prompt, program, bug and tests its set publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

KINDS = ("none", "asserts", "check", "unittest", "stdin", "call", "oracle", "context")


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests as published, not yet a test file. `kind` says how `cases` are to be run:

    asserts    cases are bodies of test functions; `setup` runs before each
    check      one case: a program that defines check(candidate)
    unittest   one case: a module of unittest classes that names the entry point
    stdin      cases are (input, output) texts of a whole program
    call       cases are (arguments, result) of the entry point, Python expressions
    oracle     cases are (arguments, ""): the reference tells what is right
    context    one case: a program that defines test_execution(source) and perhaps test_string(source)

    tolerance: of floats, relative and absolute. Above 0 a tuple equals a list of the same values: such sets carry JSON.
    """

    __test__ = False  # pytest: not a test class

    kind: str = "none"
    cases: tuple[tuple[str, str], ...] = ()
    setup: str = ""
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of tests {self.kind!r}")

    def __bool__(self) -> bool:
        return bool(self.cases)


NO_TESTS = Tests()


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of the set `source`. Every text may be empty where the set has no such thing.

    task: its id within the set. prompt: what is asked, in words or as a stub. stub: code that a solution begins with. code: a
    right program, whole. buggy: a wrong one. entry_point: the function under test, "Solution.f" for a method. visible:
    published examples; hidden: the tests that judge. support: further files by relative path.
    """

    source: str
    task: str
    prompt: str = ""
    stub: str = ""
    code: str = ""
    buggy: str = ""
    entry_point: str = ""
    visible: Tests = NO_TESTS
    hidden: Tests = NO_TESTS
    licence: str = ""
    bug_type: str = ""
    support: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line, ASCII."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_record(record: Mapping[str, object]) -> Problem:
        """The inverse of `to_json`, after JSON. Raises ValueError or TypeError."""
        names = {each.name for each in fields(Problem)}
        if not names >= record.keys():
            raise ValueError(f"unknown field {sorted(record.keys() - names)[0]!r}")
        known = dict(record)
        for name in ("visible", "hidden"):
            known[name] = _tests_of(known.get(name))
        support = known.setdefault("support", {})
        texts = [
            value for name, value in known.items() if name not in ("visible", "hidden", "support")
        ]
        if not isinstance(support, dict) or not all(
            isinstance(t, str) for t in [*texts, *support.values()]
        ):
            raise TypeError("a field is not text")
        return Problem(**known)  # type: ignore[arg-type]


def _tests_of(record: object) -> Tests:
    if record is None:
        return NO_TESTS
    if not isinstance(record, dict):
        raise TypeError("tests are not an object")
    cases = tuple((str(given), str(wanted)) for given, wanted in record.get("cases", ()))
    return Tests(**{**record, "cases": cases})
