"""Write docs/cli.md from the program's own --help texts.

    python docs/make_cli.py            write docs/cli.md
    python docs/make_cli.py --check    exit 1 if docs/cli.md is not what would be written

Only what the commands declare goes in, so neither the terminal nor the version of rich changes the page.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

from agent.cli import app  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"
HEAD = """# Commands

Written by `python docs/make_cli.py` from what `trm-agent COMMAND --help` declares; a test compares the two. How settings are
found (flags, `TRM_AGENT_*`, `pyproject.toml`, the user's own file) is in the README.
"""


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of `command` and everything below it, in the order of --help."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def section(path: str, command: Any) -> str:
    """One command as Markdown."""
    lines = [f"## {path}", "", _text(command.help)]
    rows, usage = [], []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "completion" in (parameter.name or ""):
            continue
        names = [*parameter.opts, *parameter.secondary_opts]
        metavar = parameter.metavar or ""
        if parameter.param_type_name == "argument":
            usage.append(metavar if parameter.required else f"[{metavar}]")
            names, metavar = [metavar], ""
        words = " ".join(filter(None, [", ".join(names), metavar]))
        rows.append(
            f"| `{words}` | {_text(parameter.help).replace('|', chr(92) + '|')}{_default(parameter)} |"
        )
    below = ["COMMAND"] if getattr(command, "commands", None) else []
    lines += ["", "```", " ".join([path, "[OPTIONS]", *usage, *below]), "```", ""]
    if rows:
        lines += ["| argument or option | |", "|---|---|", *rows, ""]
    if command.epilog and " " not in path:  # the same for every command
        lines += [_text(command.epilog), ""]
    return "\n".join(lines)


def _text(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split())


def _default(parameter: Any) -> str:
    if parameter.required:
        return " Required."
    value = parameter.default
    if (
        value in (None, "", ())
        or value is False
        or parameter.param_type_name == "argument"
        or "[" in (parameter.help or "")
    ):
        return ""
    if value is True:
        return f" [{parameter.opts[0]}]" if parameter.secondary_opts else ""
    return f" [{value}]"


def page() -> str:
    """The whole of docs/cli.md."""
    root = typer.main.get_command(app)
    return (
        HEAD
        + "\n"
        + "\n".join(section(*found) for found in commands(root, "trm-agent")).rstrip()
        + "\n"
    )


def main() -> int:
    """0, or 1 if --check found a difference, which is printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    wanted = page()
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    found = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if found == wanted:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            found.splitlines(True), wanted.splitlines(True), "docs/cli.md", "the program"
        )
    )
    print("docs/cli.md is out of date: python docs/make_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
