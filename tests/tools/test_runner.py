"""The runner on the fixture repos: baseline, verdicts, limits, broken suites, dead workers."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tools.dispatch
import tools.runner
from tools import baseline
from tools.link import Link
from tools.records import Records
from tools.runner import Limits, Outcome, Runner, RunnerError, TestResult, Verdict

REPOS = Path(__file__).parent.parent / "fixtures" / "repos"


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def repo(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(REPOS / name, tmp_path / name))

    return copy


def changed(root: Path, path: str, old: str, new: str) -> dict[str, bytes]:
    text = (root / path).read_text()
    assert text.count(old) == 1
    return {path: text.replace(old, new).encode()}


def test_both_servers_greet_in_one_read(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the thread that reads had to wait: a model is compiled meanwhile."""
    receive = Link.receive

    def late(link: Link, timeout: float) -> list[Any]:
        if link._readers.keys() - {fd for fd, _ in link._poll.poll(0)}:
            time.sleep(0.05)
            return []
        return receive(link, timeout)

    monkeypatch.setattr(Link, "receive", late)
    with Runner(repo("flat"), sys.executable, limits=Limits(collect_seconds=20)) as runner:
        assert runner.collected


# name, failing tests, path, old, new: the edit that repairs it
REPAIRS = [
    ("flat", 1, "bank/account.py", "amount >= self.balance", "amount > self.balance"),
    ("src_layout", 1, "src/shapes/area.py", "width + height", "width * height"),
    ("single", 1, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)"),
    ("unittest_style", 1, "cart/__init__.py", "sum(price for", "sum(price * count for"),
    ("own_packages", 1, "agent/__init__.py", "+ 2", "+ 1"),
    ("recursion", 1, "tree.py", "depth(tree) for", "depth(branch) for"),
    ("killer", 2, "service.py", "* 3", "* 2"),
    ("import_time", 2, "units/__init__.py", '"km": 100.0', '"km": 1000.0'),
]


@pytest.mark.parametrize(("name", "failing", "path", "old", "new"), REPAIRS)
def test_repairs_are_recognized(name, failing, path, old, new, repo) -> None:
    root = repo(name)
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        if name == "own_packages":
            assert [r.exception for r in run.results if r.exception] == ["AssertionError"]
        if name != "import_time":
            assert len(run.failing) == failing, run.results
        files = changed(root, path, old, new)
        fixed = [test for test in run.failing if "test_stop" not in test]
        verdict = runner.validate(files, fixed)
        assert verdict.passed, verdict
        assert not runner.validate({path: (root / path).read_bytes()}, fixed).passed
        after = runner.confirm(files, fixed)
        assert after.green and after.exit_code == 0
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before


def test_the_failure_is_described(repo) -> None:
    root = repo("src_layout")
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        failure = run.failures[0]
        assert (failure.exception, failure.operator) == ("AssertionError", "==")
        assert (failure.actual, failure.expected) == ("7", "12")
        assert failure.test_line == "assert shapes.rectangle(3 * unit, 4 * unit) == 12"
        assert failure.frames[-1].path == "tests/test_area.py"
        assert failure.frames[-1].names == {"unit": "1"}
        files = changed(root, "src/shapes/area.py", "width + height", "width + heigth")
        verdict = runner.validate(files, run.failing, want_failure=True)
        assert verdict.failure is not None and verdict.failure.exception == "NameError"
        hints = verdict.failure.suggestions_data
        assert hints["name"] == "heigth" and "height" in hints["locals"]


def test_unittest_comparisons_have_both_sides(repo) -> None:
    with Runner(repo("unittest_style"), sys.executable) as runner:
        failure = runner.baseline().failures[0]
    assert (failure.actual, failure.expected, failure.operator) == ("3", "6", "==")


TOLD = """
class Length:
    def __init__(self, metres):
        self.metres = metres

    def __eq__(self, other):
        return self.metres == other.metres + 1

    def __repr__(self):
        return f"{self.metres} m"
"""
TELLING = """
import unittest
from lengths import Length

def test_equal():
    assert Length(1) == Length(1), Length(2)

def test_text():
    assert repr(Length(3)) == "4 m"

class TestLengths(unittest.TestCase):
    def test_both(self):
        self.assertEqual(Length(1), Length(1))
"""


