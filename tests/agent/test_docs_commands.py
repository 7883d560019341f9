"""Every command in the docs: that it exists with its options, and, where it runs offline in seconds, that it does that."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "plugin" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The code blocks of a page in these languages."""
    for _, language, body in FENCE.findall(page.read_text("utf-8")):
        if language in languages:
            yield body


def declared() -> dict[str, set[str]]:
    """Command -> its options, from the generated page."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"^## ", (ROOT / "docs" / "cli.md").read_text("utf-8"), flags=re.M)[1:]:
        name, _, text = section.partition("\n")
        rows = re.findall(r"^\| `([^`]+)`", text, re.M)
        found[name] = {word for row in rows for word in re.findall(r"(?<![\w-])--?[\w-]+", row)}
    return found


def calls(page: Path) -> Iterator[list[str]]:
    """The words of each call of trm-agent in a page's code blocks; of alternatives (a | b) nothing."""
    for body in blocks(page, "sh", "console", "yaml", ""):
        for line in body.replace("\\\n", " ").splitlines():
            line = re.sub(r"^\s*(\$|exec|run:|entry:)?\s*(\w+=\S+\s+)*", "", line)
            if not re.match(r"(\.venv/bin/)?trm-agent( |$)", line) or "…" in line or "[" in line:
                continue
            yield shlex.split(re.split(r" \| | && | > ", line)[0], comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_command_and_option_exists(page: Path) -> None:
    known = declared()
    for words in calls(page):
        ours = words[: words.index("--")] if "--" in words else words
        name = "trm-agent"
        while ours and f"{name} {ours[0]}" in known:
            name = f"{name} {ours.pop(0)}"
        assert name != "trm-agent" or not ours or ours[0].startswith("-"), words
        options = {word.partition("=")[0] for word in ours if word.startswith("-")}
        always = {
            "--help",
            "-h",
            "--debug",
            "--version",
            "--install-completion",
            "--show-completion",
        }
        assert options <= known[name] | always, (words, options - known[name])


def test_the_pages_have_commands_at_all() -> None:
    assert sum(1 for page in PAGES for _ in calls(page)) > 40


class Shell:
    """A copy of the example, in git, where trm-agent, pytest and python are those of this environment."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "broken"
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        shutil.copytree(ROOT / "examples" / "broken", self.folder, ignore=ignored)
        programs = base / "bin"
        programs.mkdir()
        starts = {"trm-agent": f"sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main; main()",
                  "pytest": "import pytest; sys.exit(pytest.console_main())"}  # fmt: skip
        for name, start in starts.items():
            (programs / name).write_text(f"#!{sys.executable} -P\nimport sys; {start}\n")
            (programs / name).chmod(0o755)
        dropped = (
            "TRM_AGENT_",
            "XDG_",
            "PYTEST_",
            "CI",
            "GITHUB_",
            "GIT_",
            "VIRTUAL_ENV",
            "COLUMNS",
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self.environ = (
            kept
            | {
                "PATH": f"{programs}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(base / "state"),
                "XDG_CONFIG_HOME": str(base / "config"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TRM_AGENT_RANK": "ochiai",  # the model takes longer to load than all the rest; other tests have it
                "TRM_AGENT_PATIENCE": "0",
                "PYTEST_ADDOPTS": "-p no:cacheprovider -p no:randomly",
                "GIT_CONFIG_GLOBAL": str(base / "gitconfig"),
            }
        )
        (base / "gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
        for command in ("git init -q", "git add .", "git commit -qm Timetable"):
            self(command)

    def __call__(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.environ, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=600, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stdout
        return done.returncode, done.stdout


def steps(page: Path) -> Iterator[tuple[str, int, list[str]]]:
    """(command, exit code, lines that it must print) of the page's console blocks, in order."""
    for body in blocks(page, "console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, *printed = part.rstrip("\n").split("\n")
            code = re.search(r"# exit code (\d+)$", command)
            yield command, int(code[1]) if code else 0, [line for line in printed if line.strip()]


RUN = [page for page in PAGES if list(steps(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_console_blocks_do_what_they_say(page: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for command, code, printed in steps(page):
        found, out = shell(command)
        assert found == code, (command, out)
        lines = [re.sub(r"\s+", " ", line) for line in out.splitlines()]
        for line in printed:
            parts = (re.escape(re.sub(r"\s+", " ", part)) for part in line.split("…"))
            pattern = re.compile(r".*".join(parts) + (r".*" if line.endswith("…") else r"\s*$"))
            assert any(pattern.match(each) for each in lines), (command, line, out)
    assert shell("git status --porcelain -- timetable tests") == (0, "")


def test_the_guide_is_run() -> None:
    assert [page.stem for page in RUN] == ["guide"]
    assert len(list(steps(RUN[0]))) > 12
