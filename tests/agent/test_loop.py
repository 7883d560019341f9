"""The whole loop on small projects: real suites, real processes, the control order, so that no weights decide the outcome."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import loop
from agent.budget import Budget
from agent.errors import CheckpointError, TestsCannotRun, UsageError
from agent.events import (
    CandidateTried,
    Decision,
    Event,
    FailingTest,
    Finished,
    Note,
    PatchFound,
    PatchRejected,
    Started,
    SuiteRan,
    Suspect,
)
from agent.first_run import told
from agent.loop import FixRequest, fix
from agent.search import _not_passed
from tools.runner import Runner
from tools.spectrum import Spectrum
from tools.verdicts import Outcome, SuiteRun, TestResult, Verdict

CALC = "def add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return a * 2\n"
TEST = (
    "from calc import add, twice\n\n\n"
    "def test_add():\n    assert add(2, 3) == 5\n\n\n"
    "def test_twice():\n    assert twice(4) == 8\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """A folder with the files given as `calc="..."` for calc.py."""

    def make(**files: str) -> Path:
        root = tmp_path / "project"
        root.mkdir()
        (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
        for name, text in files.items():
            (root / f"{name}.py").write_text(text)
        return root

    return make


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def request(root: Path, **more) -> FixRequest:
    settings = {
        "python": sys.executable,
        "rank": "ochiai",
        "max_seconds": 120.0,
        "jobs": 1,
        "patience": 0.0,
        **more,
    }
    return FixRequest(root, **settings)


def run(root: Path, **more) -> list[Event]:
    """All events of a run, after what holds of every run was checked."""
    before = content(root)
    events = list(fix(request(root, **more)))
    assert content(root) == before, "a run writes nothing into the tree"
    assert isinstance(events[0], Started)
    assert [type(event) for event in events].count(Finished) == 1
    assert isinstance(events[-1], Finished)
    assert [event.at for event in events] == sorted(event.at for event in events)
    for event in events:
        if isinstance(event, CandidateTried):
            assert not Path(event.path).name.startswith(("test_", "conftest"))
    assert sum(isinstance(event, CandidateTried) for event in events) == events[-1].tried
    return events


def of(events: list[Event], kind: type) -> list:
    return [event for event in events if type(event) is kind]


def passes(root: Path, diff: str) -> bool:
    """Whether a plain pytest run passes once git has applied the diff."""
    subprocess.run(["git", "apply", "-"], cwd=root, input=diff.encode(), check=True)
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def test_a_wrong_operator_is_repaired(project) -> None:
    root = project(calc=CALC, test_calc=TEST)
    events = run(root)
    (patch,), finished = of(events, PatchFound), events[-1]
    assert (finished.status, finished.exit_code) == ("fixed", 0) and finished.diff == patch.diff
    assert patch.paths == ("calc.py",) and patch.turned_green == ("test_calc.py::test_add",)
    assert "-    return a - b" in patch.diff and "+    return a + b" in patch.diff
    (ran,), (red,) = of(events, SuiteRan), of(events, FailingTest)
    assert (ran.passed, ran.failed, ran.errors) == (1, 1, 0)
    assert (red.nodeid, red.path, red.exception) == (
        "test_calc.py::test_add",
        "test_calc.py",
        "AssertionError",
    )
    assert of(events, Suspect)[0].name == "add"
    assert of(events, Decision)[-1].kind == "accept" and of(events, Decision)[-1].bit == 1
    assert passes(root, patch.diff)


def test_a_second_run_takes_over_the_first_and_says_so(project, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = project(calc=CALC, test_calc=TEST)
    without = run(root)
    assert not (tmp_path / "cache").exists()
    first, second = run(root, cache=True), run(root, cache=True)
    for events, recalled in ((without, False), (first, False), (second, True)):
        (ran,) = of(events, SuiteRan)
        assert (ran.passed, ran.failed, ran.recalled) == (1, 1, recalled)
        said = [note.text for note in of(events, Note) if "an earlier run" in note.text]
        assert len(said) == recalled
        assert events[-1].status == "fixed" and events[-1].diff == without[-1].diff
    (root / "calc.py").write_text(CALC.replace("a * 2", "a * 3"))
    (ran,) = of(run(root, cache=True, max_candidates=1), SuiteRan)
    assert (ran.failed, ran.recalled) == (2, False)


def test_what_failed_in_an_earlier_run_is_not_tried_again(project, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = project(calc="def area(a, b):\n    return b * 5 - a\n", test_calc="from calc import area\n\n\n"
                   "def test_area():\n    assert area(2, 3) == 17 and area(1, 1) == 6\n")  # fmt: skip

    def tried(**more) -> tuple[list[tuple[str, str, int]], list[Event]]:
        events = run(root, cache=True, **more)
        return [(e.before, e.after, e.line) for e in of(events, CandidateTried)], events

    every, events = tried(max_candidates=None)
    assert events[-1].status == "fixed" and len(every) > 4
    shutil.rmtree(tmp_path / "cache")
    first, events = tried(max_candidates=2)
    assert (first, events[-1].status) == (every[:2], "not_fixed")
    second, events = tried(max_candidates=2)
    assert second == every[2:4] and of(events, SuiteRan)[0].recalled
    third, events = tried()
    assert third == every[4:] and events[-1].status == "fixed"
    assert any("4 candidates failed in earlier runs" in note.text for note in of(events, Note))
    again, events = tried()  # what passes is judged again, always
    assert again == every[-1:] and events[-1].status == "fixed"
    assert run(root)[-1].tried == len(every)


def test_the_file_that_configures_pytest_is_named():
    for file, words in (
        ("/p/a/tox.ini", "configured by a/tox.ini"),
        (None, "configured by no file"),
    ):
        run = SuiteRun([], [], [], Spectrum(), 0.1, rootdir="/p", configfile=file)
        first = next(told(run, 0.0))
        assert isinstance(first, Note) and first.text == f"pytest's root is /p, it is {words}"


def test_a_patch_that_the_user_turns_down_is_not_the_last(project) -> None:
    """With 2 and 2 a sum, a product and a power are all right to the tests."""
    root = project(calc=CALC, test_calc=TEST.replace("add(2, 3) == 5", "add(2, 2) == 4"))
    asked: list[PatchFound] = []

    def rejected(patch: PatchFound) -> bool:
        asked.append(patch)
        return len(asked) == 1

    events = list(fix(request(root, rejected=rejected)))
    shown = [event for event in events if isinstance(event, (PatchFound, PatchRejected))]
    assert [type(event) for event in shown] == [PatchFound, PatchRejected, PatchFound]
    assert asked == [shown[0], shown[2]] and asked[0].diff != asked[1].diff
    assert isinstance(events[-1], Finished) and events[-1].status == "fixed"
    assert events[-1].diff == asked[1].diff


def test_a_search_whose_patches_are_all_turned_down_says_so(project) -> None:
    root = project(calc=CALC, test_calc=TEST)
    before = content(root)
    more = {"rejected": lambda patch: True, "max_candidates": 40}
    last = list(fix(request(root, **more)))[-1]
    assert (
        isinstance(last, Finished) and last.status == "not_fixed" and "turned down" in last.message
    )
    assert content(root) == before


def test_the_time_that_a_person_takes_is_not_the_searchs() -> None:
    budget = Budget(10.0, None)
    budget.idle = 100.0
    assert 105 < budget.left <= 110


def test_a_green_suite_is_left_alone(project) -> None:
    events = run(project(calc=CALC.replace("-", "+"), test_calc=TEST))
    assert (events[-1].status, events[-1].exit_code) == ("green", 0)
    assert not of(events, CandidateTried) and not events[-1].diff


UNFIXABLE = (
    "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5 and add(2, 3) == 6\n"
)


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_number_of_candidates_is_bounded(project, jobs) -> None:
    finished = run(project(calc=CALC, test_calc=UNFIXABLE), max_candidates=5, jobs=jobs)[-1]
    assert (finished.status, finished.exit_code, finished.tried) == ("not_fixed", 1, 5)
    assert "5 candidates were tried" in finished.message
    assert finished.suspects[0] == "calc.py:2: return a - b"


@pytest.mark.slow
def test_seconds_are_bounded(project) -> None:
    finished = run(project(calc=CALC, test_calc=UNFIXABLE), max_seconds=4.0)[-1]
    assert finished.status == "not_fixed"
    assert "4 s are over" in finished.message or "used up" in finished.message


@pytest.mark.slow
def test_a_used_up_edit_space_is_said(project) -> None:
    calc = "def one():\n    return 2\n"
    test = "from calc import one\n\n\ndef test_one():\n    assert one() == 2 and one() == 3\n"
    finished = run(project(calc=calc, test_calc=test))[-1]
    assert finished.status == "not_fixed" and "the edit space is used up" in finished.message
    assert any("return 2" in line for line in finished.suspects)


def test_a_repair_that_breaks_another_test_is_not_one(project) -> None:
    """`return a - b` to `return 5` passes the first test; the second one, that was green, decides."""
    test = TEST.replace("twice\n", "twice\n\n\ndef test_none():\n    assert add(0, 0) == 0\n")
    events = run(project(calc=CALC, test_calc=test))
    assert events[-1].status == "fixed"
    assert "+    return a + b" in events[-1].diff


@pytest.mark.slow
def test_two_bugs_in_two_functions_are_repaired_together(project) -> None:
    calc = CALC.replace("a * 2", "a * 3")
    root = project(calc=calc, test_calc=TEST)
    events = run(root)
    assert events[-1].status == "fixed", events[-1].message
    assert [d.kind for d in of(events, Decision)].count("combine") >= 1
    (patch,) = of(events, PatchFound)
    assert set(patch.turned_green) == {"test_calc.py::test_add", "test_calc.py::test_twice"}
    assert passes(root, patch.diff)


MACHINE = """

