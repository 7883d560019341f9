"""Benchmarks become real red repositories, hidden tests decide, and interrupted evaluations go on.

The two made-up copies below have the layout of QuixBugs and HumanEvalPack and none of their code.
"""

import dataclasses
import json
import subprocess
import sys

import pytest

from agent.errors import UsageError
from agent.evalreport import compare, summarize, table
from agent.evalsets import load, write_files
from agent.evaluate import (
    EvalSettings,
    Result,
    check,
    is_one_edit,
    judge,
    read_results,
    run_eval,
    run_problem,  # fmt: skip
    token_distance,
)

WRONG = (
    "def widest(items):\n    best = items[0]\n    for item in items:\n"
    "        if len(item) < len(best):\n            best = item\n    return best\n"
)
RIGHT = WRONG.replace("<", ">")
GRAPH = """
import pytest
from node import Node

if pytest.use_correct:
    from correct_python_programs.depth import depth
else:
    from python_programs.depth import depth

leaf = Node("leaf")
root = Node("root", leaf)


def test1():
    \"\"\"Case 1\"\"\"
    assert depth(root) == 2


def test2():
    leaf.successor = Node("more")
    assert depth(root) == 3


def test3():
    assert depth(None) == 0
"""
DEPTH = "def depth(node):\n    count = 0\n    while node:\n        count += 1\n        node = node.successor\n    return count\n"


@pytest.fixture
def quixbugs(tmp_path):
    files = {
        "python_programs/widest.py": WRONG + '\n"""\nWidest\n"""\n',
        "correct_python_programs/widest.py": "\n" + RIGHT + '\n"""\nThe widest of all\n"""\n',
        "json_testcases/widest.json": '[[["a", "bb"]], "bb"]\n\n[[["ccc", "d"]], "ccc"]\n[[["e"]], "e"]\n',
        "python_programs/depth.py": DEPTH.replace("+= 1", "+= 2"),
        "correct_python_programs/depth.py": DEPTH,
        "python_programs/depth_test.py": "",
        "python_programs/node.py": "class Node:\n    def __init__(self, value, successor=None):\n"
        "        self.value, self.successor = value, successor\n",
        "python_testcases/test_depth.py": GRAPH,
    }
    write_files(tmp_path / "quix", {path: text.encode() for path, text in files.items()})
    return tmp_path / "quix"


@pytest.fixture
def pack(tmp_path):
    lines = WRONG.split("\n", 1)
    test = """
def check(candidate):
    assert True, "This prints if this assert fails"
    assert candidate(["a", "bb"]) == "bb", "Error"
    rows = [["a"], ["b", "cc"]]
    assert candidate(rows[1]) == "cc"
    for row in rows:
        assert candidate(row) == helper(row)
check(widest)
"""
    rows = [
        {"task_id": "Python/3", "declaration": "def helper(items):\n    return max(items, key=len)\n\n\n" + lines[0] + "\n",
         "canonical_solution": RIGHT.split("\n", 1)[1], "buggy_solution": lines[1], "entry_point": "widest", "test": test,
         "example_test": "    def check(x):\n        assert x(['q']) == 'q'\n    check(widest)", "bug_type": "operator misuse"},
        {"task_id": "Python/4", "declaration": "def bisect(a):\n", "canonical_solution": "    return a + 1\n",
         "buggy_solution": "    return a\n", "entry_point": "bisect", "test": "def check(bisect):\n    assert bisect(1) == 2\n",
         "example_test": "", "bug_type": "missing logic"},
    ]  # fmt: skip
    path = tmp_path / "pack.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_quixbugs_shows_every_second_case_and_hides_the_others(quixbugs):
    depth, widest = load("quixbugs", quixbugs)
    assert (depth.task, widest.task) == ("depth", "widest")
    shown, hidden = (
        widest.files["test_widest.py"].decode(),
        widest.hidden["test_widest_hidden.py"].decode(),
    )
    assert "assert widest(['a', 'bb']) == 'bb'" in shown
    assert "def test_3" in shown
    assert "def test_2" in hidden
    assert "def test_1" not in hidden
    assert widest.files["widest.py"].startswith(b"def widest")
    # graph programs: shared nodes are made anew in each test
    text = depth.hidden["test_depth_hidden.py"].decode()
    assert text == (
        "from depth import depth\nfrom node import Node\n\n\ndef test_2():\n    leaf = Node('leaf')\n"
        "    root = Node('root', leaf)\n    leaf.successor = Node('more')\n    assert depth(root) == 3\n"
    )
    assert "node.py" in depth.files
    full = load("quixbugs", quixbugs, "full")[1]
    assert full.files["test_widest.py"] == full.hidden["test_widest_hidden.py"]


