"""Recorded runs: written, found by name, read back, also after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import runs
from agent.apply import apply_patch
from agent.errors import UsageError
from agent.events import Finished, Note, SuiteProgress
from agent.runs import Recorder, Run, find_run, list_runs, new_run

EVENTS = [Note("é \udcff"), SuiteProgress("suite", 1, 2, at=0.5), Finished("green", 0, "all pass")]


def record(base: Path, name: str = "") -> Run:
    run = new_run(base)
    if name:
        run = Run(run.folder.rename(base / name))
    recorder = Recorder(run)
    for event in EVENTS:
        recorder.write(event)
    recorder.close()
    return run


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    assert list(record(tmp_path).events()) == EVENTS


def test_all_but_progress_is_on_disk_at_once(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    recorder = Recorder(run)
    recorder.write(EVENTS[0])
    assert list(run.events()) == EVENTS[:1]
    recorder.close()
    recorder.write(EVENTS[1])  # after the end: nothing, and no error
    assert list(run.events()) == EVENTS[:1]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    run = record(tmp_path)
    path = run.folder / runs.EVENTS
    path.write_bytes(path.read_bytes()[:-9])
    assert list(run.events()) == EVENTS[:-1]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = record(tmp_path)
    path = run.folder / runs.EVENTS
    path.write_bytes(path.read_bytes().replace(b"SuiteProgress", b"SuiteRegress"))
    with pytest.raises(UsageError, match=r"line 2 .*unknown event 'SuiteRegress'"):
        list(run.events())
    path.unlink()
    with pytest.raises(UsageError, match="no recorded events"):
        list(run.events())


def test_runs_are_found_by_a_beginning_and_listed_newest_first(tmp_path: Path) -> None:
    first = record(tmp_path, "20260101-120000-aaaa")
    second = record(tmp_path, "20260102-120000-bbbb")
    (tmp_path / "something else").mkdir()
    assert [run.id for run in list_runs(tmp_path)] == [second.id, first.id]
    assert find_run("", tmp_path).id == second.id
    assert find_run("20260101", tmp_path).id == first.id
    assert find_run(second.id, tmp_path).id == second.id


def test_a_bad_id_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run has been recorded"):
        find_run("", tmp_path)
    record(tmp_path, "20260101-120000-aaaa")
    record(tmp_path, "20260101-130000-bbbb")
    with pytest.raises(UsageError, match="no run 20260101-120000-aaab") as caught:
        find_run("20260101-120000-aaab", tmp_path)
    assert caught.value.hint.startswith("nearest: 20260101-120000-aaaa")
    with pytest.raises(UsageError, match="several runs begin with 2026") as caught:
        find_run("2026", tmp_path)
    assert "bbbb" in caught.value.hint
    with pytest.raises(UsageError, match="no run \\.\\./x"):
        find_run("../x", tmp_path)


def test_undo_without_a_name_means_the_latest_run_that_wrote(tmp_path: Path) -> None:
    wrote = record(tmp_path, "20260101-120000-aaaa")
    record(tmp_path, "20260102-120000-bbbb")
    with pytest.raises(UsageError, match="no run has applied a patch"):
        find_run("", tmp_path, applied=True)
    (tmp_path / "a.py").write_bytes(b"1")
    apply_patch(tmp_path, {"a.py": (b"1", b"2")}, wrote.folder)
    assert find_run("", tmp_path, applied=True).id == wrote.id


def test_old_runs_go_but_those_with_a_patch_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runs, "KEPT", 2)
    for day in range(1, 5):
        record(tmp_path, f"2026010{day}-120000-aaaa")
    (tmp_path / "20260101-120000-aaaa").mkdir(exist_ok=True)
    (tmp_path / "20260101-120000-aaaa" / "patch.json").write_text("{}")
    new_run(tmp_path)
    kept = [run.id[:8] for run in list_runs(tmp_path)][1:]
    assert kept == ["20260104", "20260101"]