def test_machine():
    import os
    assert twice(1) == 2 and os.environ["NO_SUCH_NAME"]


def test_machine_too():
    import os
    assert twice(0) == 0 and os.environ["NO_SUCH_NAME"]
"""


HERE = """

def test_zero():
    import sys
    assert sum(range(2_000_000))  # so that the other one is asked first
    assert add(3, 2) == 5 and not any("_trm_worker" in name for name in sys.modules)
"""


def test_what_fails_in_the_worker_alone_does_not_hide_a_fix(project) -> None:
    events = run(project(calc=CALC, test_calc=TEST + HERE), max_candidates=20)
    finished = events[-1]
    assert finished.status == "fixed" and "+    return a + b" in finished.diff


@pytest.mark.slow
def test_what_is_not_the_codes_fault_keeps_nothing_from_being_repaired(project) -> None:
    root = project(calc=CALC, test_calc=TEST + MACHINE)
    events = run(root, max_seconds=12.0)
    finished = events[-1]
    (patch,) = of(events, PatchFound)
    assert finished.status == "partly_fixed" and finished.exit_code == 1
    assert patch.turned_green == ("test_calc.py::test_add",)
    assert set(patch.still_red) == {"test_calc.py::test_machine", "test_calc.py::test_machine_too"}
    assert (
        "1 of 3 failing tests turned green" in finished.message and "still fail" in finished.message
    )
    assert "+    return a + b" in patch.diff and finished.diff == patch.diff


RECIPES = """
def show(amount):
    whole, rest = divmod(amount, 4)
    if not rest:
        return str(whole)
    return f"{whole},{rest}/4"


