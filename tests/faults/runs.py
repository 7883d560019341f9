"""Ends whole runs of `trm-agent fix --apply` at random moments, and tells what was lost or left.

    python tests/faults/runs.py [--seed N] [--runs N]

Each run repairs a small project in a git repository with a stash, staged and other changes. It, or a process of its worker,
gets a signal at a random moment, or several runs go on in the project at once. Then bytes and modes of the project, git's
folder included, processes and temporary folders are looked at. A table goes to stdout, what was lost to stderr; the exit
code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worlds
from worlds import Picture, World, picture

from agent.apply import load_record, undo
from agent.cli import run as trm_agent
from agent.runs import list_runs, runs_folder, settle_runs, wrote

TEST = b"from calc import f\n\n\ndef test_f():\n    assert f(2, 3) == 5\n\n\ndef test_g():\n    assert f(0, 0) == 0\n"
AGENT = {"kill -9 of the agent": signal.SIGKILL, "SIGINT to the agent": signal.SIGINT,
         "SIGTERM to the agent": signal.SIGTERM, "SIGHUP to the agent": signal.SIGHUP}  # fmt: skip
WORKER, TOGETHER, KILLED_BESIDE = "kill -9 of a worker's process", "two runs at once", "two at once, one killed"  # fmt: skip
FAULTS = (*AGENT, WORKER, TOGETHER, KILLED_BESIDE)
GONE_SECONDS = 20.0


def project(base: Path) -> World:
    """A repository with a bug that a test shows, and all that a user may have lying about."""
    top = base / "top"
    root = top / "repo"
    root.mkdir(parents=True)
    worlds.git(root, "init", "-q", "-b", "main", "--template=")
    (root / "calc.py").write_bytes(worlds.OLD)
    (root / "calc.py").chmod(0o755)
    (root / "test_calc.py").write_bytes(TEST)
    (root / "mine.py").write_bytes(b"x = 1\n")
    worlds.git(root, "add", ".")
    worlds.git(root, "commit", "-qm", "x")
    worlds.busy(root)
    world = World("project", top, root, runs_folder())
    world.picture = picture(top)
    return world


def start(world: World, log: Path) -> int:
    """`trm-agent fix --apply` in a process of its own; its process id."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.chdir(world.root)
            code = trm_agent(["fix", ".", "--apply", "--no-tui", "--rank", "ochiai", "--jobs", "1",
                              "--patience", "0", "--max-seconds", "60"])  # fmt: skip
        finally:
            os._exit(code)
    return child


def marked(base: Path) -> list[int]:
    """Processes that were started with `base` in their environment: all of the worker's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
                state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if os.fsencode(base) in environ and state not in (b"Z", b"X"):
                found.append(int(entry.name))
    return found


def trial(world: World, fault: str, seconds: float, base: Path, rng: random.Random) -> str:
    """What one run lost or left; "" if nothing."""
    log = base / "log"
    agents = [start(world, log) for _ in range(1 + (fault in (TOGETHER, KILLED_BESIDE)))]
    time.sleep(rng.uniform(0.0, 1.1 * seconds))
    if fault in AGENT or fault == KILLED_BESIDE:
        os.kill(agents[0], AGENT.get(fault, signal.SIGKILL))
    elif fault == WORKER:
        victims = marked(base)
        if victims:
            try:
                os.kill(rng.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                pass
    codes = [os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]) for agent in agents]
    text = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    try:
        return told(world, fault, codes, text, base)
    finally:
        world.reset()
        worlds.remove(world.state)


def told(world: World, fault: str, codes: list[int], text: str, base: Path) -> str:
    end = time.monotonic() + GONE_SECONDS
    while (marked(base) or os.listdir(base / "tmp")) and time.monotonic() < end:
        time.sleep(0.02)
    left = marked(base), os.listdir(base / "tmp")
    if any(left):
        return f"left behind: {left}"
    if "Traceback" in text:
        return f"it ended in a traceback: {text[-2000:]}"
    list(settle_runs(world.root))
    runs = [run for run in list_runs() if wrote(run)]
    if len(runs) > 1:
        return f"{len(runs)} runs say that they wrote"
    if not runs:
        if 0 in codes:
            return f"one said that it was done: {text[-1000:]}"
        return "" if picture(world.top) == world.picture else "something changed without a patch"
    wanted: Picture = dict(world.picture)
    for change in load_record(runs[0].folder).changes:
        wanted[f"repo/{change.path}"] = world.picture[f"repo/{change.path}"][0], change.after
    if picture(world.top) != wanted:
        return "more or less than the patch"
    if fault in (TOGETHER, WORKER) and 0 not in codes:
        return f"applied, but told as {codes}: {text[-1000:]}"
    undo(runs[0].folder)
    return "" if picture(world.top) == world.picture else "undo did not restore"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=len(FAULTS))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    done, losses, began = Counter[str](), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="trm-faults-") as name:
        base = Path(name).resolve()
        (base / "tmp").mkdir()
        for key in [key for key in os.environ if key.startswith(("TRM_AGENT_", "PYTEST_", "XDG_", "VIRTUAL_ENV"))]:  # fmt: skip
            del os.environ[key]
        os.environ.update(
            HOME=str(base), TMPDIR=str(base / "tmp"), XDG_STATE_HOME=str(base / "state"), GIT_CONFIG_GLOBAL=os.devnull,
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        )  # fmt: skip
        tempfile.tempdir = str(base / "tmp")
        world = project(base)
        import agent.loop  # noqa: F401 what every run would import

        measured = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(start(world, base / "log"), 0)[1])
        seconds = time.monotonic() - measured
        assert code == 0, (base / "log").read_text()
        (base / "log").unlink()
        lost = told(world, TOGETHER, [code], "", base)
        assert not lost, lost
        worlds.remove(world.state)
        while sum(done.values()) < options.runs:
            fault = FAULTS[sum(done.values()) % len(FAULTS)]
            lost = trial(world, fault, seconds, base, rng)
            done[fault] += 1
            if lost:
                losses[fault] += 1
                print(f"{fault}: {lost}", file=sys.stderr)
    print("| fault | runs | losses |\n|---|---|---|")
    for fault in FAULTS:
        print(f"| {fault} | {done[fault]} | {losses[fault]} |")
    took = time.monotonic() - began
    print(f"| all, {took:.0f} s, seed {options.seed} | {sum(done.values())} | {sum(losses.values())} |")  # fmt: skip
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
