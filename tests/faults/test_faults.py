"""Nothing of the user's is lost, whatever happens while a patch is found, written or taken back.

The scripts beside this file do the work, each in a process and a temporary folder of its own; by hand they inject more
(`python tests/faults/inject.py --injections 5000`, `python tests/faults/runs.py --runs 200`). TRM_FAULTS=N
multiplies what is done here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
TIMES = int(os.environ.get("TRM_FAULTS", "1"))


def table(script: str, *arguments: str) -> dict[str, tuple[int, int]]:
    """Fault -> (injections, losses), as the script counted them."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True, text=True, check=False, timeout=900 * TIMES,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"(?m)^\| (.+) \| (\d+) \| (\d+) \|$", done.stdout)
    return {name: (int(count), int(lost)) for name, count, lost in rows}


def totals(rows: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return next(pair for name, pair in rows.items() if name.startswith("all, "))


def test_a_fault_at_any_call_of_the_file_system_loses_nothing() -> None:
    rows = table("inject.py", "--injections", str(900 * TIMES))
    assert totals(rows) == (900 * TIMES, 0)
    assert min(count for count, _ in rows.values()) >= 50  # each fault had its share


def test_the_same_for_an_ordinary_user() -> None:
    rows = table("inject.py", "--injections", str(180 * TIMES), "--user", "--seed", "1")
    assert totals(rows) == (180 * TIMES, 0)
    assert rows["folder loses write permission"][0] >= 10


def test_runs_that_are_ended_anywhere_leave_nothing_and_lose_nothing() -> None:
    rows = table("runs.py", "--runs", str(14 * TIMES))
    assert totals(rows) == (14 * TIMES, 0)


def test_a_loss_would_be_seen() -> None:
    """The proof that the tests above can fail: a writer that is not careful loses something at once."""
    program = (
        "import sys; sys.argv[1:] = ['--injections', '60']; import inject, agent.apply as a\n"
        "def careless(made, target, before, after): target.write_bytes(after)\n"
        "a._put = careless\nsys.exit(inject.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, check=False, timeout=600
    )  # fmt: skip
    assert done.returncode == 1
    assert "another program's work was lost" in done.stderr or "half written" in done.stderr