def add(amounts):
    needed = {}
    for name, amount in amounts:
        needed[name] = amount
    return {name: show(amount) for name, amount in needed.items()}
"""
TWO_FAULTS = """
from recipes import add, show


def test_list():
    assert add([("flour", 4), ("milk", 8), ("flour", 8)]) == {"flour": "3", "milk": "2"}


def test_whole():
    assert show(8) == "2"


def test_show():
    assert show(7) == "1 3/4"
"""


@pytest.mark.slow
def test_one_of_two_faults_in_code_that_both_tests_run_is_told_of(project, monkeypatch) -> None:
    """`show` runs in both; its repair is no more than a failed candidate to the other test, which comes first."""
    monkeypatch.setattr(loop, "TOGETHER", 0.0)
    events = run(project(recipes=RECIPES, test_recipes=TWO_FAULTS), max_seconds=25.0)
    (patch,) = of(events, PatchFound)
    assert "test_recipes.py::test_show" in patch.turned_green
    assert '+    return f"{whole} {rest}/4"' in patch.diff
    assert events[-1].status in ("fixed", "partly_fixed")


@pytest.mark.slow
def test_a_patch_after_which_tests_of_the_same_function_fail_is_not_told_of(project) -> None:
    """`return 5` for `return a - b` would turn one of two tests green."""
    test = TEST.replace(
        "twice\n", "twice\n\n\ndef test_no():\n    assert add(1, 1) == 2 and add(1, 1) == 3\n", 1
    )
    events = run(project(calc=CALC, test_calc=test), max_seconds=8.0)
    assert events[-1].status == "not_fixed" and not of(events, PatchFound)


@pytest.mark.slow
def test_causes_that_are_repaired_one_by_one_end_in_a_whole_fix(project, monkeypatch) -> None:
    """As where the first test of several fails for another reason and stands before what an edit repairs."""
    monkeypatch.setattr(loop, "TOGETHER", 0.0)
    calc = CALC.replace("a * 2", "a * 3")
    test = TEST.replace("== 8", "== 8, twice(4).real")
    root = project(calc=calc, test_calc=test)
    events = run(root)
    assert events[-1].status == "fixed", events[-1].message
    (patch,) = of(events, PatchFound)
    assert not patch.still_red and passes(root, patch.diff)


@pytest.mark.slow
def test_a_syntax_error_in_a_source_file_is_repaired(project) -> None:
    root = project(
        calc=CALC.replace("a - b", "a + b").replace("twice(a):", "twice(a)"), test_calc=TEST
    )
    events = run(root)
    assert events[-1].status == "fixed", events[-1].message
    assert "+def twice(a):" in events[-1].diff and passes(root, events[-1].diff)


@pytest.mark.slow
def test_a_misspelt_name_is_repaired_by_what_the_exception_says(project) -> None:
    calc = "def area(width, height):\n    return width * heigth\n"
    test = "from calc import area\n\n\ndef test_area():\n    assert area(2, 3) == 6\n"
    finished = run(project(calc=calc, test_calc=test))[-1]
    assert finished.status == "fixed" and "+    return width * height" in finished.diff
    assert finished.tried <= 6, "before any search"


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        ({"calc": CALC}, "collected no tests", "name the tests"),
        ({"calc": "import no_such_module.part\n", "test_calc": TEST}, "'no_such_module", "pip install no_such_module"),
        ({"calc": CALC, "test_calc": TEST + "def (\n"}, "collection fails in test_calc.py:", "never edited"),
    ],
    ids=["no tests", "missing module", "broken test file"],
)  # fmt: skip
def test_what_no_edit_can_help_is_said(project, files, said, hint) -> None:
    root = project(**files)
    before = content(root)
    with pytest.raises(TestsCannotRun) as caught:
        list(fix(request(root)))
    assert said in str(caught.value) and hint in caught.value.hint
    assert caught.value.exit_code == 3 and content(root) == before


def test_wrong_use_is_told_before_the_first_event(project, tmp_path) -> None:
    root = project(calc=CALC, test_calc=TEST)
    for wrong in (
        request(tmp_path / "nowhere"),
        request(root, rank="best"),
        request(root, python="no-python"),
    ):
        with pytest.raises(UsageError):
            next(iter(fix(wrong)))


@pytest.mark.slow
def test_a_checkpoint_that_is_none_is_told_as_one(project, tmp_path) -> None:
    root = project(calc=CALC, test_calc=TEST)
    with pytest.raises(CheckpointError, match="nothing_here"):
        list(fix(request(root, rank="trm", checkpoint=tmp_path / "nothing_here")))


@pytest.mark.slow
def test_the_models_order_ends_like_any_other(project, checkpoint, monkeypatch) -> None:
    """Weights from nowhere find the one-token bug too: ranking decides when, not whether."""
    from agent import reading
    from agent.events import Interval, RecursionStep

    monkeypatch.setattr(reading, "WAIT_SECONDS", 240.0)
    root = project(calc=CALC, test_calc=TEST)
    events = run(root, rank="trm", checkpoint=checkpoint, max_seconds=240.0)
    assert events[-1].status == "fixed", events[-1].message
    steps, intervals = of(events, RecursionStep), of(events, Interval)
    assert steps and {step.steps for step in steps} == {2}
    assert intervals[0].mass == 1.0 and intervals[0].first <= 2 <= intervals[0].last
    for wide, narrow in itertools.pairwise(intervals):
        assert wide.first <= narrow.first <= narrow.last <= wide.last
    assert passes(root, events[-1].diff)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A model that is there only once the event is set."""
    from agent import reading

    ready = threading.Event()
    load = reading.Reader._load

    def wait_and_load(self: reading.Reader) -> None:
        ready.wait(120)
        load(self)

    monkeypatch.setattr(reading.Reader, "_load", wait_and_load)
    monkeypatch.setattr(reading, "WAIT_SECONDS", 0.2)
    yield ready
    ready.set()