def test_the_expected_side_may_come_first_and_stand_in_a_doctest(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        'def title(word):\n    """Its title.\n\n    >>> title("a b")\n    \'A b\'\n    """\n    return word\n\n\n'
        'def first(words):\n    """\n    >>> first([])\n    """\n    return words[0]\n'
    )
    (tmp_path / "test_words.py").write_text(
        "import unittest\nimport pytest\nfrom words import title\n\n"
        "@pytest.mark.parametrize(('word', 'made'), [('a', 'A')])\n"
        "def test_plain(word, made):\n    assert made == title(word)\n\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual('A', title('a'))\n"
    )
    with Runner(tmp_path, sys.executable, ["--doctest-modules"]) as runner:
        run = runner.baseline()
    told = {f.nodeid.rpartition("::")[2]: f for f in run.failures}
    for name in ("test_plain[a-A]", "test_it"):
        assert (told[name].actual, told[name].expected) == ("'a'", "'A'")
    example = told["words.title"]
    assert (example.actual, example.expected, example.operator) == ("'a b'", "'A b'", "==")
    assert example.test_line == 'title("a b")'
    assert example.message == ">>> title(\"a b\"): 'a b' is not 'A b'"
    raised = told["words.first"]
    assert (raised.exception, raised.frames[-1].line) == ("IndexError", 14)


def test_what_runs_to_tell_of_a_failure_is_not_covered_by_it(tmp_path: Path) -> None:
    (tmp_path / "lengths.py").write_text(TOLD)
    (tmp_path / "test_lengths.py").write_text(TELLING)
    with Runner(tmp_path, sys.executable) as runner:
        run = runner.baseline()
    assert len(run.failing) == 3
    told = [f.actual for f in run.failures if f.nodeid.endswith("test_equal")]
    assert told == ["1 m"]  # it was told all the same
    covered = {t.partition("::")[2]: run.spectrum.lines_of(t)["lengths.py"] for t in run.failing}
    assert covered == {"test_equal": [4, 7], "test_text": [4, 10], "TestLengths::test_both": [4, 7]}


def test_the_spectrum_names_lines_per_test(repo) -> None:
    with Runner(repo("flat"), sys.executable) as runner:
        run = runner.baseline()
    test = "tests/test_account.py::test_withdraw_too_much"
    assert run.spectrum.lines_of(test)["bank/account.py"] == [12, 13, 14, 23, 24]
    best = run.spectrum.ranked(exclude=["tests/test_account.py"])[0][0]
    assert best == ("bank/account.py", 24)


def test_hangs_and_endings_have_their_outcomes(repo) -> None:
    limits = Limits(baseline_seconds=1.0)
    with Runner(repo("hanging"), sys.executable, limits=limits) as runner:
        run = runner.baseline()
        assert [r.outcome for r in run.results] == [
            Outcome.PASSED, Outcome.TIMEOUT, Outcome.TIMEOUT,
        ]  # fmt: skip
        files = changed(runner.root, "collatz.py", "% 2 == 1", "% 2 == 0")
        assert runner.validate(files, run.failing).passed
    with Runner(repo("killer"), sys.executable) as runner:
        run = runner.baseline()
        assert [r.outcome for r in run.results] == [
            Outcome.PASSED, Outcome.CRASHED, Outcome.FAILED,
        ]  # fmt: skip


SLOW = """\
import time
import wordcount


def test_count():
    assert wordcount.count("a b a") == {"a": 2, "b": 1}


def test_slow():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert wordcount.count("a")
"""


def test_a_slow_test_is_told_from_a_hang(repo, monkeypatch) -> None:
    monkeypatch.setattr(baseline, "QUICK", 0.1)
    monkeypatch.setattr(baseline, "UNTRACED", 2.0)
    root = repo("single")
    (root / "test_wordcount.py").write_text(SLOW)
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        assert [r.outcome for r in run.results] == [Outcome.FAILED, Outcome.PASSED]
        assert run.spectrum.complete
        assert run.spectrum.lines_of("test_wordcount.py::test_slow")["wordcount.py"]


def test_a_slow_test_after_a_hang_is_told_from_it(repo, monkeypatch) -> None:
    monkeypatch.setattr(baseline, "QUICK", 0.1)
    monkeypatch.setattr(baseline, "UNTRACED", 2.0)
    root = repo("single")
    hang = "\n\ndef test_count():\n    while True:\n        pass\n"
    text = SLOW.replace("test_count", "helper").replace(
        "\n\ndef test_slow", f"{hang}\n\ndef test_slow"
    )
    (root / "test_wordcount.py").write_text(text)
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        hung, slow = (each.nodeid for each in run.results)
        assert [r.outcome for r in run.results] == [Outcome.TIMEOUT, Outcome.PASSED]
        assert runner.failing([hung, slow]) == [hung]


