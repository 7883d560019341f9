"""data info and data convert on published data sets: one line of error, the documented exit code, nothing half written."""

import gzip
import json

import pytest

from agent.cli import run

ROW = {"code": "def f(x):\n    return 2 * x", "input": "3", "output": "6", "id": "sample_7"}


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "set"
    rows = [json.dumps(ROW), "{", json.dumps({**ROW, "input": 5}), json.dumps(ROW)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_info_tells_the_format_and_what_is_damaged(damaged, capsys):
    assert run(["data", "info", str(damaged)]) == 0
    told = capsys.readouterr().out
    assert "CRUXEval, for evaluation only" in told
    assert "rows       4: 2 problems, 0 in other languages, 2 damaged" in told
    assert f"{damaged}:2: not JSON" in told
    assert f"{damaged}:3: input: int where text should be" in told
    assert run(["data", "info", str(damaged), "--json", "--examples", "0"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["format"], summary["tests"], summary["licences"]) == (
        "cruxeval",
        {"call": 2},
        {"MIT": 2},
    )
    assert run(["data", "info", str(damaged), "--strict"]) == 2
    assert f"error: {damaged}:2: not JSON" in capsys.readouterr().err


def test_convert_writes_all_or_nothing(damaged, tmp_path, capsys):
    out = tmp_path / "made.jsonl.gz"
    assert run(["data", "convert", str(damaged), "--out", str(out), "--strict"]) == 2
    assert "error: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    assert run(["data", "convert", str(damaged), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "2 problems of 4 rows" in said.err
    with gzip.open(out, "rt") as lines:
        assert [json.loads(line)["source"] for line in lines] == ["cruxeval", "cruxeval"]
    again = tmp_path / "again.jsonl"
    assert run(["data", "convert", str(out), "--out", str(again), "--shard", "1/2"]) == 0
    assert len(again.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--out", "no/where"], "no such folder"), (["--out", "x", "--shard", "2/2"], "not a part"),
     (["--out", "x", "--shard", "a"], "not a part")],
)  # fmt: skip
def test_wrong_use_is_named(arguments, said, damaged, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["data", "convert", str(damaged), *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_what_is_no_data_set_is_refused(tmp_path, capsys):
    for name in ("data", "nowhere"):
        (tmp_path / "data").write_text("hello\n")
        assert run(["data", "info", str(tmp_path / name)]) == 2
        assert "error: " in capsys.readouterr().err
