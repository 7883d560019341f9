"""The direct path: which tests take it, and that it judges as a plain pytest process does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.baseline import prove
from tools.runner import Outcome, Runner

MODULE = """\
import warnings

STATE = {"seen": []}


def double(x):
    return x * 2


def twice_seen(x):
    STATE["seen"].append(double(x))
    return STATE["seen"]


def careful(x):
    if double(x) != 2 * x:
        warnings.warn("no longer double", UserWarning)
    return x
"""

# Tests that may run directly, with and without fixtures that pytest sets up first.
PLAIN = """\
import os
import threading
import unittest

import pytest
import shop

EVENTS = []


def test_function():
    assert shop.double(4) == 8


@pytest.mark.parametrize(("given", "wanted"), [(1, 2), (3, 6)])
def test_parametrized(given, wanted):
    assert shop.double(given) == wanted


def test_module_state_is_new():
    assert shop.twice_seen(1) == [2]


def test_environment():
    assert os.environ["PYTEST_CURRENT_TEST"].startswith("test_plain.py::test_environment")
    os.environ["SHOP"] = str(shop.double(1))
    assert os.environ["SHOP"] == "2"


def test_printing(monkeypatch):
    monkeypatch.setattr(shop, "STATE", {"seen": [0]})
    print(shop.double(1))
    assert shop.twice_seen(1) == [0, 2]


def test_raises():
    with pytest.raises(TypeError):
        shop.double(None)


def test_that_reads_the_text_of_an_assertion():
    with pytest.raises(AssertionError, match="assert 8 == 9"):
        assert shop.double(4) == 9


def test_that_swallows_an_assertion():
    try:
        assert shop.double(4) == 9
    except AssertionError as error:
        assert "where 8 = " in str(error), str(error)


def test_that_returns_what_is_not_none():
    return shop.double(0) or None


def test_that_warns_when_wrong():
    shop.careful(2)


