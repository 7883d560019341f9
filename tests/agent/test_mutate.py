"""Executed mutants: what is broken, what is kept of it, what is refused."""

import json
import random
import subprocess
import sys
import time

import pytest

from agent.mutate import Tally, mutants, mutate_all
from agent.projects import Project, Task
from tools.runner import Runner
from tools.source.edits import Edit, splice
from tools.source.leaves import Module
from tools.verdicts import Outcome, RunnerError
from trm.checkpoint import VOCAB, shipped
from trm.data.mutants import Mutant, build_shards, example, read, summary, write
from trm.data.pipeline import Shard
from trm.encode import Execution, FailureText
from trm.vocab import Vocab

BOX = '''"""Boxes."""

LIMIT = 3


def clamp(value, low=0, high=LIMIT):
    """The value, or the bound that it passes."""
    if value < low:
        return low
    return min(value, high)


class Box:
    def __init__(self, rows):
        self.rows = [
            clamp(row)
            for row in rows
        ]

    def total(self, start=0):
        out = start
        for row in self.rows:
            out += row
        return out

    def never(self, a, b):
        return a + b - len(self.rows) * a
'''
TESTS = """from box import Box, clamp


def test_clamp():
    assert clamp(7) == 3
    assert clamp(-1) == 0
    assert clamp(2) == 2


def test_total():
    assert Box([1, 2, 9]).total() == 6
    assert Box([]).total(4) == 4
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "box.py").write_text(BOX)
    (folder / "test_box.py").write_text(TESTS)
    return folder


@pytest.fixture(scope="module")
def found(root):
    tally = Tally()
    kept = list(mutants(Project(root, "me/boxes", "MIT", sys.executable), tally, per_unit=10))
    return kept, tally


def repaired(mutant):
    """Its source with all the fixes in place."""
    module = Module(mutant.source.encode())
    data = module.source
    for fix in reversed(mutant.fixes):
        data = splice(module, fix).apply(data)
    return [leaf.text for leaf in Module(data).leaves]


def originals():
    module = Module(BOX.encode())
    return {
        f"box.py:{unit.name}": [leaf.text for leaf in module.leaves[unit.start : unit.end]]
        for unit in module.units
    }


def test_the_fixes_of_a_mutant_give_the_function_back(found):
    kept, tally = found
    assert tally.killed >= 5 and tally.tests == 2 and tally.units == 3
    whole = originals()
    for mutant in kept:
        assert repaired(mutant) == whole[mutant.origin]


def test_how_fast_they_are_taken_does_not_change_the_mutants(root, found):
    slowly = []
    for mutant in mutants(Project(root, "me/boxes", "MIT", sys.executable), Tally(), per_unit=10):
        slowly.append(mutant)
        time.sleep(0.1)
    made = [[(mutant.origin, mutant.source) for mutant in some] for some in (slowly, found[0])]
    assert made[0] == made[1]


def test_what_no_test_runs_is_not_broken(found):
    assert {mutant.origin for mutant in found[0]} == {
        "box.py:clamp", "box.py:Box.__init__", "box.py:Box.total",
    }  # fmt: skip


def test_a_mutant_knows_the_lines_that_its_tests_ran(found):
    guilty = [mutant for mutant in found[0] if mutant.fixes]
    for mutant in guilty:
        lines = mutant.source.count("\n") + 1
        seen = mutant.execution
        assert seen.failing >= 1
        assert {*seen.cover_fail, *seen.cover_pass, *seen.frames} <= set(range(1, lines + 1))
    told = [mutant for mutant in guilty if mutant.failure.exception == "AssertionError"]
    assert any("clamp(" in mutant.failure.test and mutant.failure.expected for mutant in told)


def test_evidence_is_asked_for(root, found):
    assert not any(mutant.execution.evidence for mutant in found[0])
    project = Project(root, "me/boxes", "MIT", sys.executable)
    kept = list(mutants(project, Tally(), per_unit=3, evidence=1.0))
    assert any(mutant.execution.evidence for mutant in kept)


def test_innocent_units_are_whole(found):
    innocent = [mutant for mutant in found[0] if not mutant.fixes]
    assert len(innocent) == found[1].innocent
    assert all(mutant.operators == ("none",) for mutant in innocent)


def test_the_project_stays_as_it_is(root, found):
    assert (root / "box.py").read_text() == BOX
    assert {path.name for path in root.iterdir()} <= {"box.py", "test_box.py", "__pycache__"}


def test_records_and_shards_come_back(found, tmp_path):
    (tmp_path / "parts").mkdir()
    kept = found[0]
    assert write(tmp_path / "parts" / "me+boxes.jsonl.gz", iter(kept)) == len(kept)
    assert list(read(tmp_path / "parts" / "me+boxes.jsonl.gz")) == kept
    vocab = Vocab.load(shipped() / VOCAB)
    shards = list(build_shards(tmp_path, vocab))
    assert [name for name, _, _ in shards] == ["shard-00000"]
    shard = Shard(tmp_path / "shards" / "shard-00000")
    assert len(shard) == shards[0][1] >= 0.7 * len(kept)
    counts = summary(tmp_path)
    assert counts["mutants"] == sum(bool(mutant.fixes) for mutant in kept)
    assert counts["licence"] == {"MIT": len(kept)}


def test_an_example_has_the_fix_as_its_target():
    vocab = Vocab.load(shipped() / VOCAB)
    source = "def double(a):\n    return a + 2\n"
    leaves = [leaf.text for leaf in Module(source.encode()).leaves]
    at = leaves.index("+")

    seen = Execution(1, 0, {2: 1}, {}, {}, {"a": ("int", "3")}, {}, "5", "6")
    failure = FailureText("assert double(3) == 6", "5", "6", "AssertionError")
    fixes = (Edit(at, at + 1, ("*",)),)
    mutant = Mutant("p", "MIT", "a.py:double", source, fixes, ("arithmetic",), (), seen, failure)
    assert Mutant.from_json(json.loads(json.dumps(mutant.to_json()))) == mutant
    made = example(vocab, mutant, random.Random(0))
    assert made is not None
    (target,) = made[1]
    assert (target.start, target.length) == (at + 1, 1)  # 0 is NO_BUG


def test_a_traced_run_tells_what_the_tests_did(root):
    broken = BOX.replace("out += row", "out -= row").encode()
    hangs = BOX.replace("        return out\n", "        while True: pass\n").encode()
    invalid = BOX.replace("def total", "def total(").encode()
    tests = ["test_box.py::test_clamp", "test_box.py::test_total"]
    with Runner(root, sys.executable) as runner:
        runner.baseline()
        assert runner.plain_tests() == tests
        given = [(n, {"box.py": data}, tests) for n, data in enumerate((broken, hangs, invalid))]
        ran = dict(runner.traced(given, 0.5))
    run = ran[0]
    assert run.failing == ["test_box.py::test_total"]
    line = broken.decode().splitlines().index("            out -= row") + 1
    assert line in run.spectrum.lines_of("test_box.py::test_total")["box.py"]
    assert line not in run.spectrum.lines_of("test_box.py::test_clamp")["box.py"]
    assert run.failures[0].expected == "6"
    assert [result.outcome for result in ran[1].results] == [Outcome.PASSED, Outcome.TIMEOUT]
    assert ran[1].spectrum.lines_of("test_box.py::test_total")["box.py"]
    assert ran[2] is None


def test_lines_are_traced_where_tests_write_into_the_project(root, tmp_path):
    (tmp_path / "box.py").write_text(BOX)
    more = "\n\ndef test_writes():\n    open('out.txt', 'w').close()\n"
    (tmp_path / "test_box.py").write_text(TESTS + more)
    broken = BOX.replace("out += row", "out -= row").encode()
    with Runner(tmp_path, sys.executable) as runner:
        runner.baseline()
        assert runner.plain_tests() == ["test_box.py::test_clamp", "test_box.py::test_total"]
        tests = ["test_box.py::test_total", "test_box.py::test_writes"]
        ((_, run),) = runner.traced([(0, {"box.py": broken}, tests)], 0.5)
    assert run.failing == ["test_box.py::test_total"]
    assert run.spectrum.lines_of("test_box.py::test_total")["box.py"]


def test_a_suite_that_takes_too_long_is_said(root, tmp_path):
    (tmp_path / "test_slow.py").write_text(
        "import time\n\ndef test_a():\n    time.sleep(0.6)\n\ndef test_b():\n    pass\n"
    )
    project = Project(tmp_path, "me/slow", "", sys.executable)
    with pytest.raises(RunnerError, match="the suite is slow"):
        list(mutants(project, Tally(), seconds=0.4))


def task(given, out, **more):
    return Task(str(given), out, sys.executable, (), more.get("per_unit", 2), 0.0, 0)


def test_a_url_is_cloned_and_what_cannot_be_is_said(root, tmp_path):
    repo = tmp_path / "me" / "boxes"
    repo.mkdir(parents=True)
    for name in ("box.py", "test_box.py"):
        (repo / name).write_text((root / name).read_text())
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*run, *command], cwd=repo, check=True)
    out = tmp_path / "out"
    (out / "parts").mkdir(parents=True)
    good, gone, kept_out = mutate_all(
        [task(repo.as_uri(), out), task("file:///no/such/thing", out), task("https://x.invalid/pallets/click", out)], 1
    )  # fmt: skip
    assert good[0].package == "me/boxes" and not good[2] and "killed" in good[1]
    assert list(read(good[0].part))
    assert gone[2] and "cannot be cloned" in gone[1]
    assert kept_out[2] and "kept out of all training" in kept_out[1]


def test_of_a_large_suite_some_files_run(root, tmp_path, monkeypatch):
    for name in ("box.py", "test_box.py"):
        (tmp_path / name).write_text((root / name).read_text())
    (tmp_path / "test_more.py").write_text(TESTS)
    (tmp_path / "test_broken.py").write_text("import box.nothing\n")
    monkeypatch.setattr("agent.mutate.MOST_TESTS", 3)
    tally = Tally()
    project = Project(tmp_path, "me/boxes", "MIT", sys.executable)
    assert any(mutant.fixes for mutant in mutants(project, tally, per_unit=4))
    assert tally.tests == 2
