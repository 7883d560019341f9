"""What `pytest --trm-fix` costs a run that does not use it.

    python benchmarks/plugin.py [--runs 40] [--json FILE]

Two measurements, each run in a process of its own. "hooks": in a process that has imported pytest, the time to import the
plugin and to call its two hooks. "whole": a pytest process on one empty test with the plugin and one without, by
turns; the median of the paired differences, with its 95 % interval by resampling pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGIN = Path(__file__).resolve().parent.parent / "plugin"
LIMIT = 5.0  # ms
IMPORT = """
import time, pytest
began = time.perf_counter()
import pytest_trm_fix
class Option:
    def getgroup(self, name): return self
    def addoption(self, *names, **more): pass
    def getoption(self, name): return False
pytest_trm_fix.pytest_addoption(Option())
pytest_trm_fix.pytest_configure(Option())
print((time.perf_counter() - began) * 1000)
"""


def hooks(folder: Path) -> float:
    """Milliseconds for the import and both hooks."""
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=folder, env=environment, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return float(done.stdout)


def whole(folder: Path, plugin: bool) -> float:
    """Milliseconds of CPU of a pytest process on one empty test."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_trm_fix"] if plugin else []
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> int:
    """Print the table; 1 where the limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trm-bench-") as name:
        folder = Path(name)
        (folder / "test_one.py").write_text("def test_one():\n    pass\n")
        whole(folder, True)  # compiles the plugin
        alone = [hooks(folder) for _ in range(options.runs)]
        pairs = []
        for turn in range(options.runs):
            first = bool(turn % 2)
            one, other = whole(folder, first), whole(folder, not first)
            pairs.append(one - other if first else other - one)
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(pairs, k=len(pairs))) for _ in range(2000))
    found = {
        "runs": options.runs,
        "hooks_ms_median": statistics.median(alone),
        "hooks_ms_max": max(alone),
        "whole_ms_median_of_differences": statistics.median(pairs),
        "whole_ms_interval": [medians[50], medians[-51]],
    }
    print("| import and hooks, ms: median | largest | whole process, CPU ms more: median | 95 % |")
    print("|---|---|---|---|")
    low, high = found["whole_ms_interval"]
    print(f"| {found['hooks_ms_median']:.2f} | {found['hooks_ms_max']:.2f} "
          f"| {found['whole_ms_median_of_differences']:.1f} | {low:.1f} to {high:.1f} |")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(found["hooks_ms_median"] >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