@pytest.mark.parametrize("repaired", [True, False])
def test_a_slow_test_that_looked_like_a_hang_costs_no_repair(repo, monkeypatch, repaired) -> None:
    monkeypatch.setattr(baseline, "QUICK", 0.1)
    monkeypatch.setattr(baseline, "UNTRACED", 0.1)
    monkeypatch.setattr(baseline, "SLOWER", 0)  # however slow the machine is
    monkeypatch.setattr(tools.runner, "HELD", 3)
    root = repo("single")
    text = SLOW if repaired else SLOW.replace("test_count", "helper")
    (root / "test_wordcount.py").write_text(text)
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        assert run.results[-1].outcome is Outcome.TIMEOUT and not run.spectrum.complete
        tests = [each.nodeid for each in run.results]
        # Both are cut at first; the one that repairs a test, or the third, settles what it is.
        found = dict(runner.validate_many(((n, good) for n in range(5)), tests))
        assert {n: verdict.outcome for n, verdict in found.items()} == dict.fromkeys(
            range(5), Outcome.PASSED
        )


def test_what_a_cut_test_is_is_not_asked_when_time_is_over(repo, monkeypatch) -> None:
    monkeypatch.setattr(baseline, "QUICK", 0.1)
    monkeypatch.setattr(baseline, "UNTRACED", 0.1)
    monkeypatch.setattr(baseline, "SLOWER", 0)  # however slow the machine is
    root = repo("single")
    (root / "test_wordcount.py").write_text(SLOW)
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    with Runner(root, sys.executable) as runner:
        tests = [each.nodeid for each in runner.baseline().results]
        given = ((n, good) for n in range(4))
        assert dict(runner.validate_many(given, tests, in_time=lambda: False)) == {}


def test_a_hang_that_is_settled_stays_one(repo, monkeypatch) -> None:
    monkeypatch.setattr(baseline, "QUICK", 0.1)
    monkeypatch.setattr(baseline, "UNTRACED", 0.1)
    monkeypatch.setattr(baseline, "SLOWER", 0)  # however slow the machine is
    monkeypatch.setattr(tools.runner, "HELD", 2)
    root = repo("single")
    (root / "test_wordcount.py").write_text(
        "import wordcount\n\n\ndef test_count():\n"
        "    while wordcount.count('a b a') != {'a': 2, 'b': 1}:\n        pass\n"
    )
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    same = {"wordcount.py": (root / "wordcount.py").read_bytes()}
    with Runner(root, sys.executable, limits=Limits(baseline_seconds=0.5)) as runner:
        failing = runner.baseline().failing
        stream = ((n, good if n == 4 else same) for n in range(6))
        found = {n: verdict.outcome for n, verdict in runner.validate_many(stream, failing)}
    assert found == {n: Outcome.PASSED if n == 4 else Outcome.TIMEOUT for n in range(6)}


def test_a_test_that_failed_early_may_take_longer_once_it_is_repaired(repo) -> None:
    root = repo("single")
    (root / "test_wordcount.py").write_text(
        "import time\nimport wordcount\n\n\ndef test_count():\n"
        "    assert wordcount.count('a b a') == {'a': 2, 'b': 1}\n"
        "    end = time.process_time() + 0.3\n    while time.process_time() < end:\n        pass\n"
    )
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    hangs = changed(root, "wordcount.py", "    table = {}", "    table = {}\n    while True: pass")
    with Runner(root, sys.executable) as runner:
        failing = runner.baseline().failing
        stream = ((n, good if n % 2 else hangs) for n in range(4))
        found = dict(runner.validate_many(stream, failing))
    assert [found[n].outcome for n in range(4)] == [Outcome.TIMEOUT, Outcome.PASSED] * 2


def test_more_time_is_given_less_often_where_it_is_in_vain(repo, monkeypatch) -> None:
    monkeypatch.setattr(tools.runner, "LONGER_AT_ONCE", 0.3)
    monkeypatch.setattr(tools.runner, "LONGER_SHARE", 0.0)
    root = repo("single")
    hangs = changed(root, "wordcount.py", "    table = {}", "    table = {}\n    while True: pass")
    with Runner(root, sys.executable) as runner:
        failing = runner.baseline().failing
        verdicts = [v for _, v in runner.validate_many(((n, hangs) for n in range(12)), failing)]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.TIMEOUT}
    assert runner._longer_seconds == runner._records.enough()  # once


