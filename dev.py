"""Set-up, checks, tests and demonstration of trm-agent with nothing but Python and git.

    python3 dev.py demo     install, then repair the broken example that ships with the project
    python3 dev.py test     install with all extras; lint, types, import contracts, all tests
    python3 dev.py check    lint, types and import contracts only
    python3 dev.py setup    install with all extras only

Standard library only. All is installed into .venv beside this file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
OLDEST = (3, 11)
DEVELOPMENT = "-e .[train,data,cluster,serve,dev,docs]"
DEMONSTRATION = "-e . pytest"


def stop(message: str, hint: str) -> None:
    """End with one line that says what is wrong and one that says what to do."""
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(2)


def newer_python() -> None:
    """Go on under a Python that is new enough, where the one that was called is not."""
    if sys.version_info >= OLDEST:
        return
    for minor in range(19, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager's shim may be there without the version.
        if (
            found
            and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0
        ):
            os.execv(found, [found, str(Path(__file__).resolve()), *sys.argv[1:]])
    stop(
        f"this is Python {sys.version.split()[0]}; trm-agent needs 3.11 or newer",
        "install a newer Python and call it: python3.12 dev.py demo",
    )


def install(what: str) -> None:
    """Make .venv if it is missing and install `what` into it, unless that was done for these very files."""
    if not PYTHON.exists():
        print(f"making {VENV}", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        if made.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            stop("no virtual environment could be made", "on Debian: apt-get install python3-venv")
    mark = VENV / ".installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + what.encode()).hexdigest()
    done = mark.read_text().split() if mark.exists() else []
    if wanted in done:
        return
    print(f"installing {what} into {VENV}", file=sys.stderr)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    # minutes faster, but it reads no pip.conf: where that names the registry, pip does it
    uv = [str(PYTHON), "-m", "uv", "pip", "install", "--quiet", "--python", str(PYTHON)]
    tried = [[*pip, "uv"], [*uv, *what.split()]]
    if any(subprocess.run(each, cwd=ROOT, check=False, capture_output=True).returncode for each in tried) and (
        subprocess.run([*pip, *what.split()], cwd=ROOT, check=False).returncode
    ):  # fmt: skip
        stop("the installation failed", "see pip's message above; is there a package registry?")
    mark.write_text("\n".join([*done, wanted]))


def step(name: str, *command: str) -> bool:
    """Run one command in the project; whether it succeeded."""
    began = time.monotonic()
    print(f"== {name}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    result = "ok" if code == 0 else f"failed ({code})"
    print(f"== {name}: {result} in {time.monotonic() - began:.1f} s", flush=True)
    return code == 0


def check() -> bool:
    """Lint, types and import contracts."""
    good = step("lint", str(BIN / "ruff"), "check", "--output-format=concise", ".")
    good &= step("import contracts", str(BIN / "lint-imports"))
    # pyright needs Node.js, which its package fetches where there is none; without a network it cannot run.
    starts = subprocess.run([str(BIN / "pyright"), "--version"], capture_output=True, check=False)
    if starts.returncode == 0:
        good &= step("types", str(BIN / "pyright"))
    else:
        print("== types: SKIPPED, pyright cannot start here (it needs Node.js)", flush=True)
    return good


def compile_once() -> None:
    """Byte code of the project, and of pytest's plugins as pytest rewrites them, also where PYTHONDONTWRITEBYTECODE is set.

    The tests start hundreds of processes; each would compile all of that again, which was half of a repair's time.
    """
    sources = [str(ROOT / name) for name in ("agent", "trm", "tools")]
    subprocess.run([str(PYTHON), "-m", "compileall", "-q", *sources], check=True)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # a run of nothing, outside of the project: its options switch plugins off
    with tempfile.TemporaryDirectory(prefix="trm-agent-empty-") as empty:
        subprocess.run(
            [str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=empty, env=environ, capture_output=True, check=False,
        )  # fmt: skip


def test() -> int:
    """Everything; pytest last, so that its summary is the last line."""
    install(DEVELOPMENT)
    compile_once()
    good = check()
    if not good:
        print(
            "== a check above failed: the result is a failure, whatever the tests say", flush=True
        )
    # a file's tests stay together: they share fixtures that are dear
    two = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "--durations=30")
    tests = subprocess.run(
        [str(PYTHON), "-m", "pytest", *two, *sys.argv[2:]], cwd=ROOT, check=False
    )
    return tests.returncode or (0 if good else 1)


def demo() -> int:
    """Repair a copy of examples/broken, showing the suite before and after."""
    if not shutil.which("git"):
        stop("git is not installed", "install git")
    install(DEMONSTRATION)
    with tempfile.TemporaryDirectory(prefix="trm-agent-demo-") as name:
        repo = Path(name) / "broken"
        shutil.copytree(
            ROOT / "examples" / "broken",
            repo,
            ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"),
        )
        git = ["git", "-C", str(repo), "-c", "user.name=demo", "-c", "user.email=demo@example.org"]
        subprocess.run([*git, "init", "--quiet"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "A broken timetable"], check=True)
        suite = [str(PYTHON), "-m", "pytest", "-q", "--tb=no", "--no-header"]
        print(f"$ cd {repo} && pytest", flush=True)
        subprocess.run(suite, cwd=repo, check=False, stderr=subprocess.DEVNULL)
        print("\n$ trm-agent fix --no-tui --apply", flush=True)
        fixed = subprocess.run(
            [str(BIN / "trm-agent"), "fix", "--no-tui", "--apply", *sys.argv[2:]],
            cwd=repo,
            check=False,
        )
        print("\n$ pytest", flush=True)
        subprocess.run(suite, cwd=repo, check=False, stderr=subprocess.DEVNULL)
        print(
            "\nThis was a copy in a temporary folder; try it on your own project: trm-agent fix PATH"
        )
        return fixed.returncode


def main() -> int:
    """The exit code of the command named on the command line."""
    newer_python()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "demo":
        return demo()
    if command == "test":
        return test()
    if command in ("check", "setup"):
        install(DEVELOPMENT)
        return 0 if command == "setup" or check() else 1
    print(__doc__, file=sys.stderr)
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