def test_a_model_that_is_late_is_not_waited_for(project, late) -> None:
    from agent.events import RecursionStep

    events = []
    for event in fix(request(project(calc=CALC, test_calc=TEST), rank="trm")):
        events.append(event)
        if isinstance(event, PatchFound):
            late.set()
    assert events[-1].status == "fixed" and not of(events, RecursionStep)
    assert sum("once on a machine" in note.text for note in of(events, Note)) == 1


@pytest.mark.slow
def test_a_late_model_takes_over_and_nothing_is_tried_twice(
    project, late, checkpoint, monkeypatch
) -> None:
    from agent.candidates import Candidate, CostAware
    from agent.events import RecursionStep

    texts = []
    source, postpone = Candidate.source, CostAware.postpone

    def noted(self: Candidate) -> bytes:
        texts.append(source(self))
        return texts[-1]

    def later(self: CostAware, candidate: Candidate, in_vain: bool = False) -> None:
        texts.remove(source(candidate))  # it was not tried
        postpone(self, candidate, in_vain)

    monkeypatch.setattr(Candidate, "source", noted)
    monkeypatch.setattr(CostAware, "postpone", later)
    monkeypatch.setattr("trm.predict.shipped", lambda: checkpoint)
    root = project(calc=CALC, test_calc=UNFIXABLE)
    read, before, after = False, 0, 0
    for event in fix(request(root, rank="trm")):
        read |= isinstance(event, RecursionStep)
        if isinstance(event, CandidateTried):
            before, after = before + (not read), after + read
            if event.number == 20:
                late.set()
            if after == 10:
                break
    assert before >= 20 and after == 10
    assert len(texts) == len(set(texts))


