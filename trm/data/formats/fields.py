"""Fields of a row, each with the type that it must have; what is missing or another type is named."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
LARGEST = 256 << 20  # characters of a row, and bytes of what is unpacked from a field
_DEEP = RecursionError, ValueError


class FormatError(ValueError):
    """The path is no data set that we know, or it cannot be read. The message is for the user."""


class Damaged(ValueError):
    """A row that is not what its format says. The message names the field."""


def text(row: Row, *names: str, default: str | None = None) -> str:
    """The first of these fields that is there; null counts as missing. Raises Damaged."""
    for name in names:
        value = row.get(name)
        if value is not None:
            return checked(name, value)
    if default is None:
        raise Damaged(f"no field {' or '.join(names)}")
    return default


def checked(name: str, value: object) -> str:
    """A text that can be written to a file."""
    if not isinstance(value, str):
        raise Damaged(f"{name}: {type(value).__name__} where text should be")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Damaged(f"{name}: half of a surrogate pair") from None
    return value


def name_of(row: Row, *names: str) -> str:
    """A task's id: text or a number."""
    for name in names:
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            return checked(name, value)
    raise Damaged(f"no field {' or '.join(names)}")


def listed(row: Row, name: str, default: list[Any] | None = None) -> list[Any]:
    """A list. Raises Damaged."""
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, list):
        raise Damaged(f"{name}: {type(value).__name__} where a list should be")
    return value


def texts(row: Row, name: str, default: list[str] | None = None) -> list[str]:
    """A list of texts. Raises Damaged."""
    return [checked(name, each) for each in listed(row, name, default)]


def number(row: Row, name: str, default: float) -> float:
    """A number. Raises Damaged."""
    value = row.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Damaged(f"{name}: {type(value).__name__} where a number should be")
    return float(value)


def unpacked(name: str, value: object) -> Any:
    """What a JSON text holds; a value that is not text is taken as it is: some copies hold it unpacked. Raises Damaged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except _DEEP:
        raise Damaged(f"{name}: not JSON") from None


def parsed(code: str) -> ast.Module:
    """The syntax tree of a stranger's program, without warnings about it. Raises SyntaxError alone, whatever is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from None


def expression(code: str) -> ast.expr:
    """The same of an expression."""
    body = parsed(f"({code}\n)").body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise SyntaxError("not one expression")
    return body[0].value
