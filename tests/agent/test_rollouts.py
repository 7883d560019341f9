"""Rollouts: what an edit earns, what stays hidden, and a training by the command line whose tests really run."""

import random
import sys

import numpy as np
import pytest

from agent import rollouts
from agent.cli import run
from agent.mutate import Tally, killed, suspect_of
from agent.projects import Project, RefusedError
from trm.checkpoint import load_weights

TESTS = """from box import first_word, total


def test_total():
    assert total([1, 2, 3]) == 6


def test_limit():
    assert total([1, 10, 3], 2) == 0


def test_nothing():
    assert total([]) == 0


def test_first():
    assert first_word("a, b", ["b"]) == "b"


def test_none():
    assert first_word("a, b", []) is None
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, code):
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "box.py").write_text(code)
    (folder / "test_box.py").write_text(TESTS)
    return Project(folder, "me/boxes", "", sys.executable)


@pytest.fixture(scope="module")
def mutants(project):
    """Killed mutants whose runner is still at work."""
    found = killed(project, Tally(), random.Random(3), per_unit=6, single=True, numbers=(16,))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("passed", "earned"),
    [
        ("abcd", 1.0),
        ("abcdx", 1.0),
        ("acd", 0.25),  # one of two repaired
        ("abc", 0.25),  # both repaired, one of two broken
        ("ac", 0.0),
        ("cd", 0.0),
        ("", 0.0),
        ("xy", 0.0),  # tests that are not shown earn nothing
    ],
)
def test_what_an_edit_earns(passed, earned):
    assert rollouts.reward(set(passed), list("abcd"), set("abx")) == earned


def test_a_failing_test_is_shown_and_half_of_all_are_hidden(mutants):
    found = next(mutants)
    for seed in range(5):
        shown, hidden = rollouts.share_out(found.run, random.Random(seed))
        everything = {result.nodeid for result in found.run.results}
        assert set(shown) | set(hidden) == everything and not set(shown) & set(hidden)
        assert set(shown) & set(found.run.failing) and len(shown) - len(hidden) in (0, 1)


def group_of(mutants, predictor, seed=0):
    for found in mutants:
        group = rollouts.group_of(found, predictor, 8, random.Random(seed), 5)
        if group is not None:
            return found, group
    raise AssertionError("no mutant gives a group")


def test_hidden_tests_change_neither_reward_nor_what_is_read(mutants, predictor, monkeypatch):
    found, group = group_of(mutants, predictor)
    shown, hidden = rollouts.share_out(found.run, random.Random(0))
    assert hidden and group.place == 5 and 2 <= len(group.edits) <= 8
    assert group.executions == len(group.edits) == len(set(group.edits))
    assert group.fixes and group.encoded.length <= 256

    def none_hidden(runner, path, sources, tests):
        assert tests == [*shown, *hidden]
        return {source: found_ - set(hidden) for source, found_ in really(runner, path, sources, tests).items()}  # fmt: skip

    really = rollouts.executed
    monkeypatch.setattr(rollouts, "executed", none_hidden)
    again = rollouts.group_of(found, predictor, 8, random.Random(0), 5)
    assert again.rewards.tolist() == group.rewards.tolist() and again.edits == group.edits
    assert not again.right.any()
    seen = rollouts._restricted(found.run, shown)
    assert {result.nodeid for result in seen.results} == set(shown) == set(seen.spectrum.lines)
    assert seen.failing == [test for test in found.run.failing if test in shown]
    suspect = suspect_of(found)
    blind = rollouts.encode_suspect(predictor.vocab, suspect, seen)
    np.testing.assert_array_equal(group.encoded.features, blind.features)


def test_equal_sources_run_once_and_the_fix_passes_everything(mutants):
    found = next(mutants)
    path, tests = found.trial.target.path, [result.nodeid for result in found.run.results]
    whole, broken = found.trial.target.file.source, found.trial.data
    passed = rollouts.executed(found.runner, path, [whole, broken, whole], tests)
    assert passed == {whole: set(tests), broken: set(tests) - set(found.run.failing)}


def test_turns_go_from_project_to_project_and_what_is_held_out_is_refused(
    project, predictor, tmp_path
):
    said = []
    (tmp_path / "test_red.py").write_text("def test_red():\n    assert False\n")
    nothing = Project(tmp_path, "me/nothing", "", sys.executable)
    groups = rollouts.Rollouts([nothing, project], 4, 0, said.append)(predictor, 2)
    assert next(groups).place == 4
    groups.close()
    with pytest.raises(RefusedError, match="no project has a mutant"):
        next(rollouts.Rollouts([nothing], 4, 0, said.append)(predictor, 0))
    with pytest.raises(RefusedError, match="held out"):
        rollouts.Rollouts([Project(tmp_path, "pypa/flit", "", "")], 4, 0, said.append)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rl"], "--rl takes --projects and no --data"),
        (["--rl", "--projects", ".", "--data", "."], "--rl takes --projects and no --data"),
        (["--objective", "ppo", "--data", "."], "need --rl"),
        ([], "--data is missing"),
        (["--rl", "--projects", "/nowhere"], "--projects /nowhere: no such folder"),
        (["--rl", "--projects", ".", "--objective", "x"], "objective is 'tpo', 'ppo' or 'none'"),
    ],
)
def test_wrong_use_is_one_line(arguments, said, tmp_path, capsys):
    assert run(["train", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_training_by_the_command_line(project, checkpoint, tmp_path, capsys):  # fmt: skip
    given = ["train", "--rl", "--projects", f"{project.root}={sys.executable}", "--from", str(checkpoint), "--out",
             str(tmp_path / "out"), "--set", "rl.groups=2", "--set", "rl.edits=4", "--set", "rl.epochs=2"]  # fmt: skip
    assert run([*given, "--executions", "12"]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("step ")]
    ran = [int(line.split(" s ")[1].split(" executions ")[0]) for line in lines]
    assert 12 <= ran[-1] <= 16 and all(each < 12 for each in ran[:-1])
    assert said.out.strip() == str(tmp_path / "out")
    assert load_weights(tmp_path / "out" / "weights")[2]["step"] == 2 * len(lines)
    assert run([*given, "--executions", str(ran[-1] + 1)]) == 0
    assert f"step {2 * len(lines) + 2} " in capsys.readouterr().err
