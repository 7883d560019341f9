"""The command line, end to end but for the loop, which is scripted here: files, records, git, signals and terminals are real.

The scripted loop is a module that takes the place of agent.loop; `Request` has the real request's fields.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from agent.events import Finished, Started, loads

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds for what a free machine does in one or two
OLD, NEW = "def f():\n    return 1\n", "def f():\n    return 2\n"

SCRIPT = """
import sys, time, types
from pathlib import Path
from agent import cli
from agent.apply import make_diff
from agent.errors import TestsCannotRun
from agent.events import Finished, Note, PatchFound, Started, SuiteProgress
import agent.loop as real

def fix(request):
    root = Path(request.path).absolute()
    yield Started(1, "", str(root), "python", "why", "3.11.7", request.pytest_args, request.rank, "")
    yield Note(repr(request))
    mode = (root / "mode").read_text()
    if mode == "cannot":
        raise TestsCannotRun("no tests found", "write one")
    if mode == "broken":
        raise RuntimeError("a bug of ours")
    if mode == "hang":
        try:
            (root / "begun").touch()
            while True:
                time.sleep(0.05)
                yield SuiteProgress("suite", 1, 2)
        finally:
            (root / "closed").write_text("yes")
    if mode == "red":
        yield Finished("not_fixed", 1, "no edit found", "look there", tried=3, suspects=("calc.py:2: return 1",))
        return
    if mode == "green":
        yield Finished("green", 0, "all 4 tests pass")
        return
    diff = make_diff(root, {"calc.py": (OLD.encode(), NEW.encode())})
    yield PatchFound(diff, ("calc.py",), ("t.py::test_f",), 7, 1.5, "pytest", at=1.5)
    yield Finished("fixed", 0, "1 test turned green", diff=diff, tried=7, seconds=1.5)