def children(pid: int) -> set[int]:
    """Descendants of a process."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found |= {child} | children(child)
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_closing_the_stream_ends_every_process(project) -> None:
    root = project(calc=CALC, test_calc=UNFIXABLE)
    before, files = children(os.getpid()), content(root)
    events: Iterator[Event] = fix(request(root))
    for event in events:
        if isinstance(event, CandidateTried):
            break
    assert children(os.getpid()) - before, "workers run while candidates are tried"
    events.close()  # type: ignore[attr-defined]
    assert children(os.getpid()) <= before
    assert content(root) == files


@pytest.mark.slow
def test_a_patch_that_a_plain_run_refuses_is_not_told(project, monkeypatch) -> None:
    """The worker and pytest agree in all we know; here the last check is made to see another suite."""
    confirm = loop.Runner.confirm

    def refuse(self, files):
        return confirm(self, {**files, "test_calc.py": b"def test_add():\n    assert 0\n"})

    monkeypatch.setattr(loop.Runner, "confirm", refuse)
    events = run(project(calc=CALC, test_calc=TEST))
    assert events[-1].status == "not_fixed" and not of(events, PatchFound)
    assert "plain pytest run" in events[-1].message and not events[-1].diff


def test_a_test_that_was_not_reached_has_not_passed() -> None:
    results = [
        TestResult("test_a.py::test_one", Outcome.PASSED, 0.0),
        TestResult("test_a.py::test_two", Outcome.TIMEOUT, 1.0),
    ]
    tests = ["test_a.py::test_one", "test_a.py::test_two", "test_b.py::test_three", "test_b.py"]
    cut = Verdict(Outcome.TIMEOUT, results=results)
    assert _not_passed(cut, tests) == set(tests[1:])
    whole = Verdict(
        Outcome.PASSED,
        results=[*results[:1], *(TestResult(name, Outcome.SKIPPED, 0.0) for name in tests[1:3])],
    )
    assert _not_passed(whole, tests) == set(), "a file counts as run where a test of it ran"


def refuse(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """A plain pytest run that fails so many times, whatever the code."""
    confirm, count = Runner.confirm, itertools.count(1)

    def red(self: Runner, *args, **kwargs) -> SuiteRun:
        run = confirm(self, *args, **kwargs)
        if next(count) <= times:
            run.results[0] = dataclasses.replace(run.results[0], outcome=Outcome.FAILED)
        return run

    monkeypatch.setattr(Runner, "confirm", red)


BUSY = """

