"""Of two long values a failure tells the part in which they differ, and never fails itself."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "tools" / "worker" / "failures.py"
spec = importlib.util.spec_from_file_location("worker_failures_under_test", PATH)
assert spec is not None and spec.loader is not None
failures: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(failures)

MANY = {f"key{n}": n for n in range(20)}
LONG = "abcdefghij" * 12


class Box:
    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


class Odd(list):
    def __getitem__(self, index: Any) -> Any:
        raise ValueError(index)


@pytest.mark.parametrize(
    ("actual", "expected", "sides"),
    [
        ([1, 2], [2, 1], ("[1, 2]", "[2, 1]")),
        (None, LONG, None),
        ({**MANY, "key3": 7}, MANY, ("7", "3")),
        ({**MANY, "key3": 7, "new": 1}, MANY, ("{'key3': 7, 'new': 1}", "{'key3': 3}")),
        ({"all": [MANY, {**MANY, "n": []}]}, {"all": [MANY, {**MANY, "n": [1]}]}, ("[]", "[1]")),
        ([*range(40), 7], [*range(40), 8, 9], ("[7]", "[8, 9]")),
        ([5, *range(40)], [*range(40)], None),
        (LONG + "x", LONG + "y", ("'abcdefghijx'", "'abcdefghijy'")),
        (set(range(40)), set(range(1, 41)), ("{0}", "{40}")),
        ([Box(a=1, b=LONG)], [Box(a=2, b=LONG)], ("1", "2")),
        (Odd(range(80)), Odd(range(1, 90)), None),
    ],
)
def test_the_part_that_differs(actual: object, expected: object, sides: Any) -> None:
    whole = failures.short(actual, 400), failures.short(expected, 400)
    assert failures.sides(actual, expected) == (sides or whole)


def test_a_statement_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "def test():\n    assert f(\n        1,\n    ) == [\n        2,\n    ]\n    with g(\n        3\n    ):\n        h()\n"
    )
    told = [failures.statement_at(str(path), line) for line in (1, 2, 5, 7, 10, 99, 0)]
    statement = "assert f( 1, ) == [ 2, ]"
    assert told == ["def test():", statement, "2,", "with g( 3 ):", "h()", "", ""]
    path.write_text("assert (\n    1\n")
    assert failures.statement_at(str(path), 1) == "assert ("
    assert failures.statement_at(str(tmp_path / "gone.py"), 1) == ""
