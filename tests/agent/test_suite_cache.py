"""The memory of first runs on disk: whole or not at all, bounded, and the candidates that failed."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from agent import suite_cache
from agent.suite_cache import Rejected, SuiteCache


def test_what_is_kept_comes_back_until_it_is_old(tmp_path: Path) -> None:
    cache = SuiteCache(tmp_path / "suites")
    assert cache.get("k") is None
    cache["k"] = b"one"
    cache["k"] = b"two"
    assert cache.get("k") == b"two" and cache.get("other") is None
    assert [file.name for file in cache.folder.iterdir()] == ["k.run"]
    assert cache.folder.stat().st_mode & 0o077 == 0
    old = time.time() - 86400 * suite_cache.MOST_DAYS - 1
    os.utime(cache.folder / "k.run", (old, old))
    assert cache.get("k") is None
    cache["new"] = b""
    assert [file.name for file in cache.folder.iterdir()] == ["new.run"]


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_cache, "MOST_BYTES", 25)
    cache = SuiteCache(tmp_path)
    for number in range(4):
        cache[str(number)] = b"x" * 10
        os.utime(tmp_path / f"{number}.run", (time.time() - 10 + number,) * 2)
    cache["last"] = b"x" * 5
    kept = {file.name for file in tmp_path.iterdir()}
    assert kept == {"2.run", "3.run", "last.run"}


def test_a_disk_that_refuses_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = SuiteCache(tmp_path / "file")
    cache["k"] = b"one"
    assert cache.get("k") is None


def test_those_who_write_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    values = [bytes([number]) * 200_000 for number in range(8)]

    def write(value: bytes) -> None:
        for _ in range(10):
            cache = SuiteCache(tmp_path)
            cache["k"] = value
            assert cache.get("k") in values

    threads = [threading.Thread(target=write, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SuiteCache(tmp_path).get("k") in values
    assert len(list(tmp_path.iterdir())) == 1


def test_what_failed_is_known_to_the_next_run_of_the_same_key(tmp_path: Path) -> None:
    cache = SuiteCache(tmp_path)
    files = {"a.py": b"x", "b.py": b"y"}
    mark = Rejected.mark("t.py::test_a", files)
    assert mark == Rejected.mark("t.py::test_a", dict(reversed(files.items())))
    others = [
        Rejected.mark("t.py::test_b", files),
        Rejected.mark("t.py::test_a", {"a.py": b"x"}),
        Rejected.mark("t.py::test_a", {"a.py": b"xb.py", "": b"y"}),
    ]
    assert len({mark, *others}) == 4
    first, beside = cache.rejected("k"), cache.rejected("k")
    first.add(mark)
    assert mark not in first  # of this run: the stream repeats nothing
    first.save()
    beside.add(others[0])
    beside.save()
    beside.save()
    again = cache.rejected("k")
    assert mark in again and others[0] in again and others[1] not in again and len(again) == 2
    assert not cache.rejected("other")
    cache["k"] = b"a run anew"
    assert not cache.rejected("k")


def test_marks_cut_short_by_a_full_disk_are_left_out(tmp_path: Path) -> None:
    marks = [bytes([number]) * 8 for number in range(3)]
    (tmp_path / "k.rejected").write_bytes(marks[0] + marks[1][:5])
    cut = SuiteCache(tmp_path).rejected("k")
    assert marks[0] in cut and len(cut) == 1
    cut.add(marks[2])
    cut.save()
    again = SuiteCache(tmp_path).rejected("k")
    assert marks[0] in again and marks[2] in again and len(again) == 2
    nowhere = Rejected(tmp_path / "none" / "k.rejected")
    nowhere.add(marks[0])
    nowhere.save()
