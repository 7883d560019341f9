"""Python's own parser, from several threads at once."""

from __future__ import annotations

import ast
import threading
from typing import Any

# Until CPython 3.11.8 two threads that build trees at a time may count each other's depth: SystemError (python/cpython#106905).
_ONE_AT_A_TIME = threading.Lock()


def parse(source: str | bytes) -> ast.Module:
    """`ast.parse`. Raises what it raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)


def literal(text: str | ast.expr) -> Any:
    """`ast.literal_eval`. Raises ValueError, TypeError, SyntaxError, MemoryError or RecursionError for what is none."""
    if isinstance(text, str):
        with _ONE_AT_A_TIME:
            text = ast.parse(text.lstrip(" \t"), mode="eval").body
    return ast.literal_eval(text)
