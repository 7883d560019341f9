"""The GitHub action and the hook before a push, as far as they run without GitHub: their scripts, with the real trm-agent."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CALC = "def add(a, b):\n    return a - b\n"
TEST = "from calc import add\n\ndef test_add():\n    assert add(2, 3) == 5\n"


class Place:
    """A red project in git, and an environment in which trm-agent is a program."""

    def __init__(self, base: Path) -> None:
        self.base, self.root = base, base / "project"
        self.root.mkdir()
        (self.root / "calc.py").write_text(CALC)
        (self.root / "test_calc.py").write_text(TEST)
        program = base / "bin" / "trm-agent"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable} -P\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from agent.cli import main\nmain()\n"
        )
        program.chmod(0o755)
        dropped = ("TRM_AGENT_", "XDG_", "PYTEST_", "CI", "GITHUB_", "GIT_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self.environ = kept | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(base / "state"),
            "XDG_CONFIG_HOME": str(base / "config"),
            "TRM_AGENT_RANK": "ochiai",
            "TRM_AGENT_PATIENCE": "0",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        self.run("git", "init", "-q")
        self.run("git", "config", "user.name", "Ada")
        self.run("git", "config", "user.email", "ada@example.org")
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", "red")

    def run(self, *command: str, code: int = 0, **environ: str) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environ | environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def test_the_action_is_whole(action: dict[str, Any]) -> None:
    assert {"name", "description", "inputs", "outputs", "runs"} <= set(action)
    assert action["runs"]["using"] == "composite"
    steps = action["runs"]["steps"]
    for step in steps:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # what is put into a script can be a script
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    asked = {name for step in steps for value in step["env"].values()
             for name in re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", value)}  # fmt: skip
    assert asked == set(action["inputs"])
    script = next(step["run"] for step in steps if step.get("id") == "fix")
    for name, output in action["outputs"].items():
        assert output["value"] == f"${{{{ steps.fix.outputs.{name} }}}}"
        assert f'echo "{name}=' in script


@pytest.mark.slow
@pytest.mark.parametrize("check", ["false", "true"])
def test_the_action_leaves_patch_log_and_status(
    place: Place, action: dict[str, Any], check: str
) -> None:
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "fix")
    given = {name: str(each["default"]) for name, each in action["inputs"].items()}
    given |= {"check": check, "pytest-args": "-k 'add or nothing'"}
    temp, outputs = place.base / "temp", place.base / "outputs"
    temp.mkdir()

    def value(text: str) -> str:
        text = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], text)
        return text.replace("${{ runner.temp }}", str(temp))

    environ = {name: value(text) for name, text in step["env"].items()}
    environ |= {"GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_OUTPUT": str(outputs)}
    # as GitHub calls it
    said = place.run(
        "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"],
        code=int(check == "true"), **environ,
    )  # fmt: skip
    assert "::warning file=calc.py,line=2,title=trm-agent::" in said
    found = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert found == {
        "status": "fixed",
        "patch": f"{temp}/trm-agent.patch",
        "sarif": f"{temp}/trm-agent.sarif",
    }
    assert "calc.py" in Path(found["sarif"]).read_text()
    assert (place.root / "calc.py").read_text() == CALC
    place.run("git", "apply", found["patch"])
    assert "a + b" in (place.root / "calc.py").read_text()


@pytest.mark.slow
def test_the_hook_stops_a_push_of_a_red_suite_and_shows_the_fix(place: Place) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert hook["stages"] == ["pre-push"]
    assert hook["pass_filenames"] is False and hook["always_run"] is True
    assert shlex.split(hook["entry"])[:3] == ["trm-agent", "fix", "--check"]
    script = place.root / ".git" / "hooks" / "pre-push"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\nexec {hook['entry']}\n")
    script.chmod(0o755)
    place.run("git", "init", "-q", "--bare", str(place.base / "remote"))
    push = ("git", "push", "-q", str(place.base / "remote"), "HEAD:refs/heads/main")
    said = place.run(*push, code=1)
    assert "+    return a + b" in said
    assert place.run("git", "ls-remote", str(place.base / "remote")) == ""
    assert place.run("git", "status", "--porcelain") == ""
    (place.root / "calc.py").write_text(CALC.replace("-", "+"))
    place.run(*push)
    assert "refs/heads/main" in place.run("git", "ls-remote", str(place.base / "remote"))
