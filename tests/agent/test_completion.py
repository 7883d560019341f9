"""Completion as a person has it: installed by the program, then the tab key in a real bash, zsh and fish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_tab_key_completes_commands_and_options(
    shell: str, tmp_path: Path, tmux: Callable[..., Any]
) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "bin" / "trm-agent"
    program.parent.mkdir()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{code}" "$@"\n')
    program.chmod(0o755)
    dropped = ("TRM_AGENT_", "_TRM_AGENT", "XDG_", "ZDOTDIR", "BASH_ENV", "ENV", "TMUX")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {
        "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}", "SHELL": found,
    }  # fmt: skip
    (tmp_path / ".zshrc").touch()  # without it zsh asks who is new
    # two commands: of one alone the shell would make itself the program, and would not be found as its parent
    installed = subprocess.run(
        [found, "-c", "trm-agent --install-completion; echo done"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"{shell} completion installed" in installed.stdout
    terminal = tmux([found, "-i"], tmp_path, environ)
    # a tab typed before the shell reads is none to it
    terminal.press("echo rea''dy", "Enter")
    terminal.until("\nready")
    terminal.press("trm-agent fi", "Tab")
    terminal.until("trm-agent fix")
    terminal.press("--no-t", "Tab")
    terminal.until("trm-agent fix --no-tui")
    terminal.press("--theme li", "Tab")
    terminal.until("trm-agent fix --no-tui --theme light")
    terminal.press("C-c")
