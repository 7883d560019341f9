"""Every published form is told from its content and becomes a Problem; what is broken is counted and named, never raised."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trm.data.formats.fields import Damaged, FormatError
from trm.data.formats.problem import Problem, Tests
from trm.data.formats.registry import FORMATS, Report, detect, read
from trm.data.formats.rows import container, rows

_spec = importlib.util.spec_from_file_location(
    "made_up_sets", Path(__file__).with_name("made_up_sets.py")
)
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)
ROWS, lines, tree = made.ROWS, made.lines, made.tree


def only(path: Path) -> Problem:
    (problem,) = read(path, strict=True)
    return problem


# name of the made-up row -> format, entry point, kinds of visible and hidden tests, number of hidden cases, has a bug
EXPECTED = {
    "humaneval": ("humaneval", "twice", "call", "check", 1, False),
    "humanevalfix": ("humanevalfix", "twice", "check", "check", 1, True),
    "evalplus": ("evalplus", "twice", "oracle", "oracle", 3, False),
    "mbpp": ("mbpp", "twice", "none", "asserts", 3, False),
    "mbpp sanitized": ("mbpp", "twice", "none", "asserts", 2, False),
    "livecodebench": ("livecodebench", "", "stdin", "stdin", 2, False),
    "livecodebench call": ("livecodebench", "Solution.twice", "call", "call", 1, False),
    "codecontests": ("codecontests", "", "stdin", "stdin", 2, True),
    "apps": ("apps", "", "none", "stdin", 2, False),
    "apps call": ("apps", "twice", "none", "call", 2, False),
    "codeparrot": ("codeparrot", "", "none", "none", 0, False),
    "alpaca": ("alpaca", "", "none", "none", 0, False),
    "glaive": ("glaive", "", "none", "none", 0, False),
    "codesearchnet": ("codesearchnet", "twice", "none", "none", 0, False),
    "cruxeval": ("cruxeval", "f", "none", "call", 1, False),
    "ds1000": ("ds1000", "", "none", "context", 1, False),
    "bigcodebench": ("bigcodebench", "twice", "none", "unittest", 1, False),
    "debugbench": ("debugbench", "Solution.twice", "none", "call", 1, True),
    "runbugrun": ("runbugrun", "", "none", "stdin", 2, True),
    "commitpackft": ("commitpackft", "", "none", "none", 0, True),
}


def test_every_format_has_a_made_up_copy():
    there = {form for form, *_ in EXPECTED.values()} | set(made.TREES) | {"problems"}
    assert there == {form.name for form in FORMATS}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_told_from_its_fields_and_mapped(name, tmp_path):
    # the name of the file says nothing
    path = lines(tmp_path / "download", ROWS[name])
    problem = only(path)
    form, entry, visible, hidden, cases, buggy = EXPECTED[name]
    assert detect(path).name == problem.source == form
    assert (problem.entry_point, problem.visible.kind, problem.hidden.kind) == (
        entry,
        visible,
        hidden,
    )
    assert (len(problem.hidden.cases), bool(problem.buggy)) == (cases, buggy)
    assert problem.task
    if name not in ("livecodebench", "livecodebench call"):  # publishes no solutions
        compile(problem.code, "code", "exec")
        assert "2 * " in problem.code


@pytest.mark.parametrize("name", ROWS)
def test_every_container_gives_the_same_problems(name, tmp_path):
    row = ROWS[name]
    first = only(lines(tmp_path / "a", row))
    assert only(lines(tmp_path / "b.gz", row)) == first
    (tmp_path / "c").write_text(json.dumps([row], indent=2), encoding="utf-8")
    assert only(tmp_path / "c") == first
    (tmp_path / "d").write_text(json.dumps(row, indent=2), encoding="utf-8-sig")
    assert only(tmp_path / "d") == first
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.Table.from_pylist([row])
    parquet.write_table(table, tmp_path / "e")
    assert only(tmp_path / "e") == first
    with (
        pa.OSFile(str(tmp_path / "f"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    assert only(tmp_path / "f") == first
    with (
        pa.OSFile(str(tmp_path / "g"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    assert only(tmp_path / "g") == first


@pytest.mark.parametrize("name", ROWS)
def test_what_convert_writes_is_read_again(name, tmp_path):
    problem = only(lines(tmp_path / "a", ROWS[name]))
    (tmp_path / "b").write_text(problem.to_json() + "\n", encoding="ascii")
    assert detect(tmp_path / "b").name == "problems"
    assert only(tmp_path / "b") == problem


@pytest.mark.parametrize("name", made.TREES)
def test_folders_of_programs(name, tmp_path):
    path = tree(tmp_path / "copy", made.TREES[name])
    assert detect(path).name == name
    problem = only(path)
    assert problem.source == name
    if name == "bugsinpy":
        assert problem.support["run_test.sh"] == "pytest a.py\n"
    else:
        assert "2 * " in problem.code and "3 * " in problem.buggy
    if name == "debugbench":
        assert problem.bug_type == "operation error"


def test_runbugruns_database(tmp_path):
    report = Report()
    (problem,) = read(made.runbugrun_database(tmp_path / "x"), report=report)
    assert (problem.task, problem.hidden.cases) == ("p7/1", (("3\n", "6\n"),))
    assert (report.rows, report.other) == (2, 1)
    with sqlite3.connect(tmp_path / "y") as base:
        base.execute("CREATE TABLE other (a)")
    with pytest.raises(FormatError, match="not RunBugRun's"):
        detect(tmp_path / "y")


def test_details_of_the_mapping(tmp_path):
    def of(name, **changed):
        return only(lines(tmp_path / "x", {**ROWS[name], **changed}))

    assert of("humaneval").visible.cases == (("3", "6"),)  # of the docstring
    assert of("livecodebench").hidden == Tests(
        "stdin", (("0\n", "0\n"), ("5\n", "10\n")), tolerance=1e-6
    )
    assert of("apps call").hidden.cases == (("3", "6"), ("0", "0"))
    assert of("evalplus", plus_input={}).hidden.cases == (("3", ""),)  # MBPP+ writes so
    assert of("codecontests").code == made.PROGRAM  # not the C++ one
    assert of("glaive").code == made.HEAD + made.BODY
    assert of("glaive", answer="No code at all.").code == ""
    assert of("codeparrot").licence == "mit"
    assert of("mbpp").licence == "CC-BY-4.0"
    assert of(
        "debugbench", examples=["Input: x = [true, null], y = 'a'\nOutput: [1]"]
    ).hidden.cases == (("[True, None], 'a'", "[1]"),)
    assert not of(
        "debugbench", oracle_code="class Solution:\n    def f(self, a: TreeNode): ...\n"
    ).hidden


def test_rows_in_other_languages_are_counted_apart(tmp_path):
    report = Report()
    path = lines(tmp_path / "x", ROWS["commitpackft"], {**ROWS["commitpackft"], "lang": "Ruby"})
    assert len(list(read(path, report=report))) == 1
    assert (report.other, report.damaged) == (1, {})


DAMAGE = [
    ("humaneval", {"prompt": None}, "no field prompt"),
    ("humaneval", {"test": 5}, "test: int where text should be"),
    ("humaneval", {"prompt": "\ud800"}, "prompt: half of a surrogate pair"),
    ("mbpp", {"test_list": "assert 1"}, "test_list: str where a list should be"),
    ("mbpp", {"test_list": [3]}, "test_list: int where text should be"),
    ("evalplus", {"base_input": [3]}, "base_input: an input is no list of arguments"),
    ("evalplus", {"atol": "x"}, "atol: str where a number should be"),
    ("livecodebench", {"private_test_cases": "AAAA"}, "neither JSON nor packed tests"),
    ("livecodebench", {"private_test_cases": "[{}]"}, "no field input"),
    ("livecodebench", {"private_test_cases": '[{"input": "["}'}, "private_test_cases: not JSON"),
    (
        "livecodebench call",
        {"public_test_cases": '[{"input": "[", "output": "1"}]'},
        "an argument or result is not JSON",
    ),
    ("livecodebench", {"public_test_cases": "[" * 100_000}, "public_test_cases: not JSON"),
    (
        "codecontests",
        {"public_tests": {"input": ["1"], "output": []}},
        "public_tests: 1 inputs and 0 outputs",
    ),
    ("codecontests", {"private_tests": [1]}, "private_tests: no list of tests"),
    ("apps", {"solutions": "["}, "solutions: not JSON"),
    ("apps", {"input_output": "[]"}, "input_output: no object"),
    ("cruxeval", {"id": []}, "id: list where text should be"),
]


@pytest.mark.parametrize(("name", "changed", "said"), DAMAGE)
def test_damaged_rows_are_named_and_left_out(name, changed, said, tmp_path):
    good = ROWS[name]
    path = lines(tmp_path / "x", good, {**good, **changed}, good)
    report = Report()
    assert len(list(read(path, report=report))) == 2
    assert (report.rows, report.problems, sum(report.damaged.values())) == (3, 2, 1)
    assert report.places[0].startswith(f"{path}:2: ") and said in report.places[0]
    with pytest.raises(FormatError, match="x:2: "):
        list(read(path, strict=True))


def test_broken_lines(tmp_path):
    good = json.dumps(ROWS["cruxeval"]).encode()
    bad = [
        b"{",
        b"[1]",
        b'{"code": "\xff"}',
        b'{"a":' * 100_000,
        b"null",
        b'{"a": ' + b"9" * 5000 + b"}",
    ]
    (tmp_path / "x").write_bytes(b"\n\n".join([good, *bad, good]) + b"\n")
    report = Report()
    assert len(list(read(tmp_path / "x", report=report))) == 2
    assert report.rows == 8
    assert [place.split(": ", 1)[1].split(":")[0] for place in report.places] == [
        "not JSON", "not a JSON object", "not UTF-8", "JSON nested too deeply", "not a JSON object", "not JSON",
    ]  # fmt: skip


def test_a_gzip_that_is_cut_gives_what_is_before(tmp_path):
    data = gzip.compress(
        b"".join(
            json.dumps({**ROWS["cruxeval"], "id": os.urandom(40).hex()}).encode() + b"\n"
            for _ in range(3000)
        )
    )
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    report = Report()
    assert 1000 < len(list(read(tmp_path / "x", report=report))) < 2000
    assert list(report.damaged) == ["the file is cut here"]
    (tmp_path / "x").write_bytes(data[:20000] + b"\0\0\0\0" + data[20004:])
    list(read(tmp_path / "x", report=report))
    assert any(said.startswith("the file is broken here") for said in report.damaged)
    (tmp_path / "x").write_bytes(data[:15])
    with pytest.raises(FormatError, match="x: "):
        detect(tmp_path / "x")


def test_lists_are_read_a_piece_at_a_time(tmp_path):
    long = [
        {**ROWS["cruxeval"], "id": f"{i}", "code": "x" * (700_000 if i == 3 else 2000) + "\N{BUG}"}
        for i in range(3000)
    ]
    path = tmp_path / "x"
    path.write_text(json.dumps(long, indent=1, ensure_ascii=False), encoding="utf-8")
    assert [problem.task for problem in read(path, strict=True)] == [row["id"] for row in long]
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    report = Report()
    assert len(list(read(path, report=report))) > 1000
    assert sum(report.damaged.values()) == 1
    assert "cut here" in report.places[0]
    path.write_text(
        '[{"code": "", "input": "", "output": "", "id": "a"}, {"code": x}]', encoding="utf-8"
    )
    assert [type(row) for _, row in rows(path)] == [dict, Damaged]


def test_tables_that_are_cut(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([ROWS["cruxeval"]] * 50), tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[:-10])
    with pytest.raises(FormatError, match="the file is broken here"):
        detect(tmp_path / "x")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"PAR1" + bytes(100))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FormatError, match=r"need pyarrow: install trm-agent\[data\]"):
        detect(tmp_path / "x")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "neither JSON"), (b"hello", "neither JSON"), (b"{}\n", "no data set that we know"), (b"[]", "no rows"),
     (b'{"x": 1}\n', r"fields: x"), (b'{"input_ids": [1, 2]}\n', "token ids"), (b"LRZI\0\0", "lrunzip"),
     (b"\x28\xb5\x2f\xfd..", "unzstd"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
     (b"{nonsense", "not JSON")],
)  # fmt: skip
def test_what_is_no_data_set_is_refused_with_a_reason(data, said, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError, match=said):
        detect(tmp_path / "x")
    with pytest.raises(FormatError, match="no such file"):
        detect(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="no file with rows"):
        detect(tree(tmp_path / "folder", {"README.md": "# A set"}))


def test_a_folder_that_may_not_be_read_is_an_error_line(tmp_path, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(FormatError, match="Permission denied"):
        detect(tmp_path)


def test_shards_of_a_folder_and_of_a_file_are_disjoint_and_complete(tmp_path):
    every = [{**ROWS["cruxeval"], "id": str(i)} for i in range(20)]
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        lines(folder / f"part-{i}.json.gz", *every[5 * i : 5 * i + 5])
    one = lines(tmp_path / "x", *every)
    for path, count in ((folder, 2), (folder, 3), (folder, 7), (one, 3)):
        parts = [[p.task for p in read(path, shard=(i, count))] for i in range(count)]
        assert sorted([task for part in parts for task in part], key=int) == [
            row["id"] for row in every
        ]
        assert all(parts) or count == 7


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_no_row_makes_a_traceback(tmp_path, data):
    """Any fields of a known format with values of any JSON type: a Problem, another language, or Damaged."""
    name = data.draw(st.sampled_from(sorted(ROWS)))
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
        | st.sampled_from(("[]", "{}")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6,
    )  # fmt: skip
    row = dict(ROWS[name])
    for field in data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=3)):
        row[field] = data.draw(junk)
    path = lines(tmp_path / "x", ROWS[name], row)
    report = Report()
    problems = list(read(path, report=report))
    assert len(problems) + report.other + sum(report.damaged.values()) == 2
    for problem in problems:
        assert Problem.from_record(json.loads(problem.to_json())) == dataclasses.replace(problem)


def test_first_bytes_tell_the_container(tmp_path):
    for data, kind in (
        (b'{"a": 1}\n{"a": 2}\n', "lines"),
        (b"\xef\xbb\xbf  [\n", "list"),
        (b'{\n  "a": 1\n}', "list"),
        (b"{\n{}\n", "lines"),
        (b"text", ""),
    ):
        (tmp_path / "x").write_bytes(data)
        assert container(tmp_path / "x") == kind


COPIES = os.environ.get("TRM_AGENT_SETS", "")


@pytest.mark.slow
@pytest.mark.skipif(not COPIES, reason="TRM_AGENT_SETS: paths of real copies, separated by colons")
@pytest.mark.parametrize("path", COPIES.split(":"))
def test_a_real_copy_is_read_without_damage(path):
    report = Report()
    form = detect(Path(path))
    for problem in read(Path(path), report=report, form=form):
        assert Problem.from_record(json.loads(problem.to_json())) == problem
    print(path, form.name, report)
    assert report.rows == report.problems + report.other > 0, report.places
