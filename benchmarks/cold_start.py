"""The first proposal of a cold `fix`, and of the next: is what was compiled really read again?

    python benchmarks/cold_start.py [PROJECT] [--rounds N]

Each round has a cache folder of its own, empty at the first start and kept for the second; each start a fresh copy of PROJECT
(examples/broken). Seconds from the start of the process: `suite` when the first run is over, `read` when the model has read the
first suspect, `tried` when the first candidate after that is validated, `end`; cpu: of the process and its children. compiled:
functions that were written to the cache; at a second start there should be none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
COLUMNS = ("suite", "read", "tried", "end", "cpu", "compiled", "cache MB")


def start(project: Path, cache: Path) -> dict[str, float]:
    """One `fix` of a fresh copy."""
    with tempfile.TemporaryDirectory(prefix="trm-cold-") as name:
        copy = Path(shutil.copytree(project, Path(name) / "project"))
        for command in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"],
        ):
            subprocess.run(["git", "-C", str(copy), *command], check=True)
        before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.pickle")}
        program = "from agent.cli import main; main()"
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        began, found = time.monotonic(), {}
        process = subprocess.Popen(
            [sys.executable, "-c", program, "fix", str(copy), "--json", "--python", sys.executable], cwd=HERE, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            event, now = json.loads(line), time.monotonic() - began
            marks = {"SuiteRan": "suite", "RecursionStep": "read", "CandidateTried": "tried"}
            mark = marks.get(event["event"])
            if mark and (mark != "tried" or "read" in found):
                found.setdefault(mark, now)
        process.wait()
        found["end"] = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found["cpu"] = sum(getattr(after, k) - getattr(used, k) for k in ("ru_utime", "ru_stime"))
    files = list(cache.rglob("*.pickle"))
    found["compiled"] = sum(before.get(path) != path.stat().st_mtime_ns for path in files)
    found["cache MB"] = sum(path.stat().st_size for path in files) / 1e6
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("project", nargs="?", type=Path, default=HERE / "examples" / "broken")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="trm-cache-") as cache:
            for name in rows:
                rows[name].append(start(options.project, Path(cache)))
    print(f"| start | {' | '.join(COLUMNS)} |\n{'|---' * (len(COLUMNS) + 1)}|")
    for name, found in rows.items():
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in found if column in row]
            cells.append(f"{statistics.median(values):.1f}" if values else "")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