def test_busy():
    import time

    end = time.process_time() + 3.0
    while time.process_time() < end:
        pass
    assert add(0, 0) == 0
"""


def test_a_test_that_is_only_slow_is_neither_repaired_nor_in_the_way(project) -> None:
    """It takes longer than the first run waits for it: it is the candidate that repairs the others that gets it more time."""
    events = run(project(calc=CALC, test_calc=TEST + BUSY), max_seconds=20.0)
    assert "test_calc.py::test_busy" in {e.nodeid for e in of(events, FailingTest)}
    assert events[-1].status == "fixed" and "+    return a + b" in events[-1].diff


def test_a_patch_that_a_plain_pytest_run_refuses_is_not_the_end(project, monkeypatch) -> None:
    refuse(monkeypatch, 1)
    root = project(calc=CALC, test_calc=TEST)
    events = run(root)
    refused = [d for d in of(events, Decision) if "plain pytest run disagrees" in d.reason]
    assert len(refused) == 1 and not refused[0].bit
    assert events[-1].status == "fixed" and passes(root, events[-1].diff)


def test_what_every_plain_pytest_run_refuses_is_told(project, monkeypatch) -> None:
    refuse(monkeypatch, math.inf)
    events = run(project(calc=CALC, test_calc=TEST), max_candidates=60)
    assert events[-1].status == "not_fixed" and not of(events, PatchFound)
    assert "not a plain pytest run (test_calc.py::test_add)" in events[-1].message


def test_a_candidate_is_judged_by_the_tests_that_run_it(project) -> None:
    """The third test starts a program: what that runs is not known."""
    text = TEST + (
        "\n\ndef test_program():\n    import subprocess, sys\n\n"
        "    assert subprocess.run([sys.executable, '-c', 'pass']).returncode == 0\n"
    )
    events = run(project(calc=CALC, test_calc=text))
    (accepted,) = [d for d in of(events, Decision) if d.kind == "accept"]
    assert accepted.reason == "of 3 the 2 tests that run it pass"
    assert events[-1].status == "fixed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_to_be_found\n", "the module 'nowhere_to_be_found' is not installed"),
        ("open('no/such/data')\n", "FileNotFoundError: [Errno 2]"),
    ],
)
def test_a_test_file_that_cannot_be_collected_here_is_left_out(project, text, said) -> None:
    root = project(calc=CALC, test_calc=TEST, test_other=text + "\n\ndef test():\n    pass\n")
    events = run(root)
    assert events[-1].status == "fixed", events[-1].message
    (note,) = [n.text for n in of(events, Note) if "left out" in n.text]
    assert note.startswith(f"test_other.py is left out: {said}")
    (patch,) = of(events, PatchFound)
    assert "--ignore=" in patch.verified_by


def test_where_nothing_else_is_wrong_it_is_what_cannot_be_collected(project) -> None:
    calc = CALC.replace("a - b", "a + b")
    root = project(calc=calc, test_calc=TEST, test_other="import nowhere_to_be_found\n")
    with pytest.raises(TestsCannotRun, match="'nowhere_to_be_found' is not installed"):
        run(root)


def test_a_conftest_that_cannot_be_collected_is_in_the_way_of_all(project) -> None:
    root = project(calc=CALC, test_calc=TEST, conftest="import nowhere_to_be_found\n")
    with pytest.raises(TestsCannotRun, match="'nowhere_to_be_found' is not installed"):
        run(root)


DOCTESTS = '''"""Two functions.

>>> import os; os.environ["NO_SUCH_NAME"]
'here'
"""


def add(a, b):
    """
    >>> add(2, 3)
    5
    """
    return a - b
'''


@pytest.mark.slow
def test_a_doctest_that_fails_for_the_machine_keeps_no_other_from_being_repaired(
    project, monkeypatch
) -> None:
    monkeypatch.setattr(loop, "TOGETHER", 0.0)
    root = project(calc=DOCTESTS)
    events = run(root, pytest_args=("--doctest-modules",), max_seconds=20.0)
    (patch,) = of(events, PatchFound)
    assert patch.turned_green == ("calc.py::calc.add",) and patch.still_red == ("calc.py::calc",)
    assert "+    return a + b" in patch.diff