def test_limits_follow_what_is_known() -> None:
    records = Records(Limits(cpu_floor=0.1, factor=10.0))
    assert records.limit("t.py::a")[0] == 0.1  # nothing is known

    def known(name: str, outcome: Outcome, seconds: float) -> None:
        records.know([TestResult(name, outcome, seconds)])

    known("t.py::a", Outcome.FAILED, 0.001)
    assert records.limit("t.py::a")[0] == 0.1
    known("t.py::b", Outcome.PASSED, 0.2)
    assert records.limit("t.py::b")[0] == 2.0
    assert records.limit("t.py::a")[0] == 0.4  # a repair may let it run on as long as b
    known("t.py::c", Outcome.TIMEOUT, 1.0)
    assert records.limit("t.py::c")[0] == 2.0  # b is the only measure
    known("u.py::d", Outcome.PASSED, 3.0)
    assert records.limit("t.py::a")[0] == 0.4
    assert records.limit("t.py::c")[0] == 6.0
    assert records.limit("t.py::c", 0.7)[0] == 0.7
    assert records.enough() == 6.0
    records.took([TestResult("t.py::a", Outcome.PASSED, 0.9)])
    assert records.limit("t.py::a")[0] == 1.8


def test_methods(repo) -> None:
    root = repo("import_time")
    with Runner(root, sys.executable) as runner:
        tests = [result.nodeid for result in runner.baseline().results]
        path = "units/__init__.py"

        def method(old: str, new: str) -> str:
            return runner.validate(changed(root, path, old, new), tests).method

        assert method("value * FACTORS[source]", "value + FACTORS[source]") == "swap"
        assert method("other.to(self.unit).value", "other.to(self.unit).value + 0") == "swap"
        assert method("SCALE = 1", "SCALE = 2") == "overlay"
        assert method('unit: str = "m"', 'unit: str = "km"') == "overlay"
        assert method('target="m"', 'target="km"') == "overlay"
        assert method('@register("length")', '@register("mass")') == "overlay"
        assert method("lru_cache(maxsize=None)", "lru_cache(maxsize=0)") == "overlay"
        assert method("REGISTRY[name] = wrapper", "REGISTRY[name] = function") == "overlay"
        # The wrapper was made by a decorator that ran, but has itself not run yet.
        assert method("value, *rest), 6)", "value, *rest), 1)") == "swap"


def test_a_file_that_does_not_compile_is_invalid(repo) -> None:
    root = repo("single")
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        verdict = runner.validate({"wordcount.py": b"def count(:\n"}, run.failing)
    assert (verdict.outcome, verdict.exception) == (Outcome.INVALID, "SyntaxError")


def test_many_with_two_jobs_and_early_close(repo) -> None:
    root = repo("single")
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    bad = {"wordcount.py": (root / "wordcount.py").read_bytes()}
    with Runner(root, sys.executable) as runner:
        failing = runner.baseline().failing
        wanted = {n: good if n % 3 == 0 else bad for n in range(20)}
        found = dict(runner.validate_many(wanted.items(), failing, jobs=2))
        assert {n: v.passed for n, v in found.items()} == {n: n % 3 == 0 for n in wanted}
        stream = runner.validate_many(((n, bad) for n in range(10**9)), failing, jobs=2)
        next(stream)
        stream.close()
        assert runner.validate(good, failing).passed


def test_a_suite_that_does_not_collect(repo) -> None:
    root = repo("single")
    source = (root / "wordcount.py").read_text()
    (root / "wordcount.py").write_text(source.replace("def count(text):", "def count(text)"))
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        error = run.collection_errors[0]
        assert (error.path, error.exception, error.line) == ("wordcount.py", "SyntaxError", 4)
        assert error.collecting == "test_wordcount.py" and not run.green
        fixed = source.replace("table.get(word, 1)", "table.get(word, 0)").encode()
        verdict = runner.validate({"wordcount.py": fixed}, ["test_wordcount.py"])
        assert verdict.passed and verdict.method == "overlay"
        partly = runner.validate({"wordcount.py": source.encode()}, ["test_wordcount.py"])
        assert partly.failing_test == "test_wordcount.py::test_count"