def test_humanevalfix_becomes_one_test_an_assert(pack):
    widest, shadowing = load("humanevalfix", pack)
    assert widest.task == "003_widest"
    assert widest.bug_type == "operator misuse"
    assert widest.files["test_widest.py"].decode() == (
        "from widest import widest as candidate\nfrom widest import helper\n"
        "\n\ndef test_1():\n    assert candidate(['a', 'bb']) == 'bb'\n"
        "\n\ndef test_2():\n    rows = [['a'], ['b', 'cc']]\n    assert candidate(rows[1]) == 'cc'\n"
        "\n\ndef test_3():\n    rows = [['a'], ['b', 'cc']]\n    for row in rows:\n"
        "        assert candidate(row) == helper(row)\n"
    )
    assert widest.hidden["test_widest_hidden.py"].decode().count("def test_") == 1
    assert "bisect_.py" in shadowing.files  # a module called like a standard one would shadow it
    (examples,) = load("humanevalfix", pack, "examples")
    assert "candidate" not in examples.files["test_widest.py"].decode()
    assert examples.hidden == widest.hidden


def test_a_problem_is_a_clean_repository_with_one_commit(quixbugs, tmp_path):
    root = load("quixbugs", quixbugs)[0].materialize(tmp_path / "repo")

    def git(*command):
        return subprocess.run(
            ["git", "-C", str(root), *command], check=True, capture_output=True, text=True
        ).stdout

    assert git("status", "--porcelain") == ""
    assert git("rev-list", "--count", "HEAD").strip() == "1"


def test_the_judge_wants_visible_and_hidden_tests(quixbugs, tmp_path):
    widest = load("quixbugs", quixbugs)[1]
    cases = [
        (RIGHT, True, ""),
        (
            "def widest(items):\n    return items[-1]\n",
            False,
            "test_widest_hidden.py::test_2",
        ),  # right on what is visible
        (
            "def widening(items):\n    return items\n",
            False,
            "test_widest_hidden.py, test_widest.py",
        ),  # does not collect
    ]
    for number, (source, right, where) in enumerate(cases):
        files = {**widest.files, "widest.py": source.encode()}
        root = dataclasses.replace(widest, files=files).materialize(tmp_path / str(number))
        passed, said = judge(widest, root, sys.executable)
        assert passed is right, source
        assert said.split(": ")[0] == where


@pytest.mark.slow
def test_check_names_problems_that_are_none(tmp_path):
    for task, repo, reference in (
        ("good", WRONG, RIGHT),
        ("green", RIGHT, RIGHT),
        ("unsolved", WRONG, WRONG),
    ):
        test = b"from w import widest\n\ndef test_it():\n    assert widest(['a', 'bb']) == 'bb'\n"
        write_files(tmp_path / task, {
            "repo/w.py": repo.encode(), "repo/test_w.py": test, "hidden/test_h.py": test,
            "reference/w.py": reference.encode(), "meta.json": b'{"bug_type": "operator"}',
        })  # fmt: skip
    problems = load(str(tmp_path), None)
    assert [p.task for p in problems] == ["good", "green", "unsolved"]
    assert problems[0].bug_type == "operator"
    lines = list(check(problems))
    assert lines[0] == "green: the visible tests pass on the buggy program"
    assert lines[1].startswith("unsolved: the reference fails test_h.py::test_it")
    assert len(lines) == 2


def test_distances_count_tokens_and_forget_docstrings():
    before = {"a.py": b"def f(x):\n    return x < 1  # why\n"}
    assert token_distance(before, {"a.py": b'def f(x):\n    """New."""\n    return x <= 1\n'}) == 1
    assert token_distance(before, {"a.py": b"def f(x):\n    return g(x) < 1\n"}) == 3
    assert token_distance(before, {}) == 0
    assert is_one_edit(before, {"a.py": b"def f(x):\n    return g(x) < 1\n"})
    assert not is_one_edit(before, before)
    far = b"def g(x):\n" + b"    x = x + 1\n" * 4 + b"    return x > 1\n"
    assert not is_one_edit(before, {"a.py": far})


