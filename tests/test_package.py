"""The wheel: what it holds, and that what it holds is enough to start."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    [path] = out.glob("*.whl")
    return path


def test_it_holds_all_that_git_tracks_of_the_three_packages(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "agent", "trm", "tools"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in listed.stdout.splitlines() if (ROOT / name).exists()} <= names
    assert "agent/faces/tui/styles.tcss" in names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"agent", "trm", "tools"}


def test_it_is_small_enough_to_be_published(wheel: Path) -> None:
    assert wheel.stat().st_size < 20_000_000


def test_it_starts_where_nothing_else_of_the_project_is(wheel: Path, tmp_path: Path) -> None:
    """From the wheel alone, in another folder: the version, and the shipped files are where the code looks."""
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    program = (
        "import sys\n"
        f"sys.path[:] = [p for p in sys.path if p and p != {str(ROOT)!r}]\n"
        f"sys.path.insert(0, {str(place)!r})\n"
        "import agent, tools, trm\n"
        f"assert all(m.__file__.startswith({str(place)!r}) for m in (agent, tools, trm))\n"
        "from agent.cli import main\nmain(['--version'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trm-agent ")