def test_thread():
    found = []

    def work():
        found.append(10 // (shop.double(1) - 3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_unraisable():
    class Thing:
        def __del__(self):
            assert shop.double(2) == 4

    Thing()


class TestMethods:
    size = 3

    def test_method(self):
        self.size += 1
        assert shop.double(self.size) == 8

    def test_other_method(self):
        assert shop.double(self.size) == 6


class TestFixtures:
    def setup_method(self):
        self.value = shop.double(5)

    def teardown_method(self):
        assert self.value == 10

    def test_value(self):
        assert self.value > 1


@pytest.fixture(scope="module")
def table():
    yield {"one": shop.double(1)}
    assert shop.double(1) < 100


@pytest.fixture
def row(table):
    EVENTS.append("row")
    return table["one"]


def test_row(row):
    assert row == 2


def test_table(table, request):
    assert table == {"one": 2} and request.node.name == "test_table"


class Case(unittest.TestCase):
    def setUp(self):
        self.value = shop.double(2)
        self.addCleanup(self.check)

    def check(self):
        self.assertNotEqual(self.value, 6)

    def tearDown(self):
        self.assertIsInstance(self.value, int)

    def test_equal(self):
        self.assertEqual(self.value, 4)

    def test_sub(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertEqual(shop.double(number), number + number)


class CaseWithClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = shop.double(7)

    @classmethod
    def tearDownClass(cls):
        assert cls.shared < 1000

    def test_shared(self):
        self.assertEqual(self.shared, 14)
"""

# Tests that must not: each needs something of pytest around its call.
ODD = """\
import sys
import unittest

import pytest
import shop


@pytest.mark.skip
def test_skipped():
    assert shop.double(1) == 3


@pytest.mark.skipif(sys.maxsize > 0, reason="always")
def test_skipped_if():
    assert shop.double(1) == 3


@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert shop.double(1) == 3


@pytest.mark.xfail
def test_may_fail():
    assert shop.double(1) == 4


def test_captured(capsys):
    print(shop.double(1))
    assert capsys.readouterr().out == "2\\n"


def test_logged(caplog):
    assert caplog.records == [] and shop.double(1) == 2


def test_folder(tmp_path):
    (tmp_path / "a").write_text(str(shop.double(1)))
    assert (tmp_path / "a").read_text() == "2"


@pytest.mark.filterwarnings("ignore")
def test_filtered():
    assert shop.careful(2) == 2


async def test_async():
    assert shop.double(1) == 2


class Case(unittest.TestCase):
    @unittest.expectedFailure
    def test_expected(self):
        self.assertEqual(shop.double(1), 3)

    @unittest.skip("no")
    def test_left_out(self):
        self.assertEqual(shop.double(1), 3)
"""

# Where the outcome is neither a pass nor an ordinary failure, whatever the test is like.
ENDINGS = """\
import sys
import unittest

import pytest
import shop


def test_imperative_skip():
    if shop.double(1) == 2:
        pytest.skip("as it is")


def test_skip_when_wrong():
    if shop.double(1) != 2:
        pytest.skip("wrong")


def test_imperative_xfail():
    if shop.double(1) != 2:
        pytest.xfail("wrong")


def test_skip_test():
    if shop.double(1) != 2:
        raise unittest.SkipTest("wrong")


def test_exit():
    if shop.double(1) != 2:
        sys.exit(3)


def test_fail():
    if shop.double(1) != 2:
        pytest.fail("wrong")


class Case(unittest.TestCase):
    def test_skip_inside(self):
        if shop.double(1) != 2:
            self.skipTest("wrong")

    def test_cleanup_that_fails(self):
        self.addCleanup(lambda: self.assertEqual(shop.double(1), 2))
"""

CANDIDATES = [
    "x * 2", "x * 3", "x + 2", "str(x)", "x / 0", "exit(4)", "x.missing", "-1000 * x", "None",
    "__import__('pytest').skip('here')", "__import__('pytest').fail('here')",
]  # fmt: skip


def project(root: Path, settings: str = "", **files: str) -> Path:
    root.mkdir()
    (root / "shop.py").write_text(MODULE)
    (root / "pytest.ini").write_text("[pytest]\npython_files = test_*.py\n" + settings)
    for name, text in files.items():
        (root / f"{name}.py").write_text(text)
    return root


def changed(new: str) -> dict[str, bytes]:
    return {"shop.py": MODULE.replace("x * 2", new).encode()}


def proven(runner: Runner) -> tuple[list[str], set[str]]:
    """(all tests, those that the direct path is used for)."""
    tests = [result.nodeid for result in runner.baseline().results]
    prove(runner._dispatch, runner._records, tests)
    return tests, runner._records.direct


def disagreements(runner: Runner, tests: list[str], candidates: list[str]) -> list[str]:
    """Where the direct path (where it is proven) and a plain process differ, test by test."""
    found = []
    for new in candidates:
        plain = {each.nodeid: each.outcome for each in runner.confirm(changed(new)).results}
        assert set(plain) == set(tests)
        for test in tests:
            verdict = runner.validate(changed(new), [test])
            assert verdict.method == "swap"
            outcomes = {each.nodeid: each.outcome for each in verdict.results}
            # An error while tearing down after a failure is told by nobody.
            if outcomes != {test: plain[test]}:
                found.append(f"{new}: {outcomes} {plain[test]} {verdict.message}")
    return found


@pytest.mark.parametrize("settings", ["", "filterwarnings = error\n"])
def test_direct_and_plain_judge_alike(tmp_path: Path, settings: str, interpreter: str) -> None:
    root = project(tmp_path / "root", settings, test_plain=PLAIN, test_endings=ENDINGS)
    with Runner(root, interpreter) as runner:
        tests, direct = proven(runner)
        left = {test.partition("::")[2] for test in set(tests) - direct}
        # The first is skipped as it is; the others read a text that is not formatted.
        expected = {
            "test_imperative_skip", "test_that_reads_the_text_of_an_assertion",
            "test_that_swallows_an_assertion", "test_thread",
        }  # fmt: skip
        assert left <= expected and len(direct) >= 26
        # other interpreters: enough to see that they are no other
        some = CANDIDATES if interpreter == sys.executable else CANDIDATES[::3]
        assert disagreements(runner, tests, some) == []


def test_what_needs_the_protocol_takes_it(tmp_path: Path, interpreter: str) -> None:
    root = project(tmp_path / "root", test_odd=ODD)
    with Runner(root, interpreter) as runner:
        tests, direct = proven(runner)
        assert len(tests) == 11 and direct == set()
        assert disagreements(runner, tests, CANDIDATES[:5]) == []


@pytest.mark.parametrize(
    "hook",
    [
        "def pytest_runtest_call(item):\n    pass\n",
        "def pytest_runtest_makereport(item, call):\n    return None\n",
        "import pytest\n\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_pyfunc_call(pyfuncitem):\n"
        "    return None\n",
    ],
)
def test_somebody_elses_hook_rules_the_direct_path_out(tmp_path: Path, hook: str) -> None:
    root = project(tmp_path / "root", test_plain=PLAIN, conftest=hook)
    with Runner(root, sys.executable) as runner:
        assert proven(runner)[1] == set()


def test_plugins_that_leave_plain_tests_alone_do_not(tmp_path: Path, monkeypatch) -> None:
    for name in ("hypothesis", "pytest_asyncio"):
        pytest.importorskip(name)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    text = (
        "import hypothesis\nimport hypothesis.strategies\nimport pytest\nimport shop\n\n\n"
        "@pytest.mark.parametrize('given', [1, 2])\ndef test_double(given):\n"
        "    assert shop.double(given) == given + given\n\n\n"
        "@hypothesis.given(hypothesis.strategies.integers())\ndef test_any(given):\n"
        "    assert shop.double(given) == given + given\n\n\n"
        "@hypothesis.settings(max_examples=3)\ndef test_settings():\n"
        "    assert shop.double(1) == 2\n\n\n"
        "@pytest.mark.asyncio\nasync def test_async():\n    assert shop.double(1) == 2\n"
    )
    root = project(tmp_path / "root", test_one=text)
    with Runner(root, sys.executable, ["-p", "no:xdist"]) as runner:
        tests, direct = proven(runner)
        assert len(tests) == 5
        assert direct == {f"test_one.py::test_double[{given}]" for given in (1, 2)}
        assert disagreements(runner, tests, ["x * 2", "x * 3", "x / 0"]) == []


def test_plugins_that_most_suites_have_do_not_either(tmp_path: Path, monkeypatch) -> None:
    """Limits of time, benchmarks, random order and seeds, coverage, reporters."""
    for name in ("pytest_timeout", "pytest_benchmark", "pytest_randomly", "pytest_cov"):
        pytest.importorskip(name)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    text = (
        "import random\nimport zlib\nimport pytest\nimport shop\n\n\n"
        "def test_double():\n    assert shop.double(4) == 8\n\n\n"
        "def test_seed():\n    seed = 7 + zlib.crc32(b'test_one.py::test_seed')\n"
        "    assert shop.double(random.random()) == 2 * random.Random(seed).random()\n\n\n"
        "@pytest.mark.timeout(9)\ndef test_limited():\n    assert shop.double(4) == 8\n\n\n"
        "@pytest.mark.no_cover\ndef test_uncovered():\n    assert shop.double(4) == 8\n\n\n"
        "def test_fast(benchmark):\n    assert benchmark.pedantic(shop.double, (4,)) == 8\n"
    )
    hook = "def pytest_runtest_logreport(report):\n    print(report.outcome)\n"
    ini = "timeout = 60\naddopts = --cov=shop\n"
    root = project(tmp_path / "root", ini, test_one=text, conftest=hook)
    with Runner(root, sys.executable, ["-p", "no:xdist", "-p", "randomly", "-p", "benchmark", "-p", "timeout",
                                       "-p", "no:cacheprovider", "-p", "no:asyncio", "--randomly-seed=7"]) as runner:  # fmt: skip
        tests, direct = proven(runner)
        assert len(tests) == 5
        assert direct == {f"test_one.py::test_{name}" for name in ("double", "seed", "uncovered")}
        assert any("pytest-cov is switched off" in note for note in runner.baseline().notes)
        assert disagreements(runner, tests, ["x * 2", "x * 3", "x / 0"]) == []
        stream = ((n, changed(f"x * {2 if n % 4 else 3}")) for n in range(60))
        found = dict(runner.validate_many(stream, sorted(direct)))
        assert [found[n].passed for n in range(60)] == [bool(n % 4) for n in range(60)]


def test_a_hook_that_turns_a_failure_is_obeyed(tmp_path: Path) -> None:
    hook = (
        "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n    outcome = yield\n"
        "    report = outcome.get_result()\n    if report.when == 'call':\n"
        "        report.outcome = 'passed'\n"
    )
    text = "import shop\n\n\ndef test_double():\n    assert shop.double(4) == 8\n"
    root = project(tmp_path / "root", test_one=text, conftest=hook)
    with Runner(root, sys.executable) as runner:
        tests, _ = proven(runner)
        assert runner.validate(changed("x * 3"), tests).passed
        assert runner.confirm(changed("x * 3")).green


def test_many_candidates_come_to_use_it(tmp_path: Path) -> None:
    root = project(tmp_path / "root", test_plain=PLAIN)
    with Runner(root, sys.executable) as runner:
        runner.baseline()
        test = "test_plain.py::test_function"
        stream = ((n, changed("x * 2" if n % 3 == 0 else "x * 3")) for n in range(9))
        found = dict(runner.validate_many(stream, [test]))
        assert {n: v.passed for n, v in found.items()} == {n: n % 3 == 0 for n in range(9)}
        assert runner._records.direct == {test}


def test_swapped_and_imported_candidates_side_by_side(tmp_path: Path) -> None:
    root = project(tmp_path / "root", test_plain=PLAIN)
    anew = {"shop.py": (MODULE + "\n\nVERSION = 2\n").encode()}
    with Runner(root, sys.executable) as runner:
        runner.baseline()
        stream = [(n, anew if n % 2 else changed("x * 3")) for n in range(8)]
        found = dict(runner.validate_many(stream, ["test_plain.py::test_function"], jobs=2))
    assert [found[n].method for n in range(8)] == ["swap", "overlay"] * 4
    assert [found[n].passed for n in range(8)] == [False, True] * 4


def test_what_a_candidate_leaves_is_not_there_for_the_next(tmp_path: Path) -> None:
    text = (
        "import os, sys, tempfile\nimport shop\n\n\ndef test_clean():\n"
        "    folder = tempfile.gettempdir()\n    path = os.path.join(folder, 'left')\n"
        "    found = os.path.exists(path), os.listxattr(folder), hasattr(sys, 'left')\n"
        "    open(path, 'w').close()\n    os.setxattr(folder, 'user.left', b'1')\n"
        "    os.chmod(folder, 0o500)\n    sys.left = True\n    print('left')\n"
        "    assert found == (False, [], False) and shop.double(1) == 2\n"
    )
    root = project(tmp_path / "root", test_one=text)
    with Runner(root, sys.executable) as runner:
        tests, direct = proven(runner)
        assert direct == set(tests)
        wanted = {n: "x * 2" if n % 2 else "x * 3" for n in range(8)}
        stream = ((n, changed(new)) for n, new in wanted.items())
        found = dict(runner.validate_many(stream, tests))
    assert {n: v.passed for n, v in found.items()} == {n: bool(n % 2) for n in wanted}


def test_a_candidate_cannot_end_the_process_that_starts_the_next(tmp_path: Path) -> None:
    text = "import shop\n\n\ndef test_double():\n    assert shop.double(1) == 2\n"
    root = project(tmp_path / "root", test_one=text)
    killer = "__import__('os').kill(__import__('os').getppid(), 9) or x * 2"
    with Runner(root, sys.executable) as runner:
        if "landlock" not in runner.guards:
            pytest.skip("there is no Landlock")
        tests, _ = proven(runner)
        stream = ((n, changed(killer if n % 2 else "x * 2")) for n in range(6))
        found = dict(runner.validate_many(stream, tests))
    assert [found[n].outcome for n in range(6)] == [Outcome.PASSED, Outcome.BLOCKED] * 3


def test_output_of_candidates_does_not_add_up(tmp_path: Path) -> None:
    text = (
        "import shop\n\n\ndef test_loud():\n    print('x' * (3 << 20))\n"
        "    assert shop.double(1) == 2\n"
    )
    root = project(tmp_path / "root", test_one=text)
    with Runner(root, sys.executable) as runner:
        tests, _ = proven(runner)
        # 64 MB is what one file may grow to.
        found = [
            v for _, v in runner.validate_many([(n, changed("x * 2")) for n in range(30)], tests)
        ]
    assert all(verdict.passed for verdict in found)
