"""Sets that are code or instructions without tests: codeparrot, CodeSearchNet, CommitPackFT, Alpaca, Glaive."""

from __future__ import annotations

import re

from trm.data.formats.fields import Row, name_of, text
from trm.data.formats.problem import Problem

_FENCE = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)^```", re.S | re.M | re.I)


def codeparrot(row: Row) -> Problem | None:
    """codeparrot-clean, and github-code with its other names. None: another language."""
    if text(row, "language", default="Python").lower() != "python":
        return None
    task = f"{text(row, 'repo_name')}/{text(row, 'path')}"
    return Problem(
        "codeparrot",
        task,
        code=text(row, "content", "code"),
        licence=text(row, "license", default=""),
    )


def codesearchnet(row: Row) -> Problem | None:
    """A function and its docstring; also with the names of the Hugging Face hub. None: another language."""
    if text(row, "language", default="python").lower() != "python":
        return None
    where = [
        text(row, "repo", "repository_name"),
        text(row, "path", "func_path_in_repository"),
        text(row, "func_name"),
    ]
    return Problem(
        "codesearchnet", ":".join(where), text(row, "docstring", "func_documentation_string"),
        code=text(row, "original_string", "whole_func_string", "code"), entry_point=where[2],
    )  # fmt: skip


def commitpackft(row: Row) -> Problem | None:
    """A file before and after a commit whose message says what it does. None: another language."""
    if text(row, "lang", default="Python").lower() != "python":
        return None
    return Problem(
        "commitpackft", f"{text(row, 'commit')}/{text(row, 'new_file', 'old_file')}", text(row, "message", "subject"),
        code=text(row, "new_contents"), buggy=text(row, "old_contents"), licence=text(row, "license", default=""),
    )  # fmt: skip


def alpaca(row: Row) -> Problem:
    """Instruction, input, output; what is fenced, or else the whole output, is the code."""
    asked = "\n\n".join(filter(None, [text(row, "instruction"), text(row, "input", default="")]))
    output = text(row, "output")
    return Problem(
        "alpaca",
        name_of(row, "id") if row.get("id") is not None else "",
        asked,
        code=fenced(output) or output,
    )


def glaive(row: Row) -> Problem:
    """Question and answer in prose; the fenced blocks are the code."""
    return Problem("glaive", "", text(row, "question"), code=fenced(text(row, "answer")))


def fenced(answer: str) -> str:
    """The Python blocks of a Markdown text, one after another."""
    return "\n\n".join(block.strip("\n") + "\n" for block in _FENCE.findall(answer))
