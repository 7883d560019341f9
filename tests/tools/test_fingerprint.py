"""Each thing that a suite's verdict depends on changes the fingerprint, and nothing else does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import fingerprint
from tools.fingerprint import files_of, surroundings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "above" / "project"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "calc.py").write_text("def one():\n    return 1\n")
    (root / "data.txt").write_text("7")
    (root / ".env").write_text("A=1")
    (root / "link").symlink_to("data.txt")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "rows.csv").write_text("1,2")
    (root / "shared").symlink_to(outside)
    (root / "rows").symlink_to(outside / "rows.csv")
    return root


CHANGES: dict[str, Callable[[Path], Any]] = {
    "source": lambda root: (root / "pkg" / "calc.py").write_text("def one():\n    return 2\n"),
    "new file": lambda root: (root / "test_calc.py").touch(),
    "renamed": lambda root: (root / "data.txt").rename(root / "data.csv"),
    "ignored by git": lambda root: (root / ".env").write_text("A=2"),
    "executable": lambda root: (root / "pkg" / "calc.py").chmod(0o755),
    "link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("pkg/calc.py")),
    "behind a link": lambda root: (root / "shared" / "rows.csv").write_text("1,3"),
    "new behind a link": lambda root: (root / "shared" / "more.csv").touch(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_file_is_seen(change: str, root: Path) -> None:
    before = files_of(root)
    assert before and before == files_of(root)
    CHANGES[change](root)
    assert files_of(root) not in ("", before)


def test_what_runs_leave_behind_is_not_looked_at(root: Path) -> None:
    before = files_of(root)
    for name in (".pytest_cache", "pkg/__pycache__", "htmlcov", ".venv"):
        (root / name).mkdir()
        (root / name / "x.py").touch()
    (root / "own").mkdir()
    (root / "own" / "pyvenv.cfg").touch()  # an environment by another name
    for name in (".coverage", ".coverage.host.1", "pkg/calc.pyc"):
        (root / name).touch()
    os.utime(root / "data.txt", (1, 1))
    assert files_of(root) == before


def test_too_much_or_unreadable_has_no_fingerprint(root: Path, monkeypatch) -> None:
    (root / "shared").unlink()
    (root / "shared").symlink_to(root.parent / "nowhere")
    assert files_of(root)
    assert files_of(root / "nowhere") == ""
    monkeypatch.setattr(fingerprint, "MOST_FILES", 3)
    assert files_of(root) == ""
    monkeypatch.setattr(fingerprint, "MOST_FILES", 100)
    monkeypatch.setattr(fingerprint, "MOST_BYTES", 10)
    assert files_of(root) == ""


def hello(*path: Path) -> dict[str, Any]:
    return {
        "interpreter": [sys.version, "python", sys.prefix, sys.base_prefix],
        "path": list(map(str, path)),
    }


def test_what_is_installed_and_imported_from_elsewhere_is_seen(root: Path, tmp_path: Path) -> None:
    packages, sources = tmp_path / "site-packages", tmp_path / "other project"
    added, wheel = tmp_path / "on the path", packages / "other-1.0.dist-info"
    for folder in (wheel, sources, added):
        folder.mkdir(parents=True)
    (sources / "other.py").write_text("x = 1\n")
    told = {"url": sources.as_uri(), "dir_info": {"editable": True}}
    (wheel / "direct_url.json").write_text(json.dumps(told))
    said = hello(root, packages, added, tmp_path / "python311.zip")

    def now(environ: dict[str, str] | None = None) -> str:
        return surroundings(root, said, environ or {})

    seen = [now()]
    assert seen[0] == now() != ""
    changes: list[Callable[[], Any]] = [
        lambda: (packages / "another-2.0.dist-info").mkdir(),
        lambda: os.utime(wheel, (5, 5)),  # installed anew
        lambda: (sources / "other.py").write_text("x = 2\n"),
        lambda: (added / "mod.py").touch(),
        lambda: (tmp_path / "python311.zip").touch(),
        lambda: (root.parent / "conftest.py").touch(),
        lambda: (root.parent / "pytest.ini").write_text("[pytest]\n"),
        lambda: said.update(guards=["landlock"]),
    ]
    for change in changes:
        change()
        assert now() not in seen
        seen.append(now())
    (packages / "__pycache__").mkdir()
    assert now({"MODE": "test"}) not in seen
    assert now({"SHLVL": "3", "SSH_TTY": "/dev/pts/1"}) == seen[-1]
    (wheel / "direct_url.json").write_text("{")
    assert now() != ""
    (packages / "gone.pth").symlink_to(tmp_path / "nowhere")
    assert now() != ""
    sources.rename(tmp_path / "moved")  # and cannot be told any more
    (wheel / "direct_url.json").write_text(json.dumps(told))
    assert now() == ""