def test_the_real_fix_is_run_and_judged(quixbugs):
    widest = load("quixbugs", quixbugs)[1]
    result = run_problem(widest, EvalSettings(rank="ochiai", max_seconds=120))
    assert result.status == "fixed", result
    assert result.operator
    assert (result.distance, result.excess) == (1, 0)
    assert result.reachable is True
    assert 1 <= result.candidates < 200
    assert "-        if len(item) < len(best):" in result.diff


def test_results_are_resumed_from_json_lines(quixbugs, tmp_path):
    path = tmp_path / "results.jsonl"
    settings = EvalSettings(max_seconds=120, max_candidates=0)
    lines = []
    first = run_eval(
        "quixbugs", quixbugs, ("ochiai",), json_path=path, settings=settings, say=lines.append
    )
    assert [r.status for r in first] == ["unfixed", "unfixed"]
    assert len(lines) == 2
    lines.clear()
    again = run_eval(
        "quixbugs", quixbugs, ("ochiai",), json_path=path, settings=settings, say=lines.append
    )
    assert again == first
    assert lines == [f"2 of 2 results are in {path} already"]
    assert read_results(path) == first
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"results\.jsonl:1: not a result of eval"):
        run_eval("quixbugs", quixbugs, json_path=path)


def result(task, status, rank="trm", candidates=10, operator="model", excess=0, kind="k"):
    return Result(
        "set",
        task,
        status,
        kind,
        EvalSettings(rank=rank),
        candidates,
        2.0,
        operator,
        1,
        excess,
        task != "d",
    )


def test_summary_counts_what_was_fixed_and_what_only_looked_so():
    (summary,) = summarize([result("a", "fixed"), result("b", "fixed", candidates=30, excess=2), result("c", "plausible"),
                            result("d", "unfixed"), result("e", "ineligible"), result("f", "error")])  # fmt: skip
    assert (summary.total, summary.eligible, summary.ceiling) == (6, 5, 4)
    assert (summary.fixed, summary.plausible, summary.unfixed, summary.errors) == (2, 1, 1, 1)
    assert summary.wrong_share == pytest.approx(1 / 3)
    assert (summary.candidates_median, summary.excess_mean) == (20, 1)
    assert summary.by_bug_type == {"k": (2, 5)}


def test_ranks_are_compared_where_the_control_needed_a_later_tier():
    from tools.source.operators import OPERATORS

    early = next(o.name for o in OPERATORS if o.tier == 1)
    late = next(o.name for o in OPERATORS if o.tier == 3)
    results = [
        result("a", "fixed", candidates=10), result("b", "fixed", candidates=20), result("c", "fixed"), result("d", "unfixed"),
        result("a", "fixed", "ochiai", 100, late), result("b", "fixed", "ochiai", 800, late),
        result("c", "fixed", "ochiai", 5, early), result("d", "fixed", "ochiai", 300, late),
    ]  # fmt: skip
    comparison = compare(results, "trm", "ochiai", tier=2)
    assert (comparison.problems, comparison.both) == (3, 2)
    assert (comparison.median, comparison.control_median) == (20, 300)
    assert comparison.ratio == 15
    assert comparison.speedup == pytest.approx((10 * 40) ** 0.5)
    text = table(results)
    assert "trm against ochiai" in text
    assert "tiers 2 and 3" in text
    assert table([result("a", "unfixed")]).splitlines()[1].split()[:5] == [
        "trm",
        "0",
        "0",
        "1",
        "0",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("quixbugs", None), "quixbugs needs --data"), (("nothing", None), "neither a known set nor a folder"),
     (("quixbugs", "empty"), "no file with rows in it"), (("quixbugs", "x", "most"), "unknown choice of tests 'most'"),
     (("humanevalfix", "empty"), "empty"), (("empty", None), "no task with a repo folder")],
)  # fmt: skip
def test_bad_sets_are_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    name, data, *rest = arguments
    with pytest.raises(UsageError, match=message) as caught:
        load(name, tmp_path / data if data else None, *rest)
    assert caught.value.hint


def test_a_hidden_file_may_not_leave_the_project(tmp_path):
    with pytest.raises(UsageError, match="leads out of the project"):
        write_files(tmp_path / "repo", {"../evil.py": b""})
    assert not (tmp_path / "evil.py").exists()


def test_unknown_rank_is_refused_before_anything_runs(quixbugs):
    with pytest.raises(UsageError, match="unknown rank 'best'"):
        run_eval("quixbugs", quixbugs, ("best",))
