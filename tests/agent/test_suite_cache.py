"""The memory of first runs on disk: whole or not at all, bounded, of no use to nobody else."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from agent import suite_cache
from agent.suite_cache import SuiteCache


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