real.fix = fix
cli.main()
"""


class Project:
    """A folder with one file, and the program run on it in a process of its own."""

    def __init__(self, base: Path) -> None:
        self.root = base / "project"
        self.root.mkdir()
        self.calc = self.root / "calc.py"
        self.calc.write_text(OLD)
        self.state = base / "state"
        self.environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("TRM_AGENT_", "XDG_", "CI"))
        } | {
            "XDG_STATE_HOME": str(self.state),
            "XDG_CONFIG_HOME": str(base / "config"),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        self.program = base / "program.py"
        self.program.write_text(f"OLD, NEW = {OLD!r}, {NEW!r}\n" + SCRIPT)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.program), *arguments]

    def until_begun(self, seconds: float = PATIENCE) -> None:
        """Wait until the loop of mode "hang" runs."""
        deadline = time.monotonic() + seconds
        while not (self.root / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def __call__(self, *arguments: str, mode: str = "fixed", code: int = 0, **environ: str):
        (self.root / "mode").write_text(mode)
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# fix


def test_without_a_terminal_the_diff_is_printed_and_nothing_written(project: Project) -> None:
    done = project("fix")
    assert done.stdout.startswith("diff --git a/calc.py b/calc.py\n")
    assert "-    return 1\n+    return 2\n" in done.stdout
    assert project.calc.read_text() == OLD
    assert "Nothing was written" in done.stderr
    assert "[y/N]" not in done.stderr
    assert not list(project.root.glob(".*"))  # nothing of ours in the user's folder


def test_the_network_is_allowed_by_a_flag_or_a_setting_which_a_flag_takes_back(
    project: Project,
) -> None:
    assert "allow_network=False" in project("fix").stderr
    assert "allow_network=True" in project("fix", "--allow-network").stderr
    (project.root / "pyproject.toml").write_text("[tool.trm-agent]\nallow-network = true\n")
    assert "allow_network=True" in project("fix").stderr
    assert "allow_network=False" in project("fix", "--no-allow-network").stderr


def test_a_fix_takes_over_what_earlier_ones_told_unless_told_otherwise(project: Project) -> None:
    assert "cache=True" in project("fix").stderr
    assert "cache=False" in project("fix", "--no-cache").stderr
    (project.root / "pyproject.toml").write_text("[tool.trm-agent]\ncache = false\n")
    assert "cache=False" in project("fix").stderr


def test_apply_then_undo_by_name_and_show(project: Project) -> None:
    done = project("fix", "--apply")
    assert project.calc.read_text() == NEW
    assert "applied to calc.py" in done.stderr
    [run] = [path.name for path in (project.state / "trm-agent" / "runs").iterdir()]
    assert run in done.stderr
    shown = project("show")
    assert shown.stdout == done.stdout
    assert f"{run}  {project.root}  fixed" in project("show", "--list").stdout
    recorded = [loads(line) for line in project("show", run, "--json").stdout.splitlines()]
    assert isinstance(recorded[0], Started)
    assert recorded[0].run == run
    assert "undone: calc.py" in project("undo", run).stderr
    assert project.calc.read_text() == OLD
    again = project("undo", run, code=2)
    assert again.stderr.startswith("error: run ")
    assert "undone already" in again.stderr
    assert "error: no run has applied a patch" in project("undo", code=2).stderr


def test_a_file_changed_meanwhile_is_left_alone(project: Project) -> None:
    project.calc.write_text(OLD + "# mine\n")
    done = project("fix", "--apply", code=1)
    assert project.calc.read_text() == OLD + "# mine\n"
    assert "error: calc.py changed since the run: nothing was written" in done.stderr
    assert "hint: " in done.stderr


def test_the_patch_file_is_taken_by_git(project: Project, tmp_path: Path) -> None:
    target = tmp_path / "fix.patch"
    done = project("fix", "--patch", str(target))
    assert target.read_text() == done.stdout
    subprocess.run(["git", "apply", str(target)], cwd=project.root, check=True)
    assert project.calc.read_text() == NEW
    failed = project("fix", "--patch", str(tmp_path / "no" / "fix.patch"), code=2)
    assert "no such folder" in failed.stderr
    red = tmp_path / "red.patch"
    project("fix", "--patch", str(red), mode="red", code=1)
    assert not red.exists()


def test_the_sarif_log_holds_the_patch_and_a_bad_place_is_told(
    project: Project, tmp_path: Path
) -> None:
    target = tmp_path / "fix.sarif"
    done = project("fix", "--json", "--sarif", str(target))
    [result] = json.loads(target.read_text())["runs"][0]["results"]
    [change] = result["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"]["uri"] == "calc.py"
    assert change["replacements"][0]["insertedContent"]["text"] == "    return 2\n"
    assert isinstance(loads(done.stdout.splitlines()[-1]), Finished)
    done = project("fix", "--sarif", str(tmp_path), code=1)  # a folder
    assert f"error: {tmp_path}: Is a directory" in done.stderr
    assert done.stdout.startswith("diff --git")


def test_check_writes_nothing_and_fails_where_a_test_was_red(project: Project) -> None:
    done = project("fix", "--check", code=1)
    assert done.stdout.startswith("diff --git")
    assert project.calc.read_text() == OLD
    project("fix", "--check", mode="green")
    done = project("fix", "--check", "--json", code=1)
    last = loads(done.stdout.splitlines()[-1])
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code) == ("fixed", 1)


def test_config_prints_toml_and_where_each_value_is_from(project: Project) -> None:
    (project.root / "pyproject.toml").write_text("[tool.trm-agent]\nseed = 5\nmax-seconds = 9\n")
    user = Path(project.environ["XDG_CONFIG_HOME"]) / "trm-agent" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("patience = 1\nseed = 6\n")
    done = project("config", "--show-origin", "--rank", "ochiai", "--", "-k", "a b",
                   TRM_AGENT_JOBS="2", TRM_AGENT_ALLOW_NETWORK="yes")  # fmt: skip
    rows = dict(line.rsplit("  # ", 1) for line in done.stdout.splitlines())
    assert {line.strip(): origin for line, origin in rows.items()} == {
        'python = ""': "default",
        'pytest_args = ["-k", "a b"]': "after --",
        "max_seconds = 9.0": f"[tool.trm-agent] of {project.root}/pyproject.toml",
        "# max_candidates: no limit": "default",
        'rank = "ochiai"': "--rank",
        'checkpoint = ""': "default",
        "seed = 5": f"[tool.trm-agent] of {project.root}/pyproject.toml",
        "jobs = 2": "TRM_AGENT_JOBS",
        "patience = 1.0": str(user),
        "allow_network = true": "TRM_AGENT_ALLOW_NETWORK",
        "cache = true": "default",
    }
    table = tomllib.loads(done.stdout)
    user.write_text(project("config").stdout)  # and its output is a file of settings
    assert table["seed"] == tomllib.loads(user.read_text())["seed"] == 5


@pytest.mark.parametrize(
    ("shell", "words", "offered"),
    [
        ("bash", ("",), {"fix", "undo", "config"}),
        ("bash", ("fix", "--max-"), {"--max-seconds", "--max-candidates"}),
        ("zsh", ("fix", "--rank", ""), {"trm", "untrained", "ochiai", "random"}),
        ("zsh", ("undo", "2"), {"RUN"}),
        ("fish", ("replay", "--theme", "l"), {"light"}),
        ("fish", ("undo", "2"), {"RUN"}),
    ],
)
def test_shells_complete(project: Project, shell: str, words: tuple, offered: set) -> None:
    """What the script of each shell asks the program, and what it answers."""
    line = " ".join(["trm-agent", *words])
    ask = {"COMP_WORDS": line, "COMP_CWORD": str(len(words))} if shell == "bash" else {
        "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    runs = project.state / "trm-agent" / "runs" / "20260101-120000-abcd"
    runs.mkdir(parents=True)
    done = project(_TRM_AGENT_COMPLETE=f"complete_{shell}", **ask)
    for word in offered:
        assert (runs.name if word == "RUN" else word) in done.stdout


def test_bash_itself_completes(project: Project, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "trm-agent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(project.command())} "$@"\n')
    program.chmod(0o755)
    script = project(_TRM_AGENT_COMPLETE="source_bash").stdout + (
        "COMP_WORDS=(trm-agent fix --rank o) COMP_CWORD=3; _trm_agent_completion trm-agent\n"
        'echo "${COMPREPLY[@]}"; complete -p trm-agent\n'
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], env=project.environ | {"PATH": path},
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    assert done.stdout.splitlines()[0] == "ochiai"
    assert "_trm_agent_completion" in done.stdout.splitlines()[1]


def test_in_github_actions_the_run_is_annotated(project: Project, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = project("fix", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert "::warning file=calc.py,line=2,title=trm-agent::return 1 -> return 2" in done.stderr
    assert "::" not in done.stdout
    assert "```diff" in summary.read_text()
    done = project("fix", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert "no summary was written" in done.stderr


def test_json_lines_alone_are_on_stdout(project: Project) -> None:
    done = project("fix", "--json", "--apply")
    events = [loads(line) for line in done.stdout.splitlines()]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 0
    assert done.stderr == ""
    assert project.calc.read_text() == NEW
    done = project("fix", "--json", mode="cannot", code=3)
    assert json.loads(done.stdout.splitlines()[-1])["message"] == "no tests found"


@pytest.mark.parametrize(
    ("arguments", "mode", "code", "words"),
    [
        (("fix", "--json"), "broken", 1, "RuntimeError: a bug of ours"),
        (("fix", "--json", "--aply"), "fixed", 2, "--aply"),
        (("fix", "--json", "--apply", "--commit"), "fixed", 2, "exclude each other"),
        (("bisect", "--json", "nowhere"), "fixed", 2, "no such file"),
    ],
)
def test_json_lines_end_in_one_terminal_event_whatever_goes_wrong(
    project: Project, arguments: tuple[str, ...], mode: str, code: int, words: str
) -> None:
    done = project(*arguments, mode=mode, code=code)
    events = [loads(line) for line in done.stdout.splitlines()]
    last = events.pop()
    assert isinstance(last, Finished)
    assert (last.status, last.exit_code) == ("error", code)
    assert words in last.message
    assert not any(isinstance(event, Finished) for event in events)


def test_commit_makes_one_commit(project: Project) -> None:
    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args],
            cwd=project.root, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    git("init", "-q")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")
    git("add", "calc.py")
    git("commit", "-qm", "first")
    done = project("fix", "--commit")
    assert "committed " in done.stderr
    assert git("show", "--format=%s", "--name-only").split() == ["Fix", "test_f", "calc.py"]


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("green", 0, "all 4 tests pass"),
        ("red", 1, "calc.py:2: return 1"),
        ("cannot", 3, "error: no tests found\nhint: write one\n"),
        ("broken", 1, "error: internal error: RuntimeError: a bug of ours\nhint: --debug"),
    ],
)
def test_exit_codes(project: Project, mode: str, code: int, words: str) -> None:
    done = project("fix", mode=mode, code=code)
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if mode == "broken":
        assert "Traceback" in project("fix", "--debug", mode=mode, code=1).stderr


def test_flags_settings_and_pytest_arguments_reach_the_request(project: Project) -> None:
    (project.root / "pyproject.toml").write_text("[tool.trm-agent]\nseed = 5\njobs = 3\n")
    done = project("fix", ".", "--jobs", "1", "--", "-k", "a b", "--debug", TRM_AGENT_RANK="ochiai")
    for part in ("seed=5", "jobs=1", "rank='ochiai'", "pytest_args=('-k', 'a b', '--debug')"):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (("fix", "--apply", "--commit"), {}, "exclude each other"),
        (("fix", "--aply"), {}, "--aply"),
        (("fix", "--rank", "best"), {}, "one of trm, untrained, ochiai, random"),
        (("fix", "--max-seconds", "soon"), {}, "valid number"),
        (("fix", "--max-candidates", "0"), {}, "at least 1"),
        (("fxi",), {}, "fxi"),
        (("fix", "a", "b"), {}, "b"),
        (("fix",), {"TRM_AGENT_MAX_SECOND": "3"}, "did you mean TRM_AGENT_MAX_SECONDS?"),
        (("undo", "2020"), {}, "no run 2020"),
        (("show",), {}, "no run has been recorded"),
        (("replay", "x"), {}, "no run x"),
        (("train", "--data", "/nowhere", "--out", "/tmp/x"), {}, "no such folder"),
        (("train", "--data", "."), {}, "--out is missing"),
        (("train", "--out", "x", "--processes", "2"), {}, "need --coordinator"),
        (("train", "--out", "x", "--coordinator", "here"), {}, "not HOST:PORT"),
        (("train", "--out", "x", "--coordinator", "h:1"), {}, "needs --processes and --process"),
        (
            ("train", "--out", "x", "--coordinator", "h:1", "--processes", "2", "--process", "2"),
            {},
            "--process 2 of 2",
        ),
        (("train", "--aot", "v5e"), {}, "v5e: not a topology like v5e:2x4"),
        (("train", "--aot", "v5e:2x4", "--set", "train.slot=1"), {}, "unknown configuration key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line_a_hint_and_code_2(
    project: Project, arguments, environ, words
) -> None:
    done = project(*arguments, code=2, **environ)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert words in done.stderr
    assert done.stdout == ""


def test_replay_without_a_terminal_points_to_show(project: Project) -> None:
    project("fix")
    assert "hint: trm-agent show 2" in project("replay", code=2).stderr


def test_without_a_command_and_without_a_terminal_there_is_the_help(project: Project) -> None:
    done = project(code=2)
    assert "Usage: trm-agent" in done.stdout and "fix" in done.stdout and done.stderr == ""


def test_without_a_command_in_a_terminal_there_is_home(project: Project) -> None:
    screen = Screen(project)
    screen.until("1049h")  # the alternate screen
    screen.until("What can be done")
    screen.until("Last runs here")
    screen.type("q")
    assert screen.end() == 0


def test_version_and_help(project: Project) -> None:
    from agent import __version__

    assert project("--version").stdout == f"trm-agent {__version__}\n"
    text = project("fix", "--help").stdout
    for option in ("--apply", "--commit", "--patch", "--no-tui", "--json", "--python", "--max-seconds",
                   "--max-candidates", "--rank", "--checkpoint", "--seed", "--jobs", "130 interrupted"):  # fmt: skip
        assert option in text


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("face", ["--no-tui", "--json"])
def test_a_signal_closes_the_loop_and_exits_130(project: Project, number: int, face: str) -> None:
    (project.root / "mode").write_text("hang")
    process = subprocess.Popen(
        project.command("fix", face), cwd=project.root, env=project.environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    project.until_begun()
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert (project.root / "closed").read_text() == "yes"
    assert "Traceback" not in err
    [record] = project.state.rglob("events.jsonl")
    last = loads(record.read_text().splitlines()[-1])
    assert isinstance(last, Finished)
    assert last.status == "interrupted"
    if face == "--json":
        assert loads(out.splitlines()[-1]) == last


def test_a_closed_pipe_is_no_traceback(project: Project) -> None:
    project("fix")
    process = subprocess.Popen(
        project.command("show"), cwd=project.root, env=project.environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    err = process.stderr.read()
    process.wait(timeout=30)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


# In a terminal


class Screen:
    """The program in a pseudo terminal of 100x40."""

    def __init__(self, project: Project, *arguments: str, mode: str = "fixed") -> None:
        (project.root / "mode").write_text(mode)
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(project.root)
            command = project.command(*arguments)
            os.execve(command[0], command, project.environ | {"COLUMNS": "100", "LINES": "40"})

    def until(self, words: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            self._read(0.1)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self, seconds: float = PATIENCE) -> int:
        deadline = time.monotonic() + seconds
        while self._read(0.1):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize(
    ("answer", "expected"), [("y\n", NEW), ("yes\n", NEW), ("n\n", OLD), ("\n", OLD), ("\x04", OLD)]
)
def test_in_a_terminal_it_asks_and_only_yes_writes(
    project: Project, answer: str, expected: str
) -> None:
    screen = Screen(project, "fix", "--no-tui")
    screen.until("[y/N]")
    assert "+    return 2" in screen.text
    assert project.calc.read_text() == OLD
    screen.type(answer)
    assert screen.end() == 0
    assert project.calc.read_text() == expected


def test_in_a_terminal_apply_does_not_ask(project: Project) -> None:
    screen = Screen(project, "fix", "--apply")
    assert screen.end() == 0
    assert "[y/N]" not in screen.text
    assert project.calc.read_text() == NEW


def test_in_a_terminal_the_app_applies_with_a_key_and_leaves_a_summary(project: Project) -> None:
    screen = Screen(project, "fix")
    screen.until("1049h")  # the alternate screen
    screen.until("Apply")
    screen.until("Verified patch")
    screen.type("a")
    screen.until("undo")
    assert project.calc.read_text() == NEW
    screen.type("q")
    assert screen.end() == 0
    summary = screen.text.rpartition("1049l")[2]
    assert "return 2" in summary
    assert "applied to calc.py" in summary


def test_a_signal_in_the_app_restores_the_terminal_and_stops_the_run(project: Project) -> None:
    screen = Screen(project, "fix", mode="hang")
    screen.until("1049h")
    screen.until("FixRequest")  # the first events are drawn
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.end() == 130
    assert "1049l" in screen.text
    assert (project.root / "closed").read_text() == "yes"
    assert "Traceback" not in screen.text


@pytest.mark.parametrize("arguments", [(), ("--no-tui",)], ids=["app", "lines"])
def test_a_terminal_that_is_closed_ends_the_run_in_order(
    project: Project, arguments: tuple[str, ...]
) -> None:
    screen = Screen(project, "fix", *arguments, mode="hang")
    screen.until("FixRequest")
    project.until_begun()
    os.close(screen.fd)  # as the window does; the kernel sends SIGHUP
    deadline = time.monotonic() + PATIENCE
    while not (done := os.waitpid(screen.pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(done[1]) == 130
    assert (project.root / "closed").read_text() == "yes"
    [record] = project.state.rglob("events.jsonl")
    last = loads(record.read_text().splitlines()[-1])
    assert isinstance(last, Finished) and last.status == "interrupted"


def test_a_run_that_was_started_to_outlive_its_terminal_does(project: Project) -> None:
    (project.root / "mode").write_text("hang")
    process = subprocess.Popen(
        ["nohup", *project.command("fix", "--json")], cwd=project.root, env=project.environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    project.until_begun()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_an_unknown_theme_is_refused_at_once(project: Project) -> None:
    screen = Screen(project, "fix", "--theme", "pink", mode="hang")
    assert screen.end() == 2
    assert "unknown theme pink" in screen.text
