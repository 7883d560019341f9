"""`pytest --trm-fix`, installed from its wheel beside the project, with the real trm-agent on PATH."""

from __future__ import annotations

import importlib
import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALC = "def add(a, b):\n    return a - b\n"
TEST = "from calc import add\n\ndef test_add():\n    assert add(2, 3) == 5\n"


class Project:
    """A red project, and an environment in which the plugin is installed and trm-agent is a program."""

    def __init__(self, base: Path, site: Path) -> None:
        self.root = base / "project"
        (self.root / "tests").mkdir(parents=True)
        (self.root / "calc.py").write_text(CALC)
        (self.root / "tests" / "test_calc.py").write_text(TEST)
        (self.root / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
        program = base / "bin" / "trm-agent"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable} -P\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from agent.cli import main\nmain()\n"
        )
        program.chmod(0o755)
        dropped = ("TRM_AGENT_", "XDG_", "PYTEST_", "CI", "GITHUB_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self.environ = kept | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(site),
            "XDG_STATE_HOME": str(base / "state"),
            "XDG_CONFIG_HOME": str(base / "config"),
            "TRM_AGENT_RANK": "ochiai",
            "TRM_AGENT_PATIENCE": "0",
            "TRM_AGENT_MAX_SECONDS": "60",
        }

    def __call__(self, *arguments: str, code: int, cwd: str = ".", **environ: str) -> str:
        """pytest's output and ours together, without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.root / cwd, env=self.environ | environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        assert (self.root / "calc.py").read_text() == CALC
        return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("plugin")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(base)],
                   cwd=ROOT / "plugin", check=True, capture_output=True, timeout=120)  # fmt: skip
    [wheel] = base.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(base / "site")
    return base / "site"


@pytest.fixture
def project(tmp_path: Path, site: Path) -> Project:
    return Project(tmp_path, site)


@pytest.mark.slow
def test_after_a_red_run_the_fix_is_shown_and_nothing_written(project: Project) -> None:
    out = project("--trm-fix", "-q", "test_calc.py::test_add", code=1, cwd="tests")
    summary, _, ours = out.partition("1 failed")
    assert "trm-agent" not in summary
    assert "+    return a + b" in ours
    assert f"pytest    -q {project.root}/tests/test_calc.py::test_add" in ours.replace(
        "-p no:cacheprovider ", ""
    )
    assert sys.executable in ours
    assert "Nothing was written" in ours


@pytest.mark.slow
def test_in_addopts_it_does_not_call_itself(project: Project) -> None:
    (project.root / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = --trm-fix\n")
    out = project(code=1)
    assert out.count("+    return a + b") == 1
    assert out.count("Nothing was written") == 1


def test_unused_green_or_switched_off_it_says_nothing(project: Project) -> None:
    assert "trm-agent" not in project(code=1)
    assert "trm-agent" not in project("--trm-fix", code=1, PYTEST_TRM_FIX="0")
    assert "1 deselected" in project("--trm-fix", "-k", "nothing", code=5)
    (project.root / "tests" / "test_calc.py").write_text("def test_add(): pass\n")
    assert "trm-agent" not in project("--trm-fix", code=0)
    (project.root / "tests" / "test_calc.py").write_text("def test(): raise KeyboardInterrupt\n")
    assert "trm-agent" not in project("--trm-fix", code=2)


def test_without_trm_agent_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "plugin")
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    plugin = importlib.import_module("pytest_trm_fix")
    plugin.offer(None)
    assert "trm-fix: trm-agent is not on PATH" in capsys.readouterr().err


@pytest.mark.slow
def test_in_a_terminal_it_asks_and_yes_applies(project: Project) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(project.root)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--trm-fix"]
        os.execve(command[0], command, project.environ | {"TERM": "dumb"})
    text, asked = "", False
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        text += data.decode("utf-8", "replace")
        if "[y/N]" in text and not asked:
            asked = True
            os.write(fd, b"y\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, text
    assert "applied to calc.py" in text
    assert "a + b" in (project.root / "calc.py").read_text()
