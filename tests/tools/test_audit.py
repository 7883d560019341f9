"""An audit of the files outside, before and after destructive candidates: as root and as an ordinary user, with one barrier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("audit.py")
NOBODY = 65534


@cache
def python_for_all() -> str | None:
    """An interpreter that an ordinary user may run with our pytest; ours may lie in root's home."""
    for python in (
        sys.executable,
        *(shutil.which(f"python3.{n}") or "" for n in (sys.version_info[1],)),
        "/usr/bin/python3",
    ):
        same = f"import sys, pytest; assert sys.version_info[:2] == {tuple(sys.version_info[:2])}"
        try:
            if python and ordinary([python, "-c", same]).returncode == 0:
                return python
        except OSError:
            continue
    return None


def ordinary(command: list[str]) -> subprocess.CompletedProcess[str]:
    who: dict[str, Any] = {}
    if os.getuid() == 0:
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(pytest.__file__).parents[1]),
        "TMPDIR": "/tmp",
    }
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd="/", env=environ, **who
    )  # fmt: skip


@pytest.mark.parametrize("off", [(), ("namespaces",), ("landlock",)], ids=str)
@pytest.mark.parametrize("who", ["root", "user"])
def test_nothing_outside_changes(who: str, off: tuple[str, ...]) -> None:
    if who == "root":
        if os.getuid() != 0:
            pytest.skip("not root")
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *off], capture_output=True, text=True, check=False, timeout=300
        )  # fmt: skip
    else:
        python = python_for_all()
        if python is None:
            pytest.skip("no interpreter with pytest that an ordinary user may run")
        done = ordinary([python, "-B", str(SCRIPT), *off])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert (told["uid"] == 0) == (who == "root")
    assert told["changed"] == []
    assert told["bystander"] and told["works after"]
    if not told["acts"]:
        pytest.skip(f"this kernel has no guard left without {off}")
    assert len(told["acts"]) >= 12 and told["files"] > 100


def test_the_audit_sees_what_changes() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "control"], capture_output=True, text=True, check=True, timeout=300
    )  # fmt: skip
    assert [Path(path).name for path in json.loads(done.stdout)["changed"]] == [
        ".bashrc",
        ".profile",
        "link",
    ]
