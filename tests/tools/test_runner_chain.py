"""Several candidates in one process: verdicts are those of a process each, whatever the candidates leave behind."""

import sys
from pathlib import Path

import pytest

from tools.runner import Runner
from tools.verdicts import Outcome

CODE = """\
import random

SEEN = []


class Box:
    shared = {}


def total(numbers, extra=[]):
    result = 0
    for number in numbers:
        result -= number
    return result + len(SEEN) + len(extra) + len(Box.shared)
"""
TESTS = """\
import pytest
from sums import total


@pytest.mark.parametrize("numbers", [[3, 1, 2], [1]])
def test_total(numbers):
    assert total(numbers) == {3: 6, 1: 1}[len(numbers)]


def test_nothing():
    assert total([]) == 0
"""
RIGHT = CODE.replace("result -= number", "result += number")
TRACES = (
    "SEEN.append(number)", "extra.append(1)", "numbers.append(1)", "Box.shared[1] = 1", "random.random()",
    "import os; os.environ['LEFT'] = '1'", "total.calls = 1", "Box.shared = {1: 1}", "global SEEN; SEEN = [1]",
    "import threading; threading.Thread(target=lambda: __import__('time').sleep(9)).start()",
    "open('/tmp/left', 'w').close()", "del numbers[:]", "while True: pass", "import os; os._exit(3)", "raise SystemExit",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sums.py").write_text(CODE)
    (folder / "test_sums.py").write_text(TESTS)
    return folder


def wrong(statement: str) -> bytes:
    return CODE.replace("result -= number", statement).encode()


def test_traces_of_one_candidate_do_not_reach_the_next(root: Path) -> None:
    """The right candidate comes after each that leaves a trace, many harmless ones between."""
    files: list[bytes] = [wrong(f"result -= {n}") for n in range(40)]
    for statement in TRACES:
        files += [wrong(statement), RIGHT.encode(), wrong("result = 0"), RIGHT.encode()]
    with Runner(root, sys.executable, jobs=1) as runner:
        failing = runner.baseline().failing
        assert len(failing) == 2
        candidates = ((n, {"sums.py": data}) for n, data in enumerate(files))
        verdicts = dict(runner.validate_many(candidates, failing))
        assert sorted(verdicts) == list(range(len(files)))
        for number, data in enumerate(files):
            passed = verdicts[number].passed
            assert passed == (data == RIGHT.encode()), (number, data, verdicts[number])
        alone = {n: runner.validate({"sums.py": files[n]}, failing) for n in range(40, len(files))}
    for number, verdict in alone.items():
        assert verdict.outcome is verdicts[number].outcome, (files[number], verdict)
    hang = files.index(wrong("while True: pass"))
    assert verdicts[hang].outcome is Outcome.TIMEOUT
    assert verdicts[files.index(wrong("import os; os._exit(3)"))].outcome is Outcome.CRASHED


def test_candidates_share_a_process_where_nothing_is_left(root: Path) -> None:
    (root / "sums.py").write_text(CODE + "\n\ndef pid():\n    import os\n    return os.getpid()\n")
    (root / "test_sums.py").write_text(
        "from sums import pid, total\n\n\ndef test_total():\n    assert total([1]) == 1, pid()\n"
    )
    text = (root / "sums.py").read_text()
    with Runner(root, sys.executable, jobs=1) as runner:
        failing = runner.baseline().failing
        candidates = (
            (n, {"sums.py": text.replace("-= number", f"-= {n + 5}").encode()}) for n in range(80)
        )
        said = [verdict.message for _, verdict in runner.validate_many(candidates, failing)]
    assert len(said) == 80
    assert len(set(said)) < 40, "each process has a number of its own"


UNITTEST = """\
import sums
import unittest


class Sums(unittest.TestCase):
    def test_total(self):
        self.assertEqual(sums.total([1]), 1, sums.pid())
"""
MIXED = """\
import sums


def test_total():
    assert sums.total([1]) == 1, sums.pid()


def test_folder(tmp_path):
    assert sums.total([2, 3]) == 5
"""
SEEDED = """\
import random
import sums


def test_total():
    assert sums.total([1 + int(random.random())]) == 1, sums.pid()
"""


CACHED = """\
import functools
import sums


@functools.lru_cache
def numbers(n):
    return tuple(range(n))


numbers(1)


def test_total():
    assert sums.total(numbers(2)) == 1, sums.pid()
"""


@pytest.mark.parametrize("tests", [UNITTEST, MIXED, SEEDED, CACHED])
def test_most_suites_leave_nothing(root: Path, tests: str) -> None:
    """Methods of unittest; a test that needs pytest's protocol after one that does not; random numbers; caches."""
    text = CODE + "\n\ndef pid():\n    import os\n    return os.getpid()\n"
    (root / "sums.py").write_text(text)
    (root / "test_sums.py").write_text(tests)
    right = text.replace("-= number", "+= number").encode()
    with Runner(root, sys.executable, jobs=1) as runner:
        failing = sorted(runner.baseline().failing, key=lambda test: "folder" in test)
        files = [text.replace("-= number", f"-= {n + 5}").encode() for n in range(80)]
        files[40] = right
        candidates = ((n, {"sums.py": data}) for n, data in enumerate(files))
        found = dict(runner.validate_many(candidates, failing))
    assert [n for n, verdict in found.items() if verdict.passed] == [40]
    said = {verdict.message.split()[-1] for n, verdict in found.items() if n != 40}
    assert len(said) < 40, "each process has a number of its own"


def test_a_candidate_that_changes_much_may_come_after_those_that_share(root: Path) -> None:
    """It is prepared in a process of its own, so that it is not known beforehand whether it could share."""
    much = RIGHT + "".join(f"\n\ndef more_{n}():\n    return {n}\n" for n in range(3000))
    files = [*(wrong(f"result -= {n}") for n in range(40)), much.encode()] * 2
    with Runner(root, sys.executable, jobs=1) as runner:
        failing = runner.baseline().failing
        candidates = ((n, {"sums.py": data}) for n, data in enumerate(files))
        verdicts = dict(runner.validate_many(candidates, failing))
    assert [n for n, verdict in verdicts.items() if verdict.passed] == [40, 81]