def test_a_missing_module_is_named(repo) -> None:
    root = repo("single")
    (root / "wordcount.py").write_text("import surely_not_installed\n")
    with Runner(root, sys.executable) as runner:
        error = runner.baseline().collection_errors[0]
    assert error.missing_module == "surely_not_installed"


def test_no_pytest_and_no_interpreter(repo, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(RunnerError, match="pytest cannot be imported") as caught:
        Runner(repo("single"), str(bare)).__enter__()
    assert "pip install pytest" in caught.value.hint
    with pytest.raises(RunnerError, match="cannot start"):
        Runner(tmp_path, str(tmp_path / "nothing")).__enter__()


def test_without_a_cache_and_with_warnings_as_errors(repo) -> None:
    """pytest does not know `cache_dir` then, and a warning of that would end it before it collects."""
    root = repo("single")
    (root / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    with Runner(root, sys.executable, ["-p", "no:cacheprovider"]) as runner:
        failing = runner.baseline().failing
        assert len(failing) == 1
        files = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
        assert runner.validate(files, failing).passed
        assert runner.confirm(files).green


def test_a_plugin_that_breaks_pytest_is_told(repo) -> None:
    root = repo("single")
    (root / "conftest.py").write_text(
        "def pytest_configure(config):\n    raise ValueError('no such thing')\n"
    )
    with (
        pytest.raises(RunnerError, match=r"before it has collected: .*ValueError: no such thing"),
        Runner(root, sys.executable),
    ):
        pass


def test_a_loop_at_import_is_reported(repo) -> None:
    root = repo("single")
    (root / "wordcount.py").write_text("while True: pass\n")
    with pytest.raises(RunnerError, match="did not finish collecting") as caught:
        Runner(root, sys.executable, limits=Limits(collect_seconds=2.0)).__enter__()
    assert "loop" in caught.value.hint


def test_suites_that_write_into_the_project(repo) -> None:
    root = repo("single")
    (root / "wordcount.py").write_text(
        "def count(text):\n    open('log.txt', 'a').write(text)\n"
        "    return len(open('log.txt').read())\n"
    )
    (root / "test_wordcount.py").write_text(
        "from wordcount import count\n\n\ndef test_count():\n    assert count('abc') == 3\n"
    )
    with Runner(root, sys.executable) as runner:
        if "mount" not in runner.guards:
            pytest.skip("needs private mounts")
        run = runner.baseline()
        assert run.green and any("write into the project" in note for note in run.notes)
        tests = [run.results[0].nodeid]
        for _ in range(2):  # each candidate finds the project as it was
            assert runner.validate({}, tests).passed
        assert runner.confirm({}).green
    assert not (root / "log.txt").exists()


def test_flaky_tests_are_named(repo) -> None:
    root = repo("single")
    # Fails in the traced baseline, passes in the untraced repetition: the same code, two verdicts.
    (root / "test_wordcount.py").write_text(
        "import sys\n\n\ndef test_mood():\n    assert sys.gettrace() is None\n"
    )
    if sys.version_info >= (3, 12):
        pytest.skip("there is no tracer on this version")
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
    assert run.flaky == ["test_wordcount.py::test_mood"]


def worker_processes(root: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == str(root):
                    found.append(int(entry.name))
            except OSError:
                continue
    return sorted(found)


@pytest.mark.parametrize("which", [0, -1])
def test_a_killed_worker_is_replaced_once(repo, which: int) -> None:
    root = repo("single")
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    with Runner(root, sys.executable) as runner:
        servers = len(worker_processes(root))  # no slot is there yet
        failing = runner.baseline().failing
        first = worker_processes(root)
        os.kill(first[:servers][which], signal.SIGKILL)
        assert runner.validate(good, failing).passed
        # on a busy machine the first worker's processes take a while to end: the second kill is not for them
        for _ in range(100):
            if not set(first) & set(worker_processes(root)):
                break
            time.sleep(0.1)
        os.kill(worker_processes(root)[:servers][which], signal.SIGKILL)
        with pytest.raises(RunnerError, match="died twice"):
            runner.validate(good, failing)
    assert worker_processes(root) == []


@pytest.mark.parametrize("started", [False, True])
def test_a_worker_that_another_thread_starts_is_ended_too(repo, monkeypatch, started: bool) -> None:
    """A run that is interrupted while its first suite begins; its thread may not start what nobody ends."""
    root, making, links = repo("single"), threading.Event(), []

    class Slow(Link):
        def __init__(self, python: str, settings: dict[str, Any]) -> None:
            if not started:
                making.set()
                time.sleep(0.3)
            super().__init__(python, settings)
            links.append(self)
            making.set()

    monkeypatch.setattr(tools.dispatch, "Link", Slow)
    runner, errors = Runner(root, sys.executable), []

    def baseline() -> None:
        try:
            runner.baseline()
        except (RunnerError, OSError) as error:
            errors.append(error)

    thread = threading.Thread(target=baseline)
    thread.start()
    making.wait()
    runner.close()
    thread.join()
    assert errors and len(links) == 1
    assert not links[0].scratch.exists() and worker_processes(root) == []


def test_a_killed_slot_is_replaced_every_time(repo) -> None:
    root = repo("single")
    good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
    with Runner(root, sys.executable) as runner:
        servers = len(worker_processes(root))
        failing = runner.baseline().failing
        for _ in range(3):
            assert runner.validate(good, failing).passed
            for slot in worker_processes(root)[servers:]:
                os.kill(slot, signal.SIGKILL)
        assert runner.validate(good, failing).passed
    assert worker_processes(root) == []


def test_other_interpreters(elsewhere: str, repo) -> None:
    root = repo("flat")
    with Runner(root, elsewhere, limits=Limits(wall_floor=60.0)) as runner:  # on a busy machine
        run = runner.baseline()
        assert len(run.failing) == 1
        files = changed(root, "bank/account.py", "amount >= self.balance", "amount > self.balance")
        assert runner.validate(files, run.failing).method == "swap"
        assert runner.validate(files, run.failing).passed
        rates = changed(root, "bank/interest.py", '"basic": 0.01', '"basic": 0.03')
        verdict = runner.validate(rates, ["tests/test_interest.py::test_default_rate"])
        assert (verdict.outcome, verdict.method) == (Outcome.FAILED, "overlay")
        assert runner.confirm(files).green
        lines = run.spectrum.lines_of("tests/test_account.py::test_withdraw_too_much")
        assert lines["bank/account.py"] == [12, 13, 14, 23, 24]


def test_a_project_that_pytest_itself_imports(tmp_path: Path, monkeypatch) -> None:
    import iniconfig

    root = tmp_path / "root"
    shutil.copytree(
        Path(iniconfig.__file__).parent, root / "iniconfig", ignore=lambda *_: {"__pycache__"}
    )
    (root / "test_ini.py").write_text(
        "import iniconfig\n\n\ndef test_section():\n"
        "    assert iniconfig.IniConfig('x', data='[a]\\nb=1')['a']['b'] == '1'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(root))
    path = "iniconfig/__init__.py"
    data = (root / path).read_bytes()
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        assert run.green
        tests = [run.results[0].nodeid]
        same = runner.validate({path: data + b"\n"}, tests)
        assert same.passed and same.method == "process"
        assert not runner.validate({path: data + b"\nraise RuntimeError\n"}, tests).passed


def test_warnings_that_are_errors_need_an_import(repo) -> None:
    root = repo("single")
    files = changed(root, "wordcount.py", "table.get(word, 1) + 1", "1 is 1 and 2")
    with Runner(root, sys.executable) as runner:
        tests = runner.baseline().failing
        assert runner.validate(files, tests).method == "swap"
    (root / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    with Runner(root, sys.executable) as runner:
        tests = runner.baseline().failing
        verdict = runner.validate(files, tests)
        assert verdict.method == "overlay" and not verdict.passed


def test_plugins_that_spoil_verdicts_are_switched_off(repo, monkeypatch) -> None:
    pytest.importorskip("xdist")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    root = repo("single")
    (root / "pytest.ini").write_text("[pytest]\naddopts = -n 2 --maxfail=1\n")
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        assert any("xdist" in note for note in run.notes)
        assert len(run.results) == 2 and len(run.failing) == 1
        good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
        assert runner.validate(good, run.failing).passed


def test_fixtures_marks_and_state_are_pytests_own(repo) -> None:
    root = repo("single")
    (root / "test_wordcount.py").write_text(
        "import pytest\nimport wordcount\n\nseen = []\n\n\n"
        "@pytest.fixture(scope='module')\ndef table():\n"
        "    yield wordcount.count('a b')\n    seen.append('closed')\n\n\n"
        "@pytest.mark.xfail(strict=True)\ndef test_xfail(table):\n    assert table['a'] == 1\n\n\n"
        "@pytest.mark.skip\ndef test_skip():\n    assert 0\n\n\n"
        "def test_capture(capsys, tmp_path, monkeypatch):\n    print('x')\n"
        "    assert capsys.readouterr().out == 'x\\n'\n"
        "    assert list(tmp_path.iterdir()) == [] and seen == []\n"
        "    monkeypatch.setattr(wordcount, 'count', dict)\n\n\n"
        "def test_after():\n    assert wordcount.count('a') != {}\n"
    )
    with Runner(root, sys.executable) as runner:
        run = runner.baseline()
        outcomes = [result.outcome for result in run.results]
        assert outcomes == [Outcome.SKIPPED, Outcome.SKIPPED, Outcome.PASSED, Outcome.PASSED]
        # Repaired code makes the strict xfail fail, as it would for pytest.
        good = changed(root, "wordcount.py", "table.get(word, 1)", "table.get(word, 0)")
        verdict = runner.validate(good, [run.results[0].nodeid])
        assert verdict.outcome is Outcome.FAILED
        assert runner.confirm(good).exit_code == 1
        assert runner.confirm({}).exit_code == 0


@pytest.mark.parametrize("where", ["conftest", "module"])
def test_a_project_that_writes_into_its_folder_while_it_is_imported(tmp_path, where):
    log = "import pathlib\nLOG = open(pathlib.Path(__file__).parent / 'run.log', 'a')\nLOG.write('begun')\n"
    (tmp_path / "conftest.py").write_text(log if where == "conftest" else "")
    (tmp_path / "box.py").write_text(
        (log if where == "module" else "") + "def one():\n    return 1\n"
    )
    (tmp_path / "test_box.py").write_text(
        "import pathlib\nfrom box import one\n\n"
        "def test_one():\n    assert one() == 1\n\n"
        "def test_writes():\n    pathlib.Path('out.txt').write_text('x')\n    assert one() == 1\n"
    )
    broken = (tmp_path / "box.py").read_bytes().replace(b"return 1", b"return 2")
    with Runner(tmp_path, sys.executable) as runner:
        if "read_only" not in runner.guards or "landlock" not in runner.guards:
            pytest.skip("the guards that this is about are missing here")
        assert runner.collection_errors == []
        run = runner.baseline()
        assert [result.outcome for result in run.results] == [Outcome.PASSED] * 2
        tests = [result.nodeid for result in run.results]
        verdict = runner.validate({"box.py": broken}, tests, stop_at_first=False)
        assert [result.outcome for result in verdict.results] == [Outcome.FAILED] * 2
    assert not (tmp_path / "run.log").exists() and not (tmp_path / "out.txt").exists()


def test_what_is_imported_anew_is_collected_in_the_suites_order(tmp_path) -> None:
    """Two modules of one name: which one is found depends on whose folder pytest puts on the path first."""
    files = {
        "lib.py": "VALUE = 1\n",
        "main.py": "import lib\n\nSCALE = 1\n\n\ndef value():\n    return lib.VALUE * SCALE\n",
        "sub/lib.py": "VALUE = 2\n",
        "sub/test_sub.py": "import lib\n\n\ndef test_sub():\n    assert lib.VALUE == 2\n",
        "tests/test_main.py": "import main\n\n\ndef test_main():\n    assert main.value() == 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    changed_text = files["main.py"].replace("SCALE = 1", "SCALE = 1 + 0").encode()
    with Runner(tmp_path, sys.executable) as runner:
        assert runner.baseline().failing == []
        tests = ["tests/test_main.py::test_main", "sub/test_sub.py::test_sub"]
        verdict = runner.validate({"main.py": changed_text}, tests)
    assert (verdict.outcome, verdict.method) == (Outcome.PASSED, "overlay")


@pytest.mark.parametrize("of_the_project", [False, True])
def test_plugins_are_imported_once_for_all_that_import_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_the_project: bool
) -> None:
    root, site = tmp_path / "project", tmp_path / "site"
    root.mkdir()
    info = site / "helper-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: helper\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pytest11]\nhelper = helper\n")
    own = "import box\n" if of_the_project else ""
    (site / "helper.py").write_text(f"{own}import os\n\nPROCESS = os.getpid()\n")
    (root / "box.py").write_text("SIZE = 1\n")
    (root / "test_box.py").write_text(
        "import os\nimport box\nimport helper\n\ndef test_size():\n    assert box.SIZE == 0 and os.getpid() != helper.PROCESS\n"
    )
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.setenv("PYTHONPATH", str(site))
    with Runner(root, sys.executable, jobs=1) as runner:
        assert runner.baseline().failing == ["test_box.py::test_size"]
        stream = ((n, {"box.py": b"SIZE = 0\n"}) for n in range(4))
        verdicts = [v for _, v in runner.validate_many(stream, ["test_box.py::test_size"])]
    assert {v.method for v in verdicts} == {"overlay"}
    outcomes = [v.outcome for v in verdicts]
    later = Outcome.FAILED if of_the_project else Outcome.PASSED
    assert outcomes == [Outcome.FAILED, later, later, later]


def test_what_runs_when_time_is_over_is_ended(tmp_path: Path) -> None:
    """However much time its test would have: whoever asked is told nothing of it."""
    (tmp_path / "wait.py").write_text("import time\n\ndef wait(x):\n    return x\n")
    (tmp_path / "test_wait.py").write_text(
        "import wait\ndef test_wait():\n    assert wait.wait(1) == 2\n"
    )
    with Runner(tmp_path, sys.executable, jobs=1) as runner:
        (test,) = runner.baseline().failing
        slow = changed(tmp_path, "wait.py", "return x", "time.sleep(60)")
        end = time.monotonic() + 1.0
        stream = [(n, slow) for n in range(3)]
        in_time = lambda: time.monotonic() < end  # noqa: E731
        verdicts = runner.validate_many(stream, [test], limit_seconds=30.0, in_time=in_time)
        assert list(verdicts) == []
        assert time.monotonic() - end < 20.0
        right = changed(tmp_path, "wait.py", "return x", "return x + 1")
        assert runner.validate(right, [test]).passed


def test_what_ran_during_import_is_looked_at_before_it_is_postponed(tmp_path: Path) -> None:
    """Exchanged all the same: only what repairs a test so has the project imported anew, which alone decides."""
    (tmp_path / "scale.py").write_text(
        "def scale(x):\n    return x + 1\n\ndef cut(x):\n    return x\n\nTABLE = [scale(3), cut(8)]\n"
    )
    (tmp_path / "test_scale.py").write_text(
        "from scale import TABLE, cut, scale\n"
        "def test_call():\n    assert scale(3) == 6\n"
        "def test_kept():\n    assert TABLE[0] == 6\n"
        "def test_old():\n    assert cut(8) == 4 and TABLE[1] == 8\n"
    )
    call, kept, old = (f"test_scale.py::test_{name}" for name in ("call", "kept", "old"))
    with Runner(tmp_path, sys.executable, jobs=1) as runner:
        assert runner.baseline().failing == [call, kept, old]

        def judge(before: str, after: str, tests: list[str]) -> Verdict:
            files = changed(tmp_path, "scale.py", before, after)
            return dict(runner.validate_many([(0, files)], tests, exact=lambda key: True))[0]

        right = judge("x + 1", "x * 2", [call, kept])
        assert right.outcome is Outcome.PASSED and right.method == "overlay"
        wrong = judge("x + 1", "x + 2", [call, kept])
        assert (
            wrong.outcome is Outcome.POSTPONED
            and len(wrong.results) == 1
            and "import" in wrong.reason
        )
        unseen = judge("x + 1", "x * 2", [kept])
        assert unseen.outcome is Outcome.POSTPONED, "the table is still that of the old code"
        lucky = judge("return x\n", "return x // 2\n", [old])
        assert lucky.outcome is Outcome.FAILED and lucky.method == "overlay", (
            "it only seemed to pass"
        )


def test_what_needs_an_import_is_postponed_on_demand(repo) -> None:
    root = repo("import_time")
    with Runner(root, sys.executable) as runner:
        tests = runner.baseline().failing
        good = changed(root, "units/__init__.py", '"km": 100.0', '"km": 1000.0')
        first, second = (
            dict(runner.validate_many([(0, good)], tests, exact=lambda key, yes=yes: yes))[0]
            for yes in (True, False)
        )
    assert first.outcome is Outcome.POSTPONED and first.reason and len(first.results) == 1
    assert second.passed and second.method == "overlay"
