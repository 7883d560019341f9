"""The benchmarks' functions are recognised, renamed and reformatted ones too, and ordinary code is not."""

import ast
import gzip
import inspect
import json
import subprocess
import textwrap

import pytest

from tools.source.leaves import Module
from trm.data.decontaminate import Blocklist, normalize, programs, shingles
from trm.data.formats.fields import FormatError

BENCHMARK = '''
def running_maximum(numbers: list, start: int) -> list:
    """Largest so far."""
    best, out = start, []
    for number in numbers:
        if number > best:
            best = number  # a new record
        out.append(best)
    return out
'''
COPY = """
def peaks(values, floor):
    m, r = floor, []
    for v in values:
        # keep the higher one
        if v > m:
            m = v
        r.append(m)

    return r
"""
OTHER = """
def merge_headers(first, second):
    merged = dict(first)
    for key, value in second.items():
        merged.setdefault(key.lower(), []).extend(value.split(","))
    return {key: sorted(set(value)) for key, value in merged.items()}
"""


def tokens(source):
    return [leaf.text for leaf in Module(textwrap.dedent(source).encode()).leaves]


@pytest.fixture
def copies(tmp_path):
    path = tmp_path / "pack.jsonl"
    lines = BENCHMARK.lstrip().split("\n", 1)
    row = {"task_id": "Python/7", "declaration": lines[0] + "\n", "canonical_solution": lines[1],
           "buggy_solution": lines[1].replace(">", ">="), "entry_point": "running_maximum", "test": ""}  # fmt: skip
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def test_normalize_forgets_names_strings_comments_docstrings_and_layout():
    first = normalize(
        tokens('def f(a, b):\n    """Doc."""\n    return a.lower() + "x" * b  # why\n')
    )
    second = normalize(tokens("def g(left, n):\n\n    return left.lower() + 'yy' * n\n"))
    assert first == second
    assert first[:3] == ("def", "$0", "(")
    assert "lower" in first
    assert normalize(tokens("def f(a):\n    return len(a)\n")) != normalize(
        tokens("def f(a):\n    return sum(a)\n")
    )
    assert normalize(tokens("def f(a):\n    return a + 1\n")) != normalize(
        tokens("def f(a):\n    return a + 2\n")
    )


def test_shingles_do_not_depend_on_what_stands_before():
    body = tokens("for a in b:\n    c.append(a + 1)\n    d = a\n")
    longer = tokens("x = y = z = 0\n") + body
    assert shingles(normalize(body)) <= shingles(normalize(longer))


def test_copies_are_found_and_ordinary_code_is_not(copies):
    blocklist = Blocklist.from_benchmarks([copies])
    assert len(blocklist.entries) == 2
    assert blocklist.matches(tokens(BENCHMARK), "anything") == "exact (humanevalfix Python/7)"
    assert (
        blocklist.matches(tokens(BENCHMARK.replace("number > best", "number >= best")), "x")
        == "exact (humanevalfix Python/7)"
    )
    assert blocklist.matches(tokens(COPY), "peaks") == "near (humanevalfix Python/7)"
    assert blocklist.matches(tokens(OTHER), "merge_headers") is None
    assert blocklist.matches(tokens(OTHER), "running_maximum") is None
    assert blocklist.matches(tokens("def f(x):\n    return x\n"), "running_maximum") is None


def test_a_looser_copy_needs_the_name(copies):
    loose = """
def running_maximum(numbers, start=None, key=None, keep_first=False):
    best, result = start, []
    for number in numbers:
        if best is None or number > best:
            best = number
        if keep_first or number != start:
            result.append(best)
    return result
"""
    blocklist = Blocklist.from_benchmarks([copies])
    assert blocklist.matches(tokens(loose), "running_maximum") == "named (humanevalfix Python/7)"
    assert blocklist.matches(tokens(loose), "high_water_marks") is None


def test_save_and_load_keep_every_answer(copies, tmp_path):
    blocklist = Blocklist.from_benchmarks([copies])
    blocklist.save(tmp_path / "list.json.gz")
    again = Blocklist.load(tmp_path / "list.json.gz")
    assert again.entries == blocklist.entries
    assert again.matches(tokens(COPY), "peaks") == blocklist.matches(tokens(COPY), "peaks")
    first = (tmp_path / "list.json.gz").read_bytes()
    again.save(tmp_path / "list.json.gz")
    assert (tmp_path / "list.json.gz").read_bytes() == first
    assert b"running" not in gzip.decompress(first).replace(b"running_maximum", b"")


def test_the_shipped_list_has_both_development_sets_and_spares_the_standard_library():
    blocklist = Blocklist.load()
    names = {entry.name for entry in blocklist.entries if entry.benchmark == "quixbugs"}
    assert {"gcd", "knapsack", "quicksort", "levenshtein"} <= names
    assert len({e.task for e in blocklist.entries if e.benchmark == "humanevalfix"}) >= 150
    gcd = "def euclid(m, n):\n    if n == 0:\n        return m\n    else:\n        return euclid(n, m % n)\n"
    assert blocklist.matches(tokens(gcd), "euclid") == "exact (quixbugs gcd)"
    for function in (ast.literal_eval, inspect.getsourcelines, textwrap.dedent, subprocess.run):
        assert blocklist.matches(tokens(inspect.getsource(function)), function.__name__) is None


def test_copies_are_read_from_folders_and_git_directories(tmp_path):
    folder = tmp_path / "copy"
    for name in ("python_programs", "correct_python_programs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "peaks.py").write_text(COPY, encoding="utf-8")
    (folder / "python_programs" / "peaks_test.py").write_text(
        "raise SystemExit\n", encoding="utf-8"
    )
    from_folder = list(programs(folder))
    assert [(p.benchmark, p.task, p.source) for p in from_folder] == [
        ("quixbugs", "peaks", COPY)
    ] * 2
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@e", "-C", str(folder)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(
        ["git", "clone", "-q", "--bare", str(folder), str(tmp_path / "bare")], check=True
    )
    assert list(programs(tmp_path / "bare")) == from_folder


def test_what_is_no_benchmark_is_named(tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(
        FormatError, match=r"other\.jsonl: no data set that we know \(fields: text\)"
    ):
        list(programs(other))
    with pytest.raises(FormatError, match=r"missing\.jsonl"):
        list(programs(tmp_path / "missing.jsonl"))
    with pytest.raises(FormatError, match="no data set that we know"):
        list(programs(tmp_path))
    row = {"instruction": "Double it.", "output": "def f(x):\n    return 2 * x\n"}
    other.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match="Alpaca Python publishes no programs to keep out"):
        list(programs(other))
